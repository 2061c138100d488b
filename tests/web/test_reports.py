"""Reports over HTTP: pages of JSON, CSV and NDJSON say what the view says, to whom it is for."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any
from urllib.parse import urlencode

import pytest

from service.domain.access import Scope
from service.store.report_views import Kind
from service.store.reports import REPORTS
from service.web.pace import ReadPace, Turn
from tests.store.any_history import AnyHistory
from tests.store.told import Told, by_sql, in_order
from tests.web.indoors import Caller, Indoors, JsonResponse

SESSIONS = 40
FORMULAS = set("=+-@\t\r\n")  # how they begin


def asked(client: Caller, name: str, **query: Any) -> JsonResponse:
    answer = client.get(f"/v1/reports/{name}?{urlencode(query, doseq=True)}")
    assert answer.status_code == 200, answer.text
    return answer


def pages(client: Caller, name: str, **query: Any) -> list[Told]:
    found: list[Told] = []
    cursor: dict[str, str] = {}
    while True:
        page = asked(client, name, **query, **cursor).json
        assert set(page) == {"rows", "next_cursor"}
        assert len(page["rows"]) <= query.get("limit", len(page["rows"]))
        found += page["rows"]
        if page["next_cursor"] is None:
            return found
        cursor = {"cursor": page["next_cursor"]}


def ndjson(client: Caller, name: str, **query: Any) -> tuple[list[Told], Told]:
    """The rows, and what the last line says."""
    answer = asked(client, name, format="ndjson", **query)
    assert answer.mimetype == "application/x-ndjson"
    *rows, last = map(json.loads, answer.text.splitlines())
    assert list(last) == ["end"]
    return rows, last["end"]


def cells(client: Caller, name: str, **query: Any) -> tuple[list[dict[str, str]], str]:
    """The rows, and the last line."""
    answer = asked(client, name, format="csv", **query)
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    has_mark = answer.data.startswith(b"\xef\xbb\xbf")
    assert has_mark != (query.get("exact") == "1")
    columns, *rows, last = csv.reader(io.StringIO(answer.data.decode("utf-8-sig"), newline=""))
    assert len(last) == 1
    return [dict(zip(columns, row, strict=True)) for row in rows], last[0]


def in_csv(name: str, row: Told, *, exact: bool = False) -> dict[str, str]:
    view = REPORTS[name].view
    return {column: _cell(view.kind(column), value, exact) for column, value in row.items()}


def _cell(kind: Kind, value: Any, exact: bool) -> str:
    if value is None:
        return ""
    if kind is Kind.LABELS:
        value = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    if kind is Kind.TRUTH:
        return "true" if value else "false"
    if kind not in (Kind.TEXT, Kind.LABELS) or exact:
        return str(value)
    parts = re.split(r"([;,]\s*)", value)  # a spreadsheet may part it there
    return "".join(f"'{part}" if part[:1] in FORMULAS else part for part in parts)


@pytest.fixture
def ledger(indoors: Indoors) -> Indoors:
    AnyHistory(1).write(indoors.context.database, SESSIONS)
    return indoors


@pytest.mark.parametrize("name", REPORTS)
def test_every_form_says_what_the_view_says(ledger: Indoors, name: str) -> None:
    expected = by_sql(ledger.context.database, name)
    assert len(expected) > 5
    assert in_order(name, pages(ledger.client, name, limit=9)) == expected
    rows, end = ndjson(ledger.client, name)
    assert in_order(name, rows) == expected
    assert end == {"complete": True, "rows": len(expected), "position": SESSIONS}
    in_cells, last = cells(ledger.client, name)
    assert last == f"# rows: {len(expected)}, up to position {SESSIONS}"
    for shown, row in zip(in_cells, rows, strict=True):
        assert shown == in_csv(name, row)


@pytest.mark.parametrize(("where", "value"), [("reports.PAGE_SECONDS", 0), ("pace.has_debt", lambda: True)])
def test_a_page_of_days_is_left_short_after_a_while_or_where_callbacks_have_paid(
    ledger: Indoors, monkeypatch: pytest.MonkeyPatch, where: str, value: object
) -> None:
    whole = pages(ledger.client, "daily", limit=250)
    days = {row["day"] for row in whole}
    first = asked(ledger.client, "daily", limit=250).json
    assert (first["rows"], first["next_cursor"]) == (whole, None)
    monkeypatch.setattr(f"service.web.{where}", value)
    short = asked(ledger.client, "daily", limit=250).json
    assert {row["day"] for row in short["rows"]} == {min(days)} < days
    assert pages(ledger.client, "daily", limit=250) == whole


def test_a_page_is_work_of_the_database_and_an_export_is_not(
    ledger: Indoors, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns, begin = list[Turn](), ReadPace._begin

    def noted(pace: ReadPace, turn: Turn) -> None:
        turns.append(turn)
        begin(pace, turn)

    monkeypatch.setattr(ReadPace, "_begin", noted)
    asked(ledger.client, "daily")
    asked(ledger.client, "daily", format="csv")
    assert [turn.asks_much for turn in turns] == [True, False]


def test_exact_shows_texts_as_they_are(ledger: Indoors) -> None:
    rows, _ = ndjson(ledger.client, "sessions")
    exact, _ = cells(ledger.client, "sessions", exact="1")
    assert any(row["call_sid"].startswith("=") for row in exact)
    assert exact == [in_csv("sessions", row, exact=True) for row in rows]


def test_accept_chooses_the_form_and_the_query_overrules_it(ledger: Indoors) -> None:
    def type_of(accept: str, query: str = "") -> str:
        answer = ledger.client.get(f"/v1/reports/sessions{query}", headers={"Accept": accept})
        assert answer.headers["Vary"] == "Accept"
        return str(answer.mimetype)

    assert type_of("*/*") == "application/json"
    assert type_of("text/html") == "application/json"
    assert type_of("text/csv") == "text/csv"
    assert type_of("application/x-ndjson, application/json;q=0.5") == "application/x-ndjson"
    assert type_of("text/csv", "?format=json") == "application/json"


def test_a_file_has_a_name_of_its_own_and_is_kept_by_nobody(ledger: Indoors) -> None:
    headers = asked(ledger.client, "daily", format="csv").headers
    assert re.fullmatch(r'attachment; filename="daily-\d{8}T\d{6}Z\.csv"', headers["Content-Disposition"])
    assert headers["Cache-Control"] == "no-store"
    assert "X-Request-Id" in headers
    assert "Content-Length" not in headers


def test_head_exports_nothing(ledger: Indoors) -> None:
    answer = ledger.client.head("/v1/reports/sessions?format=csv")
    assert (answer.status_code, answer.mimetype, answer.data) == (200, "text/csv", b"")


def test_an_export_goes_on_behind_a_cursor(ledger: Indoors) -> None:
    page = asked(ledger.client, "sessions", limit=10).json
    rows, end = ndjson(ledger.client, "sessions", cursor=page["next_cursor"])
    assert page["rows"] + rows == pages(ledger.client, "sessions", limit=250)
    assert end["rows"] == len(rows)


@pytest.mark.parametrize("name", ["sessions", "timeline", "attempts", "daily", "failures"])
def test_a_limited_key_gets_its_accounts_alone_in_every_form(ledger: Indoors, name: str) -> None:
    limited = ledger.limited(Scope.REPORTS, accounts=["account-1", "nobody's"])
    every = pages(ledger.client, name, limit=250)
    own = [row for row in every if row["account_sid"] == "account-1"]
    assert 0 < len(own) < len(every)
    assert ndjson(limited, name)[0] == own
    assert pages(limited, name, limit=250) == own


def test_what_was_rejected_is_for_keys_that_see_all(ledger: Indoors) -> None:
    limited = ledger.limited(Scope.REPORTS, accounts=["account-1"])
    for form in ("json", "csv", "ndjson"):
        answer = limited.get(f"/v1/reports/rejected?format={form}")
        assert (answer.status_code, answer.mimetype) == (404, "application/problem+json")


def test_a_cursor_is_of_one_report_and_one_filter(ledger: Indoors) -> None:
    cursor = asked(ledger.client, "sessions", limit=1).json["next_cursor"]
    for path in (f"attempts?cursor={cursor}", f"sessions?state=failed&cursor={cursor}", "sessions?cursor=x"):
        answer = ledger.client.get(f"/v1/reports/{path}")
        assert (answer.status_code, answer.json["errors"][0]["pointer"]) == (422, "/cursor")


def test_a_day_is_one_of_the_zone(ledger: Indoors) -> None:
    in_berlin = {"zone": "Europe/Berlin", "since": "2026-10-25", "until": "2026-10-26"}
    by_times = {"since": "2026-10-25T00:00:00+02:00", "until": "2026-10-25T23:00:00Z"}
    rows = pages(ledger.client, "sessions", **in_berlin)
    assert rows
    assert pages(ledger.client, "sessions", **by_times) == rows
    counted = pages(ledger.client, "daily", **in_berlin)
    assert {row["day"] for row in counted} == {"2026-10-25"}
    assert sum(row["asked"] + row["adopted"] for row in counted) == len(rows)


WRONG = [
    ("sessions?since=yesterday", "/since", "a day"),
    ("sessions?since=2026-11-31", "/since", "a day"),
    ("sessions?since=2026-11-28T10:00:00", "/since", "its zone"),
    ("sessions?since=0001-01-01&zone=Asia/Tokyo", "/since", "a day"),
    ("sessions?until=2026-11-27&since=2026-11-28", "/until", "not before since"),
    ("sessions?zone=Berlin", "/zone", "Europe/Berlin"),
    ("sessions?zone=../../etc/passwd", "/zone", "Europe/Berlin"),
    ("sessions?state=gone", "/state/0", "requested"),
    ("sessions?label=team", "/label/0", "pattern"),
    ("sessions?format=xlsx", "/format", "csv"),
    ("sessions?limit=0", "/limit", "greater"),
    ("sessions?colour=red", "/colour", "no such field"),
    ("rejected?state=failed", "/state", "no such field"),
    ("daily?since=2026-11-28T10:00:00Z", "/since", "begins in UTC"),
    ("failures?until=2026-11-28&zone=Europe/Berlin&since=2026-11-27T00:00:00Z", "/since", "Europe/Berlin"),
]


def test_nonsense_is_refused_with_what_is_wrong(indoors: Indoors, subtests: pytest.Subtests) -> None:
    for path, pointer, words in WRONG:
        with subtests.test(path):
            for form in ("", "&format=csv" if "format" not in path else ""):
                answer = indoors.client.get(f"/v1/reports/{path}{form}")
                assert (answer.status_code, answer.mimetype) == (422, "application/problem+json")
                (error,) = answer.json["errors"]
                assert error["pointer"] == pointer
                assert words in error["detail"]


def test_a_report_that_is_none_is_not_found(indoors: Indoors) -> None:
    assert indoors.client.get("/v1/reports/weekly").status_code == 404
