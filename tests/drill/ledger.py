"""The ledger under test as its reporting views show it, and what can be done to its database."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

MARK = "siprec_ledger_drill"  # a table that only a drill makes, in a database that was empty
CALLS = "v3:drill-"  # what every call_sid of a drill begins with

CALLBACKS = """
SELECT session_id, call_sid, siprec_sid, event, happened_at, received_at, deliveries
FROM report_callbacks_v1 WHERE call_sid LIKE """
SESSIONS = """
SELECT session_id, call_sid, origin, state, siprec_sid, started_at, ended_at, error_detail
FROM report_sessions_v1 WHERE call_sid LIKE """

FOREIGN = f"SELECT call_sid FROM report_sessions_v1 WHERE call_sid NOT LIKE '{CALLS}%' LIMIT 1"


class NotForDrills(Exception):
    """The database is not ours to fill with inventions, or cannot be used."""


class Need(StrEnum):
    """What a fault needs that not every database can give."""

    SERVER = "a server"
    OWN_SERVER = "a server of the drill's own"
    POOLER = "PgBouncer"


def require_for_drills(tables: Collection[str], has_foreign: Callable[[], bool]) -> None:
    """A ledger with a single session that is no drill's is never touched; nor are other people's tables.

    `tables`: the names of all tables and views; `has_foreign`: whether FOREIGN finds anything.
    """
    if tables and MARK not in tables:
        raise NotForDrills("the database is not empty, and no drill has made what it holds")
    if "report_sessions_v1" in tables and has_foreign():
        raise NotForDrills("the database was a drill's, and now holds sessions that no drill has started")


@dataclass(frozen=True)
class StoredCallback:
    session_id: str | None
    call_sid: str
    siprec_sid: str | None
    event: str | None
    happened_at: datetime | None
    received_at: datetime
    deliveries: int


@dataclass(frozen=True)
class StoredSession:
    session_id: str
    call_sid: str
    origin: str
    state: str
    siprec_sid: str | None
    started_at: datetime | None
    ended_at: datetime | None
    error_detail: str | None


class Ledger(ABC):
    """A database that the drill may fill, and break. `call_sids` are LIKE patterns."""

    name: str
    url: str  # for the service; for commands as well
    workers: int
    lacks: Mapping[Need, str]  # and why
    troubles: tuple[type[Exception], ...]  # what reading it may raise

    @abstractmethod
    def claim(self) -> None:
        """Mark the database as the drills'. Raises NotForDrills unless it is empty or marked already."""

    @abstractmethod
    def away(self) -> AbstractAsyncContextManager[None]:
        """Meanwhile it is not there, or as near to that as this kind of database gets."""

    @abstractmethod
    def hanging(self) -> AbstractAsyncContextManager[None]:
        """Meanwhile it takes what it is given, and does not answer."""

    @abstractmethod
    def refusing_event(self, event: str) -> AbstractAsyncContextManager[None]:
        """Meanwhile no callback that says this event can be stored, in whatever form."""

    @abstractmethod
    def callbacks(self, call_sids: str) -> Iterable[StoredCallback]: ...

    @abstractmethod
    def sessions(self, call_sids: str) -> Iterable[StoredSession]: ...

    @abstractmethod
    def close(self) -> None: ...
