"""The fifteen questions of docs/analysts.md: what it shows is what a naive count in Python comes to."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from service.store.engine import Database
from tests.bed.postgres import Postgres
from tests.questions import MADE, REJECTED, WEEK, at, hours, write

PAGE = (Path(__file__).parents[1] / "docs" / "analysts.md").read_text(encoding="utf-8")
KINDS = {"SQLite": "sqlite", "PostgreSQL": "postgresql"}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres) -> Iterator[dict[str, Database]]:
    """The same history, on each kind of database."""
    path = tmp_path_factory.mktemp("analysts") / "ledger.sqlite3"
    urls = {"sqlite": f"sqlite:///{path}", "postgresql": postgres.create_database()}
    made = {}
    for kind, url in urls.items():
        made[kind] = Database(url)
        write(made[kind])
    yield made
    for database in made.values():
        database.close()


# Naive answers, from what was made up

Rows = list[tuple[Any, ...]]
CAUSES = {
    3: "recorder_no_answer",
    4: "call_ended",
    5: "telnyx_error",
    7: "overdue_not_started",
    10: "siprec_failed",
}
SIDES = {3: "recorder", 4: "app", 5: "Telnyx", 7: "recorder", 10: "recorder"}
DETAILS = {3: "no-answer", 4: "Call has ended", 10: "486 Busy Here"}


def not_recorded() -> Rows:
    lost = [made for made in MADE if made.app and made.started is None]
    return [(made.call_sid, made.state, CAUSES[made.number], DETAILS.get(made.number)) for made in lost]


def hours_by_week() -> Rows:
    found: defaultdict[tuple[int, str], float] = defaultdict(float)
    for made in MADE:
        lasted = made.ended - made.started if made.started is not None and made.ended else 0
        found[made.asked >= WEEK, made.connector or "~"] += lasted / 3600
    mondays = ["2026-03-02", "2026-03-09"]
    return [
        (None if name == "~" else name, mondays[week], sum_) for (week, name), sum_ in sorted(found.items())
    ]


def times_to_start() -> Rows:
    found: defaultdict[str, list[float]] = defaultdict(list)
    for made in MADE:
        if made.app and made.started is not None:
            found[at(made.asked).strftime("%Y-%m-%d %H")].append(made.started - made.asked)
    return [
        (hour, *(sorted(taken)[math.ceil(share * len(taken)) - 1] for share in (0.5, 0.95)))
        for hour, taken in sorted(found.items())
    ]


def failures() -> Rows:
    asked = {made.number: made.asked for made in MADE}
    own = {10: "486 Busy Here"}
    rows = [(CAUSES[n], own.get(n), SIDES[n], 1, shown(at(asked[n]))) for n in CAUSES]
    return sorted(rows, key=lambda row: row[0])


def late_callbacks() -> Rows:
    late = [made for made in MADE if made.late > 60]
    return [(made.call_sid, "siprec-stopped", shown(at(made.ended or 0)), made.late) for made in late]


def most_at_once() -> Rows:
    spans = [(made.started, made.ended or math.inf) for made in MADE if made.started is not None]
    running = [(sum(begun <= moment < end for begun, end in spans), -moment) for moment, _ in spans]
    most, moment = max(running)
    return [(shown(at(-moment)), most)]


def still_open() -> Rows:
    left = [made for made in MADE if made.state == "started"]
    return [(made.call_sid, made.app, shown(at(made.started or 0))) for made in left]


def success_by_app() -> Rows:
    rows = []
    for app in ("claims", "dispatch"):
        of_app = [made for made in MADE if made.app == app]
        recorded = [made for made in of_app if made.state in {"started", "stopped"}]
        rows.append((app, len(of_app), len(recorded), 100 * len(recorded) / len(of_app)))
    return rows


def recorded_twice() -> Rows:
    return [("v3:call-8", "recorder-a", "recorder-b", shown(at(WEEK + hours(9, 30, 1))))]


def from_wish_to_stop() -> Rows:
    taken = [
        (made.call_sid, made.stop[0], float((made.ended or 0) - made.stop[1])) for made in MADE if made.stop
    ]
    return sorted(taken, key=lambda row: (-row[2], row[0]))


def forgeries() -> Rows:
    days = [(shown(at(seconds).date()), reason) for seconds, reason in REJECTED]
    return [(*key, days.count(key)) for key in sorted(set(days))]


def who_stopped_what() -> Rows:
    return [
        (made.stop[0], made.app, made.call_sid, shown(at(made.stop[1])), made.state)
        for made in MADE
        if made.stop
    ]


def known_then() -> Rows:
    """The callback that says that it stopped came only at 10:05."""
    return [("started_at", at(hours(9, 10, 4)).strftime("%Y-%m-%dT%H:%M:%S.000000Z")), ("state", "started")]


def encrypted() -> Rows:
    asked = [(made.secure, made.transport) for made in MADE if made.app and made.started is not None]
    rows = [
        (None if secure is None else int(secure), how, asked.count((secure, how))) for secure, how in {*asked}
    ]
    return sorted(rows, key=lambda row: (-row[2], row[1] or "~"))


def waited_on_disks() -> Rows:
    waited = [made.spooled[1] for made in MADE if made.spooled]
    return [("web-1", len(waited), max(waited), sum(waited) / len(waited))]


NAIVE: list[Callable[[], Rows]] = [
    *(not_recorded, hours_by_week, times_to_start, failures, late_callbacks, most_at_once, still_open),
    *(success_by_app, recorded_twice, from_wish_to_stop, forgeries, who_stopped_what, known_then, encrypted),
    waited_on_disks,
]


# What the page has


@dataclass(frozen=True)
class Question:
    """`queries` by kind of database; `answer` as the page shows it."""

    title: str
    queries: dict[str, str]
    answer: list[list[str]]


def questions() -> list[Question]:
    found = []
    for section in PAGE.split("\n### ")[1:]:
        queries: dict[str, str] = {}
        for query in re.findall("```sql\n(.*?)```", section, re.DOTALL):
            only = re.match("-- (SQLite|PostgreSQL)\n", query)
            queries |= dict.fromkeys([KINDS[only[1]]] if only else KINDS.values(), query)
        lines = [line for line in section.splitlines() if line.startswith("|")]
        cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
        found.append(Question(section.splitlines()[0], queries, cells[:1] + cells[2:]))
    return found


def ask(database: Database, query: str) -> tuple[list[str], Rows]:
    with database.read() as db:
        found = db.exec_driver_sql(query)
        return list(found.keys()), [tuple(plain(value) for value in row) for row in found.all()]


def plain(value: Any) -> Any:
    """The same of both databases; times as the page shows them."""
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", value):
        return value
    if isinstance(value, bool | Decimal):
        return int(value) if value == int(value) else float(value)
    return shown(value) if isinstance(value, date) else value


def shown(value: date) -> str:
    """As SQLite writes it."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return value.isoformat()


def cell(value: Any) -> str:
    if value is None:
        return "null"
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def test_there_are_fifteen_each_for_both_databases() -> None:
    assert [question.title.partition(".")[0] for question in questions()] == [str(n) for n in range(1, 16)]
    assert all({*question.queries} == {"sqlite", "postgresql"} for question in questions())


@pytest.mark.parametrize("number", range(1, 16))
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_an_answer_is_what_a_naive_count_comes_to(told: dict[str, Database], kind: str, number: int) -> None:
    _, rows = ask(told[kind], questions()[number - 1].queries[kind])
    expected = NAIVE[number - 1]()
    assert len(rows) == len(expected)
    for row, values in zip(rows, expected, strict=True):
        assert row == tuple(
            pytest.approx(value, abs=1e-3) if isinstance(value, float) else value for value in values
        )


@pytest.mark.parametrize("number", range(1, 16))
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_the_page_shows_that_answer(told: dict[str, Database], kind: str, number: int) -> None:
    question = questions()[number - 1]
    names, rows = ask(told[kind], question.queries[kind])
    assert question.answer == [names, *([cell(value) for value in row] for row in rows)]
