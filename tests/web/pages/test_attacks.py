"""Whoever wants in without a key, or with somebody else's log-in."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from sqlalchemy import insert

from service.domain.access import Access, Scope
from service.log_lines import masked
from service.store import keys
from service.store.tables import process
from service.store.watch_tables import alert, spool
from service.web.access_log import shown
from service.web.pages.throttle import MOST_OF_ALL, MOST_OF_ONE, Throttle
from tests.ledger.watching import add_session, overdue
from tests.web.indoors import Indoors
from tests.web.pages.visitor import BROWSER, ORIGIN, Visitor, leads_to, token

LOGGED_OUT = "/log-in?next=%2F"


@pytest.fixture
def visitor(indoors: Indoors) -> Visitor:
    found = Visitor(indoors)
    found.log_in(indoors.key)
    return found


def is_logged_in(visitor: Visitor) -> bool:
    answer = visitor.get("/")
    return answer.status_code == 200 or leads_to(answer, "/") != LOGGED_OUT


FOREIGN = {
    "another site": {"Sec-Fetch-Site": "cross-site"},
    "another host of ours": {"Sec-Fetch-Site": "same-site"},
    "another origin": {"Origin": "https://evil.example"},
    "no origin": {},
    "a hidden origin": {"Origin": "null"},
    "another port": {"Origin": "https://localhost:8443"},
}


@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN)
def test_a_form_of_another_site_does_nothing(
    indoors: Indoors, visitor: Visitor, headers: dict[str, str]
) -> None:
    """Even with the token."""
    stolen = token(visitor.get("/"))
    visitor.headers = headers
    assert visitor.send("/log-out", token=stolen).status_code == 403
    assert is_logged_in(visitor)
    other = Visitor(indoors)
    other.headers = headers
    assert other.log_in(indoors.key).status_code == 403
    assert not is_logged_in(other)


@pytest.mark.parametrize("origin", ["https://localhost", "https://ledger.example"])
def test_a_browser_that_says_only_its_origin_is_believed(visitor: Visitor, origin: str) -> None:
    visitor.headers = {"Origin": origin}
    assert leads_to(visitor.send("/log-out", token=token(visitor.get("/"))), "/log-out") == "/log-in"


def test_a_form_without_its_token_does_nothing(indoors: Indoors, visitor: Visitor) -> None:
    of_another = Visitor(indoors)
    of_another.log_in(indoors.key)
    for wrong in ("", "x", "\xff", token(of_another.get("/"))):
        assert visitor.send("/log-out", token=wrong).status_code == 403
    assert visitor.send("/log-out").status_code == 403
    assert is_logged_in(visitor)


def test_an_id_from_before_the_log_in_opens_nothing_after_it(indoors: Indoors) -> None:
    victim = Visitor(indoors)
    for name in ("__Host-siprec-ledger", "__Host-siprec-ledger-form"):
        victim.client.set_cookie(name, "of-the-attacker")
    victim.log_in(indoors.key)
    attacker = Visitor(indoors)
    attacker.client.set_cookie("__Host-siprec-ledger", "of-the-attacker")
    assert is_logged_in(victim)
    assert not is_logged_in(attacker)


def test_logging_in_again_ends_the_log_in_before(indoors: Indoors, visitor: Visitor) -> None:
    before = visitor.cookies()["__Host-siprec-ledger"]
    visitor.log_in(indoors.key)
    assert visitor.cookies()["__Host-siprec-ledger"] != before
    attacker = Visitor(indoors)
    attacker.client.set_cookie("__Host-siprec-ledger", before)
    assert not is_logged_in(attacker)


def test_over_https_a_cookie_that_others_could_set_is_not_read(indoors: Indoors, visitor: Visitor) -> None:
    other = Visitor(indoors)
    other.client.set_cookie("siprec-ledger", visitor.cookies()["__Host-siprec-ledger"])
    assert not is_logged_in(other)


@pytest.mark.parametrize("only_its_secret", [True, False])
def test_a_revoked_key_ends_its_log_ins_at_once(indoors: Indoors, only_its_secret: bool) -> None:
    text = indoors.new_key("leaver")
    visitor = Visitor(indoors)
    visitor.log_in(text)
    assert is_logged_in(visitor)
    now = datetime.now(UTC)
    with indoors.context.database.begin() as db:
        found = keys.recognise(db, text, now)
        assert found is not None
        known = keys.named(db, "leaver")
        assert known is not None
        second = keys.rotate(db, known, now)  # another secret of the same key stays in force
        keys.revoke(db, "leaver", now, found.secret_id if only_its_secret else None)
    assert not is_logged_in(visitor)
    assert leads_to(Visitor(indoors).log_in(second), "/log-in") == "/" if only_its_secret else True


def test_an_expired_key_ends_its_log_ins(indoors: Indoors) -> None:
    now = datetime.now(UTC)
    with indoors.context.database.begin() as db:
        text = keys.create(db, "for a day", now, Access(), now + timedelta(days=1))
    visitor = Visitor(indoors)
    visitor.log_in(text)
    assert is_logged_in(visitor)
    with indoors.context.database.begin() as db:
        db.exec_driver_sql("UPDATE api_key_secret SET expires_at = created_at WHERE expires_at IS NOT NULL")
    assert not is_logged_in(visitor)


def test_who_guesses_is_slowed_down(indoors: Indoors) -> None:
    visitor = Visitor(indoors)
    guess = f"slk_{'0' * 32}_{'x' * 43}"
    for _ in range(MOST_OF_ONE):
        answer = visitor.log_in(guess)
        assert answer.status_code == 403
        assert "not known" in answer.text
    answer = visitor.log_in(guess)
    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 60
    assert not is_logged_in(visitor)


def test_whoever_guesses_locks_nobody_out(indoors: Indoors) -> None:
    """A key has 256 random bits: what throttling spares is work, not secrets."""
    guesser, visitor = Visitor(indoors), Visitor(indoors)
    for _ in range(MOST_OF_ONE + 1):
        guesser.log_in("a guess")
    assert leads_to(visitor.log_in(indoors.key), "/log-in") == "/"
    assert is_logged_in(visitor)


def test_who_guesses_links_is_slowed_down(indoors: Indoors) -> None:
    visitor = Visitor(indoors)
    for _ in range(MOST_OF_ONE):
        form = token(visitor.get("/log-in"))
        assert visitor.send("/log-in/guess", token=form).status_code == 410
    assert visitor.send("/log-in/guess", token=token(visitor.get("/log-in"))).status_code == 429


def test_a_link_that_a_site_makes_browsers_ask_for_is_no_failure(indoors: Indoors) -> None:
    visitor = Visitor(indoors)
    for _ in range(MOST_OF_ONE + 1):
        assert visitor.get("/log-in/guess").status_code == 410


def test_who_guesses_from_many_places_is_slowed_down_too() -> None:
    seconds = 0.0
    throttle = Throttle(lambda: seconds)
    for at in range(MOST_OF_ALL):
        assert throttle.wait_seconds(f"192.0.2.{at}") == 0
        throttle.failed(f"192.0.2.{at}")
    assert throttle.wait_seconds("198.51.100.1") == 60
    seconds = 60.0
    assert throttle.wait_seconds("198.51.100.1") == 0


def test_an_address_may_try_again_after_a_while() -> None:
    seconds = 0.0
    throttle = Throttle(lambda: seconds)
    for _ in range(MOST_OF_ONE):
        throttle.failed("192.0.2.1")
    assert throttle.wait_seconds("192.0.2.1") == 60
    assert throttle.wait_seconds("192.0.2.2") == 0
    seconds = 59.5
    assert throttle.wait_seconds("192.0.2.1") == 0.5
    seconds = 60.0
    assert throttle.wait_seconds("192.0.2.1") == 0


def test_a_key_without_the_scope_sees_nothing(indoors: Indoors) -> None:
    visitor = Visitor(indoors)
    visitor.log_in(indoors.new_key("only starts", Access(frozenset({Scope.START}))))
    answer = visitor.get("/")
    assert answer.status_code == 403
    assert "sessions:read" in answer.text


def test_the_api_takes_no_cookie(indoors: Indoors, visitor: Visitor) -> None:
    for path in ("/v1/sessions", "/v1/keys", "/v1/events"):
        assert visitor.get(path).status_code == 401
    assert visitor.client.post("/v1/sessions", json={"call_sid": "x"}, base_url=ORIGIN).status_code == 401
    assert indoors.sandbox.requests == []


def test_a_page_takes_no_bearer_key(indoors: Indoors) -> None:
    assert leads_to(indoors.client.get("/", headers=BROWSER), "/") == LOGGED_OUT


class Elements(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += [name for name, _ in attrs]


SCRIPT = "<script>alert('x')</script><img src=x onerror=alert(1)>\"'{{7*7}}"


def test_no_field_becomes_a_part_of_the_page(indoors: Indoors) -> None:
    indoors.new_key(SCRIPT)
    with indoors.context.database.begin() as db:
        found = add_session(db, account_sid=SCRIPT, connector_name=SCRIPT, call_sid=SCRIPT)
        overdue(db, found, "not_started", SCRIPT, call_status=SCRIPT)
        at = datetime.now(UTC)
        row: dict[str, Any] = {
            "id": "1",
            "notice_kind": "opened",
            "noticed_at": at,
            "cause": SCRIPT,
            "connector_name": SCRIPT,
            "account_sid": SCRIPT,
            "example": SCRIPT,
        }
        row |= {"acknowledged_by": SCRIPT, "acknowledged_at": at, "opened_at": at, "updated_at": at}
        numbers = dict.fromkeys(
            ("affected", "total", "noticed_affected", "notice", "notice_sent", "notice_tries"), 1
        )
        db.execute(insert(alert).values(**row, **numbers))
        db.execute(insert(spool).values(id=SCRIPT, host=SCRIPT, seen_at=at, entries=1, dead_letters=1))
        db.execute(insert(process).values(id=SCRIPT, host=SCRIPT, started_at=at, alive_at=at))
    visitor = Visitor(indoors)
    with indoors.context.database.begin() as db:
        known = keys.named(db, SCRIPT)
        assert known is not None
        text = keys.rotate(db, known, datetime.now(UTC))
    visitor.log_in(text)
    page = visitor.get("/").text
    assert page.count("&lt;script&gt;") > 8
    parser = Elements()
    parser.feed(page)
    assert "img" not in parser.names
    assert parser.names.count("script") == 1  # ours
    assert not [name for name in parser.attributes if name.startswith("on") or name == "style"]


def test_a_limited_key_sees_nothing_of_other_accounts(indoors: Indoors) -> None:
    with indoors.context.database.begin() as db:
        for account in ("account-1", "account-2"):
            found = add_session(db, account_sid=account, call_sid=f"call of {account}")
            overdue(db, found, "not_started", f"why of {account}", call_status="in-progress")
    visitor = Visitor(indoors)
    visitor.log_in(indoors.new_key("one", Access(accounts=frozenset({"account-1"}))))
    page = visitor.get("/").text
    assert "call of account-1" in page
    assert "account-2" not in page
    assert "1 call is live and probably not recorded." in page
    assert "Rejected callbacks" not in page
    assert re.search(r'<span class="figure">1</span> in progress', page)


def test_a_link_is_masked_in_logs() -> None:
    for path in ("/log-in/secret", "/log-in%2Fsecret", "//log-in/secret x"):
        assert "secret" not in masked(f"GET {path} 200")
    assert "secret" not in shown("/log-in/secret")
    assert shown("/log-in") == "/log-in"


def test_what_is_shown_is_kept_by_no_cache_and_framed_by_nobody(visitor: Visitor) -> None:
    for path in ("/", "/log-in", "/log-in/x", "/nothing"):
        headers = visitor.get(path).headers
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert path == "/nothing" or headers["Referrer-Policy"] == "same-origin"


def test_while_the_database_is_away_the_page_says_so(visitor: Visitor, indoors: Indoors) -> None:
    indoors.context.database.breaker.answers = False
    try:
        answer = visitor.get("/")
    finally:
        indoors.context.database.breaker.answers = True
    assert answer.status_code == 503
    assert "Database unavailable" in answer.text
    assert "All is well" not in answer.text
