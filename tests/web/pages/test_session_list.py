"""The page Sessions: what a filter, and what somebody has in hand, leads to; and how it is taken along."""

from __future__ import annotations

import csv
import io
import re
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any
from urllib.parse import urlencode, urljoin

import pytest
from sqlalchemy import Connection, text

from service.domain.access import Access, Scope
from service.domain.ids import new_id
from service.domain.session import Origin, Session
from service.domain.start import Order
from service.sandbox import Session as TelnyxSession
from service.store import sessions
from service.store.engine import Database
from service.store.sessions import IdempotencyKey
from service.web.pages import session_list
from service.web.requests import SessionQuery
from tests.web.indoors import Indoors, JsonResponse
from tests.web.pages.visitor import Visitor, leads_to

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def visitor(indoors: Indoors) -> Visitor:
    return logged_in(indoors)


def logged_in(indoors: Indoors, *scopes: Scope, accounts: list[str] | None = None) -> Visitor:
    access = Access(frozenset(scopes or Scope), None if accounts is None else frozenset(accounts))
    visitor = Visitor(indoors)
    visitor.log_in(indoors.new_key(f"visitor {new_id()}", access))
    return visitor


def ids(answer: JsonResponse) -> list[str]:
    """Of the sessions in the list, in its order."""
    assert answer.status_code == 200, answer.text
    return re.findall(r'<tr id="row-([^"]+)"', answer.text)


def page(visitor: Visitor, **query: Any) -> JsonResponse:
    return visitor.get(f"/sessions?{urlencode(query, doseq=True)}")


@pytest.fixture
def four(indoors: Indoors) -> list[str]:
    """Ids of a, b, c and d, in this order."""
    return [
        indoors.started("a", connector_name="one", reference="r 1", labels={"team": "fraud", "tier.x": "1"}),
        indoors.started("b", connector_name="two", reference="r 1", labels={"team": "fraud"}),
        indoors.started("c", connector_name="two", account_sid="account-2", labels={"team": "o'b\"x\\"}),
        indoors.started("v3:d", connector_name="one", reference="\u202egnp.exe'--"),
    ]


FILTERS: list[tuple[dict[str, Any], str]] = [
    ({}, "dcba"),
    ({"state": "accepted"}, "dcba"),
    ({"state": ["failed", "refused"]}, ""),
    ({"state": ["accepted", "refused"]}, "dcba"),
    ({"connector_name": "one"}, "da"),
    ({"account_sid": "account-2"}, "c"),
    ({"call_sid": "v3:d"}, "d"),
    ({"reference": "r 1"}, "ba"),
    ({"reference": "\u202egnp.exe'--"}, "d"),
    ({"label": "team:fraud"}, "ba"),
    ({"label": ["team:fraud", "tier.x:1"]}, "a"),
    ({"label": "team:o'b\"x\\"}, "c"),
    ({"overdue": "true"}, ""),
    ({"overdue": "false"}, "dcba"),
    ({"requested_after": "2020-01-01T00:00"}, "dcba"),
    ({"requested_before": "2020-01-01T00:00:01"}, ""),
    ({"reference": "r 1", "connector_name": "", "requested_after": "2020-01-01T00:00:00Z"}, "ba"),
]


def shown_sql(answer: JsonResponse) -> str:
    found = re.search(r"<code>(SELECT .*?)</code>", answer.text, re.DOTALL)
    assert found, answer.text
    return unescape(found[1])


def run(db: Connection, sql: str) -> list[Any]:
    """As it is: a driver that finds parameters in it is told that there are none."""
    is_sqlite = db.dialect.name == "sqlite"
    return list(db.exec_driver_sql(sql if is_sqlite else sql.replace("%", "%%")).all())


