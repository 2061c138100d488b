"""A connection to PostgreSQL whose time limits are the client's, and what the server's errors mean."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, LiteralString

import psycopg

from service.store.errors import (
    FAIR_SECONDS,
    DatabaseConflict,
    DatabaseError,
    DatabaseUnavailable,
    DatabaseUnready,
    Failure,
    Outage,
    RecordRefused,
    describe,
)

ANSWER_SECONDS: Final = 4.5  # more than statement_timeout, which the server keeps only while it lives
COMMIT_SECONDS: Final = 2
ROLLBACK_SECONDS: Final = 0.5
CANCEL_SECONDS: Final = 0.25  # for the cancel, and for the server to have heard of it
SHORT_SECONDS: Final = 0.75  # a deadline nearer than this leaves less time for a lock

CONFLICTS: Final = {"40001", "40P01", "55P03"}  # serialization_failure, deadlock_detected, lock_not_available
GUILTY_CLASSES: Final = {"22", "23", "54"}  # data, constraint, program limit
# Connection lost; the server shuts down, crashed, starts, or has dropped the database.
LOST_CLASSES: Final = {"08"}
LOST: Final = {"57P01", "57P02", "57P03", "57P04", "57P05"}
# Name or grant, resources; only reads, now or as a standby.
UNREADY_CLASSES: Final = {"42", "53"}
UNREADY: Final = {"25006", "0A000"}
OUR_FAULT: Final = {"25P03", "25P04"}  # idle_in_transaction_session_timeout, transaction_timeout


@dataclass(frozen=True)
class Server:
    """Which server it is. Of two with one `system`, that of the lower `timeline` is no primary any more."""

    system: str | None  # None: it does not say
    timeline: int | None
    started_at: datetime


class OutOfTime(psycopg.OperationalError):
    """The server did not do it in `seconds`. `is_answering`: it still says something."""

    def __init__(self, seconds: float, *, is_answering: bool) -> None:
        super().__init__(f"out of time after {seconds:.1f} s")
        self.seconds = seconds
        self.is_answering = is_answering


class Unconfirmed(psycopg.OperationalError):
    """Committed, says the server, and warns: an operator stopped it from waiting for the standby."""


class Aborted(psycopg.ProgrammingError):
    """An error was caught and the transaction went on: it is over, and COMMIT would be answered ROLLBACK."""


class PostgresqlConnection(psycopg.Connection[Any]):
    """Gives up on a server that says nothing; psycopg alone would wait for ever."""

    epoch = 0
    server: Server | None = None  # as it was when it connected
    is_writable = True
    is_pooled = False
    limits: Mapping[str, str] = {}  # what the session was to be set to
    identify: Callable[[PostgresqlConnection], Server] | None = None
    has_left: Callable[[int], object] | None = None  # told of a backend that may not have heard of it

    _answer_seconds: float | None = ANSWER_SECONDS
    _deadline: float | None = None  # monotonic
    _due: Mapping[str, str] | None = None  # to be set with the transaction's first statement
    _is_warned = False

    def prepare(self, deadline: float | None) -> None:
        """For the next transaction, which is to be over by `deadline` (monotonic)."""
        self._deadline = deadline
        due = dict(self.limits) if self.is_pooled else {}
        if deadline is not None and (seconds := deadline - time.monotonic()) < SHORT_SECONDS:
            due["lock_timeout"] = f"{max(10, round(seconds * 600))}ms"
        self._due = due or None

    def take_due(self) -> Mapping[str, str] | None:
        due, self._due = self._due, None
        return due

    def lift_limits(self) -> None:
        self._answer_seconds = self._deadline = None

    def current_server(self) -> Server | None:
        """That the transaction runs on: a pooler may have several."""
        return self.identify(self) if self.is_pooled and self.identify else self.server

    def send(self, command: LiteralString) -> psycopg.Cursor[Any]:
        """In a pipeline: what is due with the first statement stays due."""
        return psycopg.Cursor(self).execute(command, prepare=False)

    def commit(self) -> None:
        """Raises Aborted and Unconfirmed, too."""
        if self.info.transaction_status == psycopg.pq.TransactionStatus.INERROR:
            self.rollback()
            raise Aborted("an error before the commit was passed over")
        with self.confirming():
            super().commit()

    @contextmanager
    def confirming(self) -> Iterator[None]:
        """Around a COMMIT. Raises Unconfirmed."""
        if self._answer_seconds is not None:
            limit = time.monotonic() + COMMIT_SECONDS
            self._deadline = limit if self._deadline is None else min(self._deadline, limit)
        self._is_warned = False
        yield
        if self._is_warned:
            self.close()
            raise Unconfirmed("the commit was not confirmed by the standby")

    def rollback(self) -> None:
        self._due = None
        if self.closed:  # the server undoes it; an error here would hide why it was closed
            return
        if self._answer_seconds is not None:
            self._deadline = time.monotonic() + ROLLBACK_SECONDS
        try:
            super().rollback()
        finally:
            self._deadline = None

    def notice_warning(self, notice: psycopg.errors.Diagnostic) -> None:
        self._is_warned = self._is_warned or notice.severity_nonlocalized == "WARNING"

    def is_quiet(self) -> bool:
        """Whether nothing has come since it was last used: what comes unasked is the server's farewell."""
        return not self.closed and not _is_readable(self.fileno(), 0)

    def wait(self, *args: Any, **options: Any) -> Any:
        began = time.monotonic()
        try:
            return super().wait(*args, **{"timeout": self._seconds_left(), **options})
        except psycopg.OperationalError as error:
            if error.sqlstate is not None:
                raise
            if self.pgconn.status == psycopg.pq.ConnStatus.OK:
                seconds = time.monotonic() - began
                raise OutOfTime(seconds, is_answering=self._abandon()) from error
            self.close()
            raise

    def _seconds_left(self) -> float | None:
        if self._deadline is None:
            return self._answer_seconds
        return max(0.001, self._deadline - time.monotonic())

    def _abandon(self) -> bool:
        """Stop what the server is at, or it holds its locks for ever; whether it still answers."""
        is_answering = False
        try:
            self.cancel_safe(timeout=CANCEL_SECONDS)
            has_ended = _is_readable(self.fileno(), CANCEL_SECONDS)
            is_answering = has_ended or not self.is_pooled  # a pooler takes a cancel, whoever is behind it
        except psycopg.Error:
            has_ended = False
        if not has_ended and self.has_left is not None:
            self.has_left(self.info.backend_pid)
        self.close()
        return is_answering


