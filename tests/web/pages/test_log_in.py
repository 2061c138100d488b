"""Logging in to the pages, and out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner
from sqlalchemy import select

from service.cli import main
from service.store import keys, log_ins
from service.store.watch_tables import log_in
from tests.web.indoors import Indoors
from tests.web.pages.visitor import Visitor, leads_to, token


@pytest.fixture
def visitor(indoors: Indoors) -> Visitor:
    return Visitor(indoors)


def test_a_stranger_is_led_to_the_form(visitor: Visitor) -> None:
    assert leads_to(visitor.get("/"), "/") == "/log-in?next=%2F"


def test_a_key_logs_in(indoors: Indoors, visitor: Visitor) -> None:
    assert leads_to(visitor.log_in(indoors.key), "/log-in") == "/"
    page = visitor.get("/")
    assert page.status_code == 200
    assert '<h1 id="verdict">' in page.text
    assert "Logged in as </span>app-1" in page.text


def test_logging_out_ends_the_log_in_itself(indoors: Indoors, visitor: Visitor) -> None:
    visitor.log_in(indoors.key)
    kept = visitor.cookies()
    assert leads_to(visitor.send("/log-out", token=token(visitor.get("/"))), "/log-out") == "/log-in"
    for name, text in kept.items():
        visitor.client.set_cookie(name, text)
    assert leads_to(visitor.get("/"), "/") == "/log-in?next=%2F"


def test_where_it_was_to_go_it_goes(indoors: Indoors, visitor: Visitor) -> None:
    assert (
        leads_to(visitor.log_in(indoors.key, next="/sessions?state=failed"), "/log-in")
        == "/sessions?state=failed"
    )


@pytest.mark.parametrize(
    "elsewhere", ["//evil.example", "https://evil.example", "/\\evil.example", "\t//evil", "/log-out"]
)
def test_it_leads_nowhere_else(indoors: Indoors, visitor: Visitor, elsewhere: str) -> None:
    assert leads_to(visitor.log_in(indoors.key, next=elsewhere), "/log-in") == "/"


def test_the_cookie_is_for_this_host_over_https_alone_and_for_no_script(
    indoors: Indoors, visitor: Visitor
) -> None:
    answer = visitor.log_in(indoors.key)
    (cookie,) = (one for one in answer.headers.getlist("Set-Cookie") if "-form" not in one)
    name, *attributes = cookie.split("; ")
    assert name.startswith("__Host-siprec-ledger=")
    assert set(attributes) == {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"}


def test_over_http_it_has_a_plain_name(furnish: Callable[..., Indoors]) -> None:
    indoors = furnish(PUBLIC_URL="http://ledger.example")
    visitor = Visitor(indoors)
    answer = visitor.log_in(indoors.key)
    assert any(one.startswith("siprec-ledger=") for one in answer.headers.getlist("Set-Cookie"))
    assert visitor.get("/").status_code == 200


def test_it_ends_after_twelve_hours(indoors: Indoors, visitor: Visitor) -> None:
    visitor.log_in(indoors.key)
    with indoors.context.database.begin() as db:
        row = db.execute(select(log_in)).one()
        assert row.expires_at - row.created_at == timedelta(hours=12)
        (text,) = visitor.cookies().values()
        assert log_ins.recognise(db, text, row.expires_at - timedelta(seconds=1)) is not None
        assert log_ins.recognise(db, text, row.expires_at) is None


def test_only_its_hash_is_kept(indoors: Indoors, visitor: Visitor) -> None:
    visitor.log_in(indoors.key)
    (text,) = visitor.cookies().values()
    with indoors.context.database.read() as db:
        assert db.execute(select(log_in.c.sha256)).scalar_one() == hashlib.sha256(text.encode()).digest()


# By a link


def link(indoors: Indoors) -> str:
    """The path that `siprec-ledger login` prints for the key app-1."""
    assert indoors.key
    arguments = ["login", "--key", "app-1", "--url", "https://ledger.example/"]
    done = CliRunner().invoke(main, arguments, env={"DATABASE_URL": indoors.database_url})
    assert done.exit_code == 0, done.output
    url = done.stdout.strip()
    assert url.startswith("https://ledger.example/log-in/")
    return url.removeprefix("https://ledger.example")


def test_a_link_logs_in_once(indoors: Indoors, visitor: Visitor) -> None:
    path = link(indoors)
    page = visitor.get(path)
    assert "Log in as app-1" in page.text
    assert leads_to(visitor.send(path, token=token(page)), path) == "/"
    assert visitor.get("/").status_code == 200
    other = Visitor(indoors)
    assert other.get(path).status_code == 410
    assert other.send(path, token=token(other.get("/log-in"))).status_code == 410


def test_who_previews_a_link_does_not_use_it_up(indoors: Indoors, visitor: Visitor) -> None:
    path = link(indoors)
    for _ in range(3):
        assert Visitor(indoors).get(path).status_code == 200
        assert indoors.stranger.head(path).status_code == 200
    assert indoors.stranger.post(path).status_code == 403
    assert leads_to(visitor.send(path, token=token(visitor.get(path))), path) == "/"


def test_a_link_of_two_at_once_logs_in_one(indoors: Indoors) -> None:
    path = link(indoors)
    visitors = [Visitor(indoors) for _ in range(4)]
    tokens = [token(one.get(path)) for one in visitors]
    with ThreadPoolExecutor(4) as threads:
        answers = list(
            threads.map(lambda pair: pair[0].send(path, token=pair[1]), zip(visitors, tokens, strict=True))
        )
    assert sorted(one.status_code for one in answers) == [303, 410, 410, 410]


def test_a_link_ends_after_ten_minutes_and_with_its_key(indoors: Indoors) -> None:
    text = link(indoors).removeprefix("/log-in/")
    now = datetime.now(UTC)
    with indoors.context.database.begin() as db:
        assert log_ins.link_names(db, text, now + timedelta(minutes=9)) == "app-1"
        assert log_ins.link_names(db, text, now + timedelta(minutes=11)) is None
        keys.revoke(db, "app-1", now)
        assert log_ins.link_names(db, text, datetime.now(UTC)) is None
        assert log_ins.use_link(db, text, datetime.now(UTC)) is None


def test_what_was_revoked_does_not_open_again_when_its_key_is_rotated(
    indoors: Indoors, visitor: Visitor
) -> None:
    path, unused = link(indoors), link(indoors).removeprefix("/log-in/")
    visitor.send(path, token=token(visitor.get(path)))
    assert visitor.get("/").status_code == 200
    with indoors.context.database.begin() as db:
        keys.revoke(db, "app-1", datetime.now(UTC))
        key = keys.named(db, "app-1", locks=True)
        assert key is not None
        keys.rotate(db, key, datetime.now(UTC))
        assert log_ins.link_names(db, unused, datetime.now(UTC)) is None
    assert visitor.get("/").status_code == 303


def test_the_command_makes_no_link_for_a_key_that_is_not_in_force(indoors: Indoors) -> None:
    for name in ("nobody", "revoked"):
        if name == "revoked":
            indoors.new_key(name)
            with indoors.context.database.begin() as db:
                keys.revoke(db, name, datetime.now(UTC))
        done = CliRunner().invoke(main, ["login", "--key", name], env={"DATABASE_URL": indoors.database_url})
        assert done.exit_code == 1
        assert f"there is no key in force of this name: {name}" in done.output