def exported(visitor: Visitor, **query: Any) -> tuple[list[dict[str, str]], str]:
    """The rows, and the last line."""
    answer = visitor.get(f"/sessions.csv?{urlencode(query, doseq=True)}")
    assert answer.status_code == 200, answer.text
    assert answer.mimetype == "text/csv"
    assert answer.headers["Content-Disposition"].startswith("attachment; ")
    assert answer.headers["Cache-Control"] == "no-store"
    lines = list(csv.reader(io.StringIO(answer.data.decode("utf-8-sig"))))
    return [dict(zip(lines[0], row, strict=True)) for row in lines[1:-1]], lines[-1][0]


def test_a_filter_shows_exports_and_writes_in_sql_the_same_sessions(
    indoors: Indoors, visitor: Visitor, four: list[str], subtests: pytest.Subtests
) -> None:
    for query, wanted in FILTERS:
        with subtests.test(str(query)):
            expected = [four["abcd".index(one)] for one in wanted]
            answer = page(visitor, **query)
            assert ids(answer) == expected
            rows, last = exported(visitor, **query)
            assert [row["session_id"] for row in rows] == expected
            assert last == f"# rows: {len(expected)}"
            sql = shown_sql(answer)
            assert sql.replace("\n", "").isprintable()
            with indoors.context.database.read() as db:
                assert [row.session_id for row in run(db, sql)] == expected


def test_what_is_overdue_is_found_and_so_is_one_kind_of_it(
    indoors: Indoors, visitor: Visitor, four: list[str]
) -> None:
    watched = {
        "id": four[1],
        "at": "2026-03-01T12:00:00.000000Z",
        "kind": "not_started",
        "why": "nothing heard",
    }
    with indoors.context.database.begin() as db:
        columns = "session_id, overdue_kind, overdue_since, overdue_why, requested_at"
        values = "SELECT id, :kind, :at, :why, requested_at FROM session WHERE id = :id"
        db.execute(text(f"INSERT INTO session_watch ({columns}) {values}"), watched)
    answer = page(visitor, overdue="true")
    assert ids(answer) == [four[1]]
    with indoors.context.database.read() as db:
        assert [row.session_id for row in run(db, shown_sql(answer))] == [four[1]]
    for kind, expected in (("not_started", [four[1]]), ("not_ended", [])):
        of_kind = page(visitor, overdue=kind)
        assert ids(of_kind) == expected
        with indoors.context.database.read() as db:
            assert [row.session_id for row in run(db, shown_sql(of_kind))] == expected
        rows, _ = exported(visitor, overdue=kind)
        assert [row["session_id"] for row in rows] == expected
    ((row,), _) = exported(visitor, overdue="true")
    assert row["overdue_kind"] == "not_started"
    assert (row["overdue_since"], row["overdue_why"]) == (watched["at"], watched["why"])
    assert row["presumed_ended_at"] == ""
    assert "overdue" in visitor.get(f"/sessions/{four[1]}").text


def test_every_filter_of_the_api_can_be_chosen() -> None:
    offered = {*session_list.FIELDS, "state", "label", "overdue", *session_list.TIMES}
    assert offered == set(SessionQuery.model_fields) - {"limit", "cursor"}


def test_a_limited_key_sees_exports_and_is_told_in_sql_its_accounts_alone(
    indoors: Indoors, four: list[str]
) -> None:
    limited = logged_in(indoors, accounts=["account-2", "nobody"])
    answer = page(limited)
    assert ids(answer) == [four[2]]
    assert [row["session_id"] for row in exported(limited)[0]] == [four[2]]
    with indoors.context.database.read() as db:
        assert [row.session_id for row in run(db, shown_sql(answer))] == [four[2]]
    assert ids(page(limited, account_sid="account-1")) == []
    for one, has in zip(four, (False, False, True, False), strict=True):
        found = page(limited, q=one)
        assert (found.status_code == 303) == has
    assert page(limited, q="a").status_code == 404


