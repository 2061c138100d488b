"""What the reports cost in SQL: where many sessions are stored, and against a GROUP BY that counts little."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from sqlalchemy import text

from service.store.engine import Database
from tests.bench.contestants import PinnedPostgres
from tests.bench.data import OLDEST, SPAN, Made
from tests.bench.figures import KINDS, POSTGRESQL
from tests.bench.ledgers import Ours
from tests.bench.targets import AT_MOST, Target

NAME: Final = "reports"
STEADY: Final = "steady"  # an account that has as many sessions in either ledger
STEADY_SESSIONS: Final = 600  # in all: a third of them in the last 30 days
AT_ONCE: Final = 200
WARM_UP: Final = 2

_FIRST_DAY = (OLDEST + SPAN - timedelta(days=30)).date()
ONE_ACCOUNT: Final = f"SELECT * FROM report_daily_v1 WHERE account_sid = '{STEADY}' AND day >= '{_FIRST_DAY}'"
EVERYTHING: Final = "SELECT * FROM report_daily_v1"
# By state, with what was recorded: as one would write it without the view.
PLAIN: Final = {
    KINDS[0]: """
SELECT account_sid, connector_name, substr(requested_at, 1, 10), state, COUNT(*), SUM(duration_seconds)
FROM report_sessions_v1 GROUP BY 1, 2, 3, 4""",
    KINDS[1]: """
SELECT account_sid, connector_name, CAST(requested_at AT TIME ZONE 'UTC' AS date), state, COUNT(*),
       SUM(duration_seconds)
FROM report_sessions_v1 GROUP BY 1, 2, 3, 4""",
}
ONE_ACCOUNT_TIMES: Final = 3
EVERYTHING_TIMES: Final = 2


@dataclass(frozen=True)
class Compared:
    """Milliseconds, round by round; `beside` is what the report is held against."""

    kind: str
    what: str
    beside: list[float]
    report: list[float]
    most: float
    found: int  # rows

    @property
    def times(self) -> float:
        """The median of the ratios within a round."""
        pairs = zip(self.report, self.beside, strict=True)
        return statistics.median(report / beside for report, beside in pairs)

    @property
    def target(self) -> Target:
        return Target(f"{self.kind}: {self.what}", self.times, AT_MOST, self.most)


def run(folder: Path, sessions: tuple[int, int], rounds: int) -> Iterator[Compared]:
    """`sessions`: few, and many."""
    with PinnedPostgres() as server:
        for kind in KINDS:
            with ExitStack() as stack:
                few, many = (
                    stack.enter_context(
                        _filled(
                            server.create_database() if kind == POSTGRESQL else _file(folder, count), count
                        )
                    )
                    for count in sessions
                )
                yield from _compare(kind, few, many, rounds)
            for file in folder.glob("report-*"):
                file.unlink()


def rows(shown: Sequence[Compared]) -> list[dict[str, str]]:
    return [
        {
            "report": f"{one.kind}: {one.what}",
            "beside, ms": f"{statistics.median(one.beside):.1f}",
            "report, ms": f"{statistics.median(one.report):.1f}",
            "times": f"{one.times:.2f}",
            "rows": str(one.found),
        }
        for one in shown
    ]


def _file(folder: Path, count: int) -> str:
    return f"sqlite:///{folder}/report-{count}.sqlite3"


@contextmanager
def _filled(url: str, count: int) -> Iterator[Database]:
    with closing(Ours(url, 1, stored=count)), closing(Database(url)) as database:
        _give_to_steady(database, Made(count))
        yield database


def _give_to_steady(database: Database, made: Made) -> None:
    every = max(1, made.count // STEADY_SESSIONS)
    ids = [made.session_id(number) for number in range(every // 3, made.count, every)][:STEADY_SESSIONS]
    for first in range(0, len(ids), AT_ONCE):
        listed = ", ".join(f"'{one}'" for one in ids[first : first + AT_ONCE])
        with database.begin() as db:
            db.execute(text(f"UPDATE session SET account_sid = '{STEADY}' WHERE id IN ({listed})"))


def _compare(kind: str, few: Database, many: Database, rounds: int) -> Iterator[Compared]:
    for what, one, other, most in (
        (
            "30 days of one account, beside the small ledger",
            (few, ONE_ACCOUNT),
            (many, ONE_ACCOUNT),
            ONE_ACCOUNT_TIMES,
        ),
        ("everything, beside a plain GROUP BY", (many, PLAIN[kind]), (many, EVERYTHING), EVERYTHING_TIMES),
    ):
        for _ in range(WARM_UP):
            _milliseconds(*one)
            found = _milliseconds(*other)[1]
        taken = [(_milliseconds(*one)[0], _milliseconds(*other)[0]) for _ in range(rounds)]
        yield Compared(kind, what, [few for few, _ in taken], [many for _, many in taken], most, found)


def _milliseconds(database: Database, query: str) -> tuple[float, int]:
    """How long it took, and how many rows it found."""
    with database.untimed() as db:
        if not database.is_sqlite:
            db.execute(text("SET statement_timeout = 0"))
        began = time.perf_counter()
        found = db.exec_driver_sql(query).all()
        return (time.perf_counter() - began) * 1000, len(found)
