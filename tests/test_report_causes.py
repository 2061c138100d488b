"""The reports name the causes that the code names, and each as the code does."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from service.domain import causes
from service.domain.ids import new_id
from service.domain.notice import Error, ErrorKind, Notice, NoticeKind
from service.domain.overdue import Overdue, OverdueKind, Watched
from service.domain.session import Origin, Progress, Session
from service.domain.start import Order
from service.domain.state import State
from service.store import keys, sessions, watched
from service.store.batch import Batch
from service.store.engine import Database
from service.store.sessions import IdempotencyKey
from service.store.watch_tables import session_watch

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
STATUSES = (None, 400, 401, 403, 404, 422, 429, 500, 503, 600)
UNLIKELY = ("10005", "10007", "10026", "10032", "10037", "90015", "90034")  # with a status too: like others
CODES = (None, *causes.BY_TELNYX_CODE, "10015", "any")
SIPREC_ERRORS = (None, "", "no-answer", " No-Answer ", "no-answer.", "486 Busy Here", "any")
ANSWERS = {ErrorKind.NO_ANSWER: (NoticeKind.UNANSWERED, State.UNANSWERED)}


def session(progress: Progress, answer: Notice | None = None, watched: Watched | None = None) -> Session:
    order = Order("account-1", "call-1")
    return Session(
        new_id(), Origin.API, order, NOON, NOON, progress, answer=answer, watched=watched or Watched()
    )


def refused() -> Iterator[Session]:
    for kind, status, code in itertools.product(ErrorKind, STATUSES, CODES):
        if kind is not ErrorKind.SIPREC_FAILED and not (status and code and code in UNLIKELY):
            error = Error(kind, status, code, "some words")
            answer, state = ANSWERS.get(kind, (NoticeKind.REFUSED, State.REFUSED))
            yield session(Progress(state, refusal=error), Notice(answer, NOON, error=error))


def failed() -> Iterator[Session]:
    for words in SIPREC_ERRORS:
        error = Error(ErrorKind.SIPREC_FAILED, detail=words)
        yield session(Progress(State.FAILED, failure=error))


def watched_ones() -> Iterator[Session]:
    """With an error too: what is overdue says more."""
    whys = ("no siprec-started within 20 s", "unknown: nobody listened", "it is unknown: x")
    for kind, why, state in itertools.product(OverdueKind, whys, State):
        yield replace(of_state(state), watched=Watched(Overdue(kind, NOON, why)))
    for state in State:
        presumed = Watched(presumed_ended_at=NOON, presumed_why="Telnyx says that the call is over")
        yield replace(of_state(state), watched=presumed)


def of_state(state: State) -> Session:
    if state in {State.REFUSED, State.UNANSWERED}:
        return next(one for one in refused() if one.progress.state is state)
    return next(failed()) if state is State.FAILED else session(Progress(state))


def write(database: Database, made: Iterable[Session]) -> None:
    with database.begin() as db:
        keys.create(db, "an app", NOON)
        key = IdempotencyKey(keys.listed(db)[0].id)
    rest = [*made]
    while rest:
        with database.begin() as db:  # which may not take long
            for one in rest[:100]:
                assert sessions.insert(db, one, key)
                batch = Batch(db)
                batch.put(session_watch, [watched.row(one.id, one.requested_at, one.watched)], "session_id")
                batch.write()
        del rest[:100]


def test_every_session_has_the_cause_that_the_code_finds(database: Database) -> None:
    made = [*refused(), *failed(), *watched_ones(), *map(of_state, State)]
    write(database, made)
    with database.read() as db:
        query = text("SELECT session_id, error_cause, cause FROM report_sessions_v1")
        told = {row.session_id: (row.error_cause, row.cause) for row in db.execute(query)}
    for one in made:
        cause, error = causes.of(one), one.progress.error
        expected = error and causes.of_error(error).code, cause and cause.code
        assert told[one.id] == expected, one


def test_every_cause_is_on_the_side_that_the_code_says(database: Database) -> None:
    with database.read() as db:
        rows = db.execute(text("SELECT cause, side, version FROM report_causes_v1")).all()
    assert {(row.cause, row.side) for row in rows} == {
        (cause.code, cause.side.value) for cause in causes.BY_CODE.values()
    }
    assert {row.version for row in rows} == {causes.VERSION}


def test_failures_count_every_session_that_has_a_cause(database: Database) -> None:
    made = [*refused(), *failed(), *watched_ones(), *map(of_state, State)]
    write(database, made)
    expected = Counter(
        (cause.code, cause.side.value, own_text(one, cause.code))
        for one in made
        if (cause := causes.of(one)) is not None
    )
    with database.read() as db:
        rows = db.execute(text("SELECT * FROM report_failures_v1")).all()
    assert {(row.cause, row.side, row.cause_text): row.sessions for row in rows} == expected
    assert len(rows) == len(expected)


def own_text(one: Session, cause: str) -> str | None:
    """What Telnyx said, where the table knows no more than that it said no."""
    error = one.progress.error
    if error is None or cause not in {"rejected", "siprec_failed"}:
        return None
    return error.code or error.detail


def test_failures_name_the_first_the_last_and_the_newest_as_an_example(database: Database) -> None:
    times = [NOON + timedelta(hours=hours) for hours in (3, 1, 2)]
    made = [replace(next(failed()), requested_at=at) for at in times]
    write(database, made)
    with database.read() as db:
        (row,) = db.execute(text("SELECT * FROM report_failures_v1")).all()
    newest = max(one.id for one in made)
    assert (row.account_sid, row.connector_name, row.sessions) == ("account-1", None, 3)
    assert (str(row.day), row.example_session_id) == ("2026-03-01", newest)
    written = [str(at)[:19].replace("T", " ") for at in (row.first_requested_at, row.last_requested_at)]
    assert written == ["2026-03-01 13:00:00", "2026-03-01 15:00:00"]


@pytest.mark.parametrize("view", ["report_daily_v1"])
def test_days_have_a_column_for_every_cause_of_an_error(database: Database, view: str) -> None:
    states = {
        ErrorKind.SIPREC_FAILED: State.FAILED,
        **{kind: ANSWERS.get(kind, (None, State.REFUSED))[1] for kind in ErrorKind if "siprec" not in kind},
    }
    with database.read() as db:
        columns = set(db.execute(text(f"SELECT * FROM {view}")).keys())
        known = db.execute(text("SELECT kind, cause FROM report_causes_v1")).all()
    expected = {f"{states[ErrorKind(kind)]}_{cause}" for kind, cause in known if kind in set(ErrorKind)}
    assert expected <= columns
    prefixes = tuple(f"{state}_" for state in ("failed", "refused", "unanswered"))
    assert expected == {column for column in columns if column.startswith(prefixes)}
