"""Whether all is well, and if not, why, whose side it is on and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from service.domain import causes
from service.domain.access import ALL_ACCOUNTS, Accounts
from service.domain.causes import Side
from service.ledger import promise
from service.ledger.promise import Promise
from service.store import wellness
from service.store.wellness import MOST_COUNTED, OverdueSessions, WaitingSpool

MOST_SECONDS: Final = 5.0  # so far behind may the numberer and the watch be
OVERDUE_PATH: Final = "/sessions?overdue=true"
# For a key that is limited to accounts: hosts are not its business.
ASK_OPERATORS: Final = "Ask the operators of this service: a key of all accounts shows them where."


@dataclass(frozen=True)
class Reason:
    """`words` and `what_to_do` are sentences; `path` is the page's, where the rows behind it are."""

    code: str
    words: str
    side: Side
    what_to_do: str
    path: str


@dataclass(frozen=True)
class Wellness:
    """`reasons` are the most urgent first. The promise is of all accounts, and shown to nobody else."""

    reasons: tuple[Reason, ...] = ()
    promise: Promise | None = None

    @property
    def is_well(self) -> bool:
        return not self.reasons


# For whoever cannot even look.
UNAVAILABLE: Final = Wellness(
    (
        Reason(
            "database_unavailable",
            "The database does not answer. Callbacks are kept on disk, where there is a spool.",
            Side.US,
            "Bring the database back; what waits is then written by itself.",
            "/",
        ),
    )
)
_NO_WRITES: Final = Reason(
    "no_writes",
    "The database takes no writes. Callbacks are kept on disk, where there is a spool.",
    Side.US,
    "Let it take writes again (its disk, its locks, its primary); what waits is then written by itself.",
    "/#spool",
)
# What rests on heartbeats, which are writes too.
_OF_HEARTBEATS: Final = {"no_process", "process_lost", "spool_unseen", "watch_behind"}
_SCHEMA: Final = Reason(
    "schema", "The database's schema is behind this release.", Side.US, "Run siprec-ledger db upgrade.", "/"
)


def seen_from(found: Wellness, *, takes_writes: bool, waiting: int) -> Wellness:
    """With what a process knows for itself, though the database may not be told: what waits in its spool."""
    reasons = [one for one in found.reasons if takes_writes or one.code not in _OF_HEARTBEATS]
    own = [] if takes_writes else [_NO_WRITES]
    if waiting and not any(one.code == "spool_waits" for one in reasons):
        own.append(spool_waits(waiting, "in the spool of this process"))
    urgent = [one for one in reasons if one.code == "live_unrecorded"]
    return Wellness((*urgent, *own, *(one for one in reasons if one not in urgent)), found.promise)


def look(db: Connection, now: datetime, accounts: Accounts = ALL_ACCOUNTS) -> Wellness:
    """`now` is UTC, by the database's clock. `accounts` narrows what is of sessions. Raises DatabaseError."""
    if not wellness.has_tables(db):
        return Wellness((_SCHEMA,))
    kept = promise.of(db, now) if accounts is ALL_ACCOUNTS else None
    return Wellness(
        (
            *_overdue(wellness.overdue_sessions(db, accounts)),
            *_missing(kept),
            *_alerts(wellness.open_alerts(db, accounts)),
            *_processes(db, now, accounts),
            *_spools(wellness.waiting_spools(db, now), accounts),
            *_behind(db, now),
        ),
        kept,
    )


def _overdue(found: list[OverdueSessions]) -> Iterator[Reason]:
    live = [one for one in found if _is_unrecorded(one)]
    if live:
        words = _words(sum(one.count for one in live), "call is live", "calls are live")
        most = causes.BY_OVERDUE_KIND[max(live, key=lambda one: one.count).kind]
        words = f"{words} and probably not recorded."
        yield Reason("live_unrecorded", words, most.side, most.what_to_do, OVERDUE_PATH)
    for code, cause in causes.BY_CODE.items():
        count = sum(one.count for one in found if not _is_unrecorded(one) and _code(one) == code)
        if count:
            words = f"{_words(count, 'session is overdue', 'sessions are overdue')}: {cause.words}."
            yield Reason(code, words, cause.side, cause.what_to_do, OVERDUE_PATH)


