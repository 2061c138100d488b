"""The ledger's one line of facts: a row for every change of what is known of a session.

And for what is done with API keys and hosts, for every reading of evidence, and for alerts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, bindparam, select

from service.domain.notice import Error
from service.domain.state import State
from service.domain.value import value
from service.store import numbering
from service.store.batch import Batch
from service.store.columns import written_out
from service.store.json import canonical_json
from service.store.tables import event

TELNYX = "telnyx"  # the actor of what its answers and callbacks change
WATCH = "watch"  # of what did not happen in time
OPERATOR = "operator"  # of what is done by command
ACTORS = frozenset({TELNYX, WATCH, OPERATOR})  # all others are names of API keys
SESSION = "session"  # a kind of subject; so are the next ones
KEY = "key"
EVIDENCE = "evidence"
HOST = "host"
ALERT = "alert"

MOST = 2**31 - 1  # of a session's events; no limit at all

Moment = int | datetime  # a position, or a time in UTC


class EventKind(StrEnum):
    CREATED = "created"
    CHANGED = "changed"
    MERGED = "merged"  # of both sessions: the one that was merged, and the one that holds it now
    # What the watch found out; nothing that Telnyx told changes with it.
    OVERDUE = "overdue"
    OVERDUE_CHANGED = "overdue-changed"  # it is so still, for another reason
    OVERDUE_CLOSED = "overdue-closed"
    CALL_CHECKED = "call-checked"  # Telnyx was asked for the call

    @property
    def is_of_watch(self) -> bool:
        return self not in {EventKind.CREATED, EventKind.CHANGED, EventKind.MERGED}


class KeyEventKind(StrEnum):
    CREATED = "created"
    CHANGED = "changed"
    SECRET_CREATED = "secret-created"  # noqa: S105 (a name)
    SECRET_REVOKED = "secret-revoked"  # noqa: S105
    REVOKED = "revoked"


class EvidenceEventKind(StrEnum):
    READ = "read"


class HostEventKind(StrEnum):
    RETIRED = "retired"


class AlertEventKind(StrEnum):
    OPENED = "opened"
    ACKNOWLEDGED = "acknowledged"
    ENDED = "ended"


@dataclass(frozen=True)
class Event:
    """`changes` is fact -> [before, after], as JSON values; times are UTC."""

    sequence: int
    kind: EventKind
    actor: str
    correction: bool
    state: State
    account_sid: str
    changes: dict[str, list[Any]]
    happened_at: datetime
    written_at: datetime
    position: int | None = None  # its number in the feed, once it has one


@value(frozen=True)
class Change:
    """An event to be written. `facts` is fact -> (before, after); the rest is as it stands after it.

    `correction` says that something received earlier than what was known has changed a fact.
    """

    session_id: str
    kind: EventKind
    actor: str
    facts: Mapping[str, tuple[object, object]]
    state: State
    account_sid: str
    siprec_sid: str | None
    happened_at: datetime
    callback_id: str | None = None
    correction: bool = False


@dataclass(frozen=True)
class Action:
    """What somebody did that is of no session, to be written as an event. `facts` as in a Change.

    `subject_id` is the id of the key or the alert, the name of the host, or says which evidence it was.
    """

    subject_kind: str
    subject_id: str
    kind: KeyEventKind | EvidenceEventKind | HostEventKind | AlertEventKind
    actor: str
    facts: Mapping[str, tuple[object, object]]
    account_sid: str | None = None  # of those whose keys see it


def add(batch: Batch, changes: Sequence[Change], written_at: datetime) -> None:
    """In this order."""
    batch.add(event, [_row(change, written_at) for change in changes], numbering.SQLITE_VALUES)


def add_action(db: Connection, action: Action, now: datetime) -> None:
    """It happens now."""
    row = {
        "subject_kind": action.subject_kind,
        "subject_id": action.subject_id,
        "kind": action.kind,
        "actor": action.actor,
        "callback_id": None,
        "correction": False,
        "changes": {fact: [_json(value) for value in pair] for fact, pair in action.facts.items()},
        "state": None,
        "account_sid": action.account_sid,
        "siprec_sid": None,
        "happened_at": now,
        "written_at": now,
    }
    batch = Batch(db)
    batch.add(event, [{**row, "digest": digest(row)}], numbering.SQLITE_VALUES)
    batch.write()


def of_session(
    db: Connection, session_id: str, after: int, limit: int | None, until: Moment | None = None
) -> list[Event]:
    """In the order in which they were written; `after` is the sequence of the last one already seen.

    `until`: only those that had their positions by then.
    """
    query = _OF_SESSION if until is None else _OF_SESSION.where(_numbered_by(until))
    wanted = {"session_id": session_id, "after": after, "most": MOST if limit is None else limit}
    return [_event(row) for row in db.execute(query, wanted).mappings()]


def _numbered_by(until: Moment) -> ColumnElement[bool]:
    return event.c.position <= until if isinstance(until, int) else event.c.numbered_at <= until


def _row(change: Change, written_at: datetime) -> dict[str, Any]:
    row = {
        "subject_kind": SESSION,
        "subject_id": change.session_id,
        "kind": change.kind,
        "actor": change.actor,
        "callback_id": change.callback_id,
        "correction": change.correction,
        "changes": {fact: [_json(value) for value in pair] for fact, pair in change.facts.items()},
        "state": change.state,
        "account_sid": change.account_sid,
        "siprec_sid": change.siprec_sid,
        "happened_at": change.happened_at,
        "written_at": written_at,
    }
    return {**row, "digest": digest(row)}


def digest(row: Mapping[str, Any]) -> bytes:
    """SHA-256 over all of an event that never changes, as canonical JSON."""
    plain = {name: _json(value) for name, value in row.items()}
    return hashlib.sha256(canonical_json(plain).encode()).digest()


def _event(row: RowMapping) -> Event:
    return Event(
        sequence=row["sequence"],
        kind=EventKind(row["kind"]),
        actor=row["actor"],
        correction=row["correction"],
        state=State(row["state"]),
        account_sid=row["account_sid"],
        changes=row["changes"],
        happened_at=row["happened_at"],
        written_at=row["written_at"],
        position=row["position"],
    )


def _json(value: object) -> Any:
    if isinstance(value, datetime):
        return written_out(value)
    if isinstance(value, dict):
        return {name: _json(member) for name, member in value.items()}
    return value.facts() if isinstance(value, Error) else value


# Made once: putting it together takes longer than running it.
_OF_SESSION = (
    select(event)
    .where(event.c.subject_kind == SESSION, event.c.subject_id == bindparam("session_id"))
    .where(event.c.sequence > bindparam("after"))
    .order_by(event.c.sequence)
    .limit(bindparam("most"))
)