class LimitingCursor(psycopg.Cursor[Any]):
    """Sends the limits of a transaction together with its first statement: one round trip."""

    def execute(self, query: Any, *args: Any, **options: Any) -> LimitingCursor:
        connection = self.connection
        assert isinstance(connection, PostgresqlConnection)
        due = connection.take_due()
        if due is None:
            super().execute(query, *args, **options)
            return self
        with connection.pipeline():
            _set_limits(connection, due)
            super().execute(query, *args, **options)
        return self

    def executemany(self, *args: Any, **options: Any) -> None:
        connection = self.connection
        assert isinstance(connection, PostgresqlConnection)
        due = connection.take_due()
        if due is not None:
            _set_limits(connection, due)
        super().executemany(*args, **options)


def _set_limits(connection: PostgresqlConnection, limits: Mapping[str, str]) -> None:
    settings = ", ".join(["set_config(%s, %s, true)"] * len(limits))
    values = [text for limit in limits.items() for text in limit]
    psycopg.Cursor(connection).execute(f"SELECT {settings}", values)


def classify(error: psycopg.Error, *, writes: bool) -> Failure:
    """What it means to the caller, and to others."""
    error_class, outage = _classify(error)
    if outage is Outage.WRITES and not writes:
        outage = Outage.NONE
    return Failure(error_class(describe(error)), outage)


def _classify(error: psycopg.Error) -> tuple[type[DatabaseError], Outage]:
    state = error.sqlstate
    if state is None:
        return _classify_without_state(error)
    if state in CONFLICTS:
        return DatabaseConflict, Outage.NONE
    if state[:2] in GUILTY_CLASSES:
        return RecordRefused, Outage.NONE
    if state in OUR_FAULT:
        return DatabaseUnavailable, Outage.NONE
    if state in LOST or state[:2] in LOST_CLASSES:
        return DatabaseUnavailable, Outage.ALL
    if state in UNREADY or state[:2] in UNREADY_CLASSES:
        return DatabaseUnready, Outage.WRITES
    return DatabaseUnavailable, Outage.WRITES


def _classify_without_state(error: psycopg.Error) -> tuple[type[DatabaseError], Outage]:
    if isinstance(error, psycopg.DataError):
        return RecordRefused, Outage.NONE
    if isinstance(error, OutOfTime) and error.is_answering:
        return DatabaseUnavailable, Outage.WRITES if error.seconds >= FAIR_SECONDS else Outage.NONE
    if isinstance(error, Unconfirmed):
        return DatabaseUnavailable, Outage.WRITES
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return DatabaseUnavailable, Outage.ALL
    return DatabaseError, Outage.NONE  # the driver does not know what is asked of it


def _is_readable(descriptor: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(seconds * 1000))
