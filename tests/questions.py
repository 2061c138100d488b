"""The small ledger that docs/analysts.md asks its fifteen questions of: made up, and always the same.

`make questions` makes it as a file of SQLite, for whoever wants to ask them too.
"""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from service.domain.notice import ErrorKind
from service.domain.overdue import OverdueKind
from service.store import schema
from service.store.engine import Database
from tests.history import KEPT_FOR, History
from tests.ledger.lines import number_all

APPS = ("claims", "dispatch")
MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
ANSWERED = timedelta(seconds=0.25)  # after it was asked
REFUSED, FORGED = {"status": 422, "code": "90018", "detail": "Call has ended"}, "the signature does not fit"


@dataclass(frozen=True)
class Made:
    """A session that is made up; times are seconds after MONDAY."""

    number: int
    app: str | None  # None: a document started it
    connector: str | None
    asked: float
    started: float | None = None
    ended: float | None = None
    outcome: str = "accepted"
    stop: tuple[str, float] | None = None
    failure: str | None = None  # Telnyx's words
    secure: bool | None = None
    transport: str | None = None
    late: float = 0  # its last callback
    spooled: tuple[str, float] | None = None  # so was its last callback, on that host, for so long
    call: int | None = None  # the number of another's, of which it is too

    @property
    def call_sid(self) -> str:
        return f"v3:call-{self.call or self.number}"

    @property
    def state(self) -> str:
        if self.failure:
            return "failed"
        if self.ended is not None:
            return "stopped"
        return "started" if self.started is not None else self.outcome


def hours(*hms: float) -> float:
    return sum(part * unit for part, unit in zip(hms, (3600, 60, 1), strict=False))


WEEK = 7 * 86_400
MADE = [
    Made(1, "claims", "recorder-a", hours(9), hours(9, 0, 1.5), hours(9, 30, 1.5), secure=True,
         transport="tls", stop=("claims", hours(9, 30))),
    Made(2, "claims", "recorder-a", hours(9, 10), hours(9, 10, 4), hours(9, 50, 4), secure=True,
         transport="tls", late=900),
    Made(3, "claims", "recorder-a", hours(9, 20), ended=hours(9, 20, 20), failure="no-answer"),
    Made(4, "dispatch", "recorder-b", hours(10), outcome="refused"),
    Made(5, "dispatch", "recorder-b", hours(10, 5), outcome="unanswered"),
    Made(6, "dispatch", "recorder-b", hours(10, 10), hours(10, 10, 2), secure=False, transport="tcp"),
    Made(7, "dispatch", "recorder-b", hours(10, 15)),
    Made(8, "claims", "recorder-a", WEEK + hours(9), WEEK + hours(9, 0, 2), WEEK + hours(11, 0, 2),
         secure=True, transport="tls", stop=("dispatch", WEEK + hours(11)), spooled=("web-1", 95)),
    Made(9, "dispatch", "recorder-b", WEEK + hours(9, 30), WEEK + hours(9, 30, 1), WEEK + hours(10, 30, 1),
         call=8, spooled=("web-1", 40)),
    Made(10, "claims", "recorder-a", WEEK + hours(10), ended=WEEK + hours(10, 0, 5), failure="486 Busy Here"),
    Made(11, None, None, WEEK + hours(12), WEEK + hours(12), WEEK + hours(12, 5)),
    Made(12, "claims", None, WEEK + hours(12, 30), WEEK + hours(12, 30, 70), WEEK + hours(13)),
]  # fmt: skip
REJECTED = [
    *[(hours(8 + n), FORGED) for n in range(3)],
    (WEEK + hours(8), FORGED),
    (hours(9), "no signature"),
]


def at(seconds: float) -> datetime:
    return MONDAY + timedelta(seconds=seconds)


def write(database: Database) -> None:
    """Into one that has no schema yet."""
    schema.upgrade(database)
    history = History(database, *APPS)
    for made in MADE:
        _write_one(history, made)
    for seconds, reason in REJECTED:
        history.reject(at(seconds), reason)
    number_all(history.database)


def _write_one(history: History, made: Made) -> None:
    sid, asked = f"sid-{made.number}", at(made.asked)
    session_id = ""
    if made.app:
        order: dict[str, Any] = {
            "connector_name": made.connector,
            "secure": made.secure,
            "sip_transport": made.transport,
        }
        session_id = history.ask(asked, made.call_sid, app=made.app, **order)
        if made.outcome == "refused":
            history.refuse(asked + ANSWERED, session_id, made.call_sid, ErrorKind.REJECTED, **REFUSED)
        elif made.outcome == "unanswered":
            history.refuse(asked + ANSWERED, session_id, made.call_sid, ErrorKind.NO_ANSWER, status=503)
        else:
            history.accept(asked + ANSWERED, session_id, made.call_sid, sid)
    if made.number == 7:
        history.overdue(
            asked + timedelta(seconds=20), session_id, OverdueKind.NOT_STARTED, "no siprec-started"
        )
    if made.started is not None:
        history.write(history.callback(made.call_sid, sid, "siprec-started", at(made.started)))
    if made.stop:
        history.stop(at(made.stop[1]), session_id, made.stop[0])
    if made.ended is not None:
        event = "siprec-failed" if made.failure else "siprec-stopped"
        fields = {"SiprecError": made.failure} if made.failure else {}
        received = at(made.ended + made.late)
        came = history.callback(made.call_sid, sid, event, at(made.ended), received, **fields)
        host, waited = made.spooled or (None, KEPT_FOR.total_seconds())
        history.write(came, written=received + timedelta(seconds=waited), spooled_on=host)


def main(path: Path) -> None:
    if path.exists():
        sys.exit(f"there is something at {path}, which stays as it is")
    with closing(Database(f"sqlite:///{path}")) as database:
        write(database)
    print(f"{path}: {len(MADE)} sessions that never were; sqlite3 {path} asks them")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