def _is_unrecorded(one: OverdueSessions) -> bool:
    return causes.is_unrecorded(one.kind, is_unknown=one.is_unknown, is_call_live=one.is_call_live)


def _code(one: OverdueSessions) -> str:
    return "unknown" if one.is_unknown else causes.BY_OVERDUE_KIND[one.kind].code


def _missing(kept: Promise | None) -> Iterator[Reason]:
    if kept is not None and kept.missing:
        words = _words(kept.missing, "callback is missing", "callbacks are missing")
        what_to_do = "Find out who deleted rows, or which disk or database was lost; restore a backup."
        yield Reason(
            "callbacks_missing", f"{words}: answered 200, and not stored.", Side.US, what_to_do, "/#promise"
        )


def _alerts(count: int) -> Iterator[Reason]:
    if count:
        words = _words(count, "alert is open.", "alerts are open.")
        yield Reason("alerts", words, Side.US, "Each alert says what to do.", "/#alerts")


def _processes(db: Connection, now: datetime, accounts: Accounts) -> Iterator[Reason]:
    lost, is_any_seen = wellness.lost_processes(db, now)
    if not is_any_seen:
        words = "No process of the service has been seen for 15 s, so callbacks may not be answered."
        yield Reason("no_process", words, Side.US, "Start the service.", "/#processes")
        return
    if lost and accounts is not ALL_ACCOUNTS:
        words = f"{_words(sum(lost.values()), 'process', 'processes')} vanished."
        yield Reason("process_lost", words, Side.US, ASK_OPERATORS, "/")
        return
    for host, count in lost.items():
        words = f"{_words(count, 'process', 'processes')} on {host} vanished."
        yield Reason("process_lost", words, Side.US, f"Look at the service's log on {host}.", "/#processes")


def _spools(found: list[WaitingSpool], accounts: Accounts) -> Iterator[Reason]:
    if found and accounts is not ALL_ACCOUNTS:
        words = "Callbacks may wait on a disk, of whatever account."
        yield Reason("spool_waits", words, Side.US, ASK_OPERATORS, "/")
        return
    for spool in found:
        if not spool.is_seen:
            words = f"The spool on {spool.host} has not been seen for 15 s; callbacks may wait on its disk."
            what_to_do = f"Bring {spool.host} back, or run siprec-ledger hosts retire {spool.host}."
            yield Reason("spool_unseen", words, Side.US, what_to_do, "/#spool")
        elif spool.entries:
            yield spool_waits(spool.entries, f"in the spool on {spool.host}")
        if spool.dead_letters:
            words = f"{_words(spool.dead_letters, 'dead letter lies', 'dead letters lie')} on {spool.host}."
            what_to_do = f"On {spool.host}, run siprec-ledger spool list, then siprec-ledger spool retry."
            yield Reason("dead_letters", words, Side.US, what_to_do, "/#spool")


def spool_waits(entries: int, where: str) -> Reason:
    words = f"{_words(entries, 'entry waits', 'entries wait')} {where}."
    what_to_do = "It drains by itself while the database takes writes; else look at the log."
    return Reason("spool_waits", words, Side.US, what_to_do, "/#spool")


def _behind(db: Connection, now: datetime) -> Iterator[Reason]:
    what_to_do = "Look at the service's log, and for long transactions in the database."
    if (seconds := wellness.unnumbered_seconds(db)) > MOST_SECONDS:
        words = f"Events have waited {seconds:.0f} s for their place in the feed."
        yield Reason("numbering_behind", words, Side.US, what_to_do, "/#behind")
    if (seconds := wellness.watch_seconds(db, now)) > MOST_SECONDS:
        words = f"The watch is {seconds:.0f} s behind, so what is overdue may not be known yet."
        yield Reason("watch_behind", words, Side.US, what_to_do, "/#behind")


def _words(count: int, one: str, more: str) -> str:
    if count >= MOST_COUNTED:
        return f"{count:,} or more {more}"
    return f"{count:,} {one if count == 1 else more}"