def test_the_columns_of_the_export_are_what_the_sql_finds(
    indoors: Indoors, visitor: Visitor, four: list[str]
) -> None:
    indoors.tell("siprec-failed", "a", SiprecError="no-answer")
    rows, _ = exported(visitor)
    with indoors.context.database.read() as db:
        found = [row._mapping for row in run(db, shown_sql(page(visitor)))]
    plain = (
        "session_id",
        "state",
        "account_sid",
        "call_sid",
        "siprec_sid",
        "connector_name",
        "error_kind",
        "error_detail",
    )
    assert [{name: row[name] for name in plain} for row in rows] == [
        {name: one[name] or "" for name in plain} for one in found
    ]
    assert list(rows[0]) == list(found[0])
    failed = rows[-1]
    assert (failed["state"], failed["error_detail"]) == ("failed", "no-answer")


@pytest.mark.parametrize("begin", ["=", "+", "-", "@"])
def test_no_text_is_a_formula_in_a_spreadsheet(indoors: Indoors, visitor: Visitor, begin: str) -> None:
    evil = f"{begin}HYPERLINK(1)"
    indoors.started("call")
    indoors.tell("siprec-failed", "call", SiprecError=evil)
    assert exported(visitor)[0][0]["error_detail"] == f"'{evil}"
    indoors.started(evil, reference=evil, connector_name=evil, name=evil)
    row = exported(visitor)[0][0]
    for name in ("call_sid", "reference", "connector_name", "name"):
        assert row[name] == f"'{evil}"
    assert not [value for value in row.values() if value.startswith(("=", "+", "-", "@", "\t", "\r"))]


def test_tab_and_carriage_return_begin_no_formula_either(indoors: Indoors, visitor: Visitor) -> None:
    indoors.started("call")
    indoors.tell("siprec-failed", "call", SiprecError="\t=1")
    assert exported(visitor)[0][0]["error_detail"] == "'\t=1"
    indoors.started("call-2")
    indoors.tell("siprec-failed", "call-2", SiprecError="\r=1")
    assert exported(visitor)[0][0]["error_detail"].startswith("'")


def test_whatever_somebody_has_in_hand_leads_to_the_session(
    indoors: Indoors, visitor: Visitor, four: list[str], subtests: pytest.Subtests
) -> None:
    for _ in range(2):  # the same, delivered again
        indoors.tell("siprec-started", "b", Timestamp="2026-11-28T10:00:00Z")
    b = four[1]
    (callback,) = indoors.callbacks(b)
    with indoors.context.database.read() as db:
        repeat = db.scalar(text("SELECT id FROM callback_repeat"))
    leads = {
        b: f"/sessions/{b}",
        b.upper(): f"/sessions/{b}",
        f"  {b} ": f"/sessions/{b}",
        callback["id"]: f"/sessions/{b}#callback-{callback['id']}",
        str(repeat): f"/sessions/{b}#callback-{callback['id']}",
        indoors.sid("b"): f"/sessions/{b}",
        "v3:d": "/sessions?call_sid=v3%3Ad",
        "r 1": "/sessions?reference=r+1",
        "team:fraud": "/sessions?label=team%3Afraud",
    }
    for wanted, path in leads.items():
        with subtests.test(wanted):
            assert leads_to(page(visitor, q=wanted), "/sessions") == path
    for nothing in ("x", "team:", ":", "%", "B", new_id(), "\0", "\u202e", "x" * 5000, "'"):
        with subtests.test(nothing[:10]):
            assert page(visitor, q=nothing).status_code == 404


def test_a_session_is_found_by_a_sid_that_only_callbacks_know(indoors: Indoors, visitor: Visitor) -> None:
    body = indoors.sandbox.compose(indoors_session("the-sid"), "siprec-started")
    indoors.stranger.post("/callbacks/siprec", data=body, headers=indoors.sandbox.sign(body))
    (adopted,) = indoors.client.get("/v1/sessions").json["sessions"]
    assert leads_to(page(visitor, q="the-sid"), "/sessions") == f"/sessions/{adopted['id']}"


def indoors_session(sid: str) -> TelnyxSession:
    return TelnyxSession("account-1", "v3:call-1", sid)


def test_what_fits_in_several_ways_is_shown_in_all_of_them(indoors: Indoors, visitor: Visitor) -> None:
    indoors.started("same", reference="x")
    indoors.started("x", reference="same")
    answer = page(visitor, q="same")
    assert answer.status_code == 200
    links = [urljoin("/sessions", unescape(one)) for one in re.findall(r'<li><a href="([^"]+)"', answer.text)]
    assert links == ["/sessions?call_sid=same", "/sessions?reference=same"]


def write(database: Database, count: int, **order: Any) -> list[str]:
    written = []
    with database.begin() as db:
        for n in range(count):
            moment = NOON + timedelta(seconds=n)
            new = Session(new_id(), Origin.API, Order("a", "c", **order), moment, moment)
            assert sessions.insert(db, new, IdempotencyKey(None))  # type: ignore[arg-type]
            written.append(new.id)
    return written[::-1]


def test_pages_follow_each_other_by_links(indoors: Indoors, visitor: Visitor) -> None:
    written = write(indoors.context.database, 120, reference="r")
    path, found = "/sessions?reference=r", []
    for _ in range(3):
        answer = visitor.get(path)
        found += ids(answer)
        more = re.search(r'rel="next" href="([^"]+)"', answer.text)
        path = urljoin(path, unescape(more[1])) if more else ""
    assert (found, path) == (written, "")


def test_an_export_is_bounded_and_says_so(
    indoors: Indoors, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.web.pages.session_csv.ROWS_AT_ONCE", 3)
    written = write(indoors.context.database, 10)
    for most, last in ((9, "# rows: 9, the newest; there are more"), (10, "# rows: 10"), (11, "# rows: 10")):
        monkeypatch.setattr(session_list, "MOST_EXPORTED", most)
        rows, end = exported(visitor)
        assert [row["session_id"] for row in rows] == written[:most]
        assert end == last


def counts(answer: JsonResponse) -> dict[str, str]:
    return dict(re.findall(r"</svg>(\w+)</span> <b>([\d,+]+)</b>", answer.text))


def test_states_are_counted_as_far_as_it_costs_little(
    indoors: Indoors, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(indoors.context.database, 6)  # requested
    with indoors.context.database.begin() as db:
        newer = "requested_at > (SELECT min(requested_at) FROM session)"
        db.execute(text(f"UPDATE session SET state = 'stopped' WHERE {newer}"))
    nothing = dict.fromkeys(("unanswered", "refused", "accepted", "started", "failed"), "0")
    assert counts(page(visitor)) == {"requested": "1", "stopped": "5", **nothing}
    assert counts(page(visitor, state="stopped")) == {"requested": "1", "stopped": "5", **nothing}
    monkeypatch.setattr("service.store.session_counts.MOST_COUNTED", 4)
    # The one that is old and not over is not overlooked.
    assert counts(page(visitor)) == {"requested": "1", "stopped": "4+", **nothing}
    narrowed = counts(page(visitor, account_sid="a"))
    assert (narrowed["stopped"], narrowed["requested"]) == ("4+", "0+")


def test_a_filter_that_cannot_be_read_says_what_is_wrong_and_keeps_what_was_typed(visitor: Visitor) -> None:
    answer = page(visitor, requested_after="yesterday", reference="<script>alert(1)</script>", state="gone")
    assert answer.status_code == 422
    assert "<script>alert" not in answer.text
    assert "requested_after" in answer.text
    assert 'value="&lt;script&gt;' in answer.text
    assert page(visitor, cursor="x").status_code == 422
    assert page(visitor, nonsense="1").status_code == 422
    assert visitor.get("/sessions.csv?nonsense=1").status_code == 303


def test_nobody_sees_it_without_a_log_in_that_may_read(indoors: Indoors) -> None:
    stranger, other = Visitor(indoors), logged_in(indoors, Scope.START)
    for path in ("/sessions", "/sessions.csv", f"/sessions/{new_id()}"):
        assert leads_to(stranger.get(path), path).startswith("/log-in?next=")
        assert other.get(path).status_code == 403
