"""A page is read by indexes, and so is what alerts are about: no statement looks at a whole table."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, insert, text

from service.domain.access import Accounts
from service.domain.alerts import Subject
from service.domain.overdue import OverdueKind
from service.domain.state import State
from service.ledger import explanation, overview
from service.store import (
    alert_cases,
    answer_counts,
    callback_lists,
    events,
    session_counts,
    session_lists,
    sessions,
    tables,
    wellness,
)
from service.store import now as store_now
from service.store.alert_cases import OverdueGroup
from service.store.engine import Database
from service.store.events import SESSION, TELNYX, EventKind
from service.store.session_lists import Filter
from service.store.watch_tables import session_watch
from service.web.pages import figures
from tests.store.plans import is_index_read_through, is_read_through, plan

NOW = datetime.now(UTC)
SESSIONS = 8_000  # twenty of each of the last days
AT_ONCE = 1_000
EACH = timedelta(minutes=72)
RARELY = 2_000
LIMIT = 20
BOUNDS = (
    (answer_counts, "MOST_LOOKED_AT"),
    (overview, "MOST_LOOKED_AT"),
    (session_counts, "MOST_COUNTED"),
    (session_counts, "MOST_LOOKED_UP"),
    (session_counts, "MOST_OF_STATE"),
    (store_now, "MOST_CALLBACKS"),
    (store_now, "MOST_IN_PROGRESS"),
    (store_now, "MOST_OVERDUE"),
    (store_now, "MOST_STARTS"),
    (wellness, "MOST_COUNTED"),
)
LARGE = ("session", "session_label", "session_watch", "callback", "callback_repeat", "event")
GROUP = OverdueGroup(OverdueKind.NOT_ENDED, False, False, "connector-1", "account-1", 1, "")
LIMITED = frozenset({"account-1", "rare"})


def _id(number: int) -> str:
    return f"018f0000-0000-7000-8000-{number:012x}"


def _rare(number: int, usual: str) -> str:
    return usual if number % RARELY else "rare"


@pytest.fixture
def filled(database: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    for module, name in BOUNDS:
        monkeypatch.setattr(module, name, LIMIT)  # of the whole as little as in a large ledger
    for start in range(0, SESSIONS, AT_ONCE):
        numbers = range(start, start + AT_ONCE)
        with database.begin() as db:
            db.execute(insert(tables.session), [_session(number) for number in numbers])
            db.execute(insert(tables.session_label), [one for number in numbers for one in _labels(number)])
            db.execute(insert(session_watch), [_watched(number) for number in numbers])
            db.execute(insert(tables.callback), [_callback(number) for number in numbers])
            db.execute(insert(tables.callback_repeat), [_repeat(number) for number in numbers])
            db.execute(insert(tables.event), [_event(number) for number in numbers])
    if not database.is_sqlite:
        with database.begin() as db:
            for table in LARGE:
                db.execute(text(f"ANALYZE {table}"))
    return database


def _at(number: int) -> datetime:
    return NOW - (SESSIONS - number) * EACH


def _session(number: int) -> dict[str, Any]:
    return {
        "id": _id(number),
        "origin": "api",
        "account_sid": _rare(number, f"account-{number % 3}"),
        "call_sid": f"call {number}",
        "connector_name": _rare(number, f"connector-{number % 3}"),
        "reference": f"claim {number}",
        "status_callback_method": "POST",
        "labels": {},
        "requested_at": _at(number),
        "attempts": 1,
        "state": State.STOPPED if number % 40 else State.FAILED,
        "callbacks": 1,
        "updated_at": _at(number),
    }


def _labels(number: int) -> list[dict[str, Any]]:
    named = {"team": _rare(number, f"team-{number % 3}"), "site": f"site-{number % 5}"}
    whose = {"session_id": _id(number), "requested_at": _at(number)}
    return [{**whose, "name": name, "value": value} for name, value in named.items()]


def _watched(number: int) -> dict[str, Any]:
    """Most were overdue once; few are."""
    kind = None if number % 400 else OverdueKind.NOT_ENDED
    since = None if kind is None else _at(number)
    return {
        "session_id": _id(number),
        "requested_at": _at(number),
        "overdue_kind": kind,
        "overdue_since": since,
        "overdue_why": kind and "it goes on",
        "presumed_ended_at": _at(number),
    }


def _callback(number: int) -> dict[str, Any]:
    return {
        **_evidence(number),
        "id": _id(number),
        "session_id": _id(number),
        "digest": number.to_bytes(32, "big"),
        "last_received_at": _at(number),
        "deliveries": 2,
        "query": b"",
        "body": b"a=1",
        "time_is_plausible": True,
    }


def _repeat(number: int) -> dict[str, Any]:
    return {**_evidence(number), "id": _id(SESSIONS + number), "callback_id": _id(number)}


def _evidence(number: int) -> dict[str, Any]:
    at = _at(number)
    return {
        "received_at": at,
        "written_at": at,
        "method": "POST",
        "headers": {},
        "verified_by": "key",
        "answered": 200,
    }


def _event(number: int) -> dict[str, Any]:
    return {
        "subject_kind": SESSION,
        "subject_id": _id(number),
        "kind": EventKind.CREATED,
        "actor": TELNYX,
        "correction": False,
        "changes": {},
        "state": State.STOPPED,
        "account_sid": "account-1",
        "happened_at": _at(number),
        "written_at": _at(number),
        "digest": number.to_bytes(32, "big"),
        "position": number + 1,
        "numbered_at": _at(number),
    }


def _one_session(db: Connection) -> None:
    """As the page does."""
    found = sessions.find(db, _id(7), None)
    assert found is not None
    events.of_session(db, found.id, 0, 100)
    explanation.of(db, found, NOW)
    callback_lists.of_session(db, found.id, None, LIMIT)
    session_lists.page(db, Filter(call_sid=found.order.call_sid), None, None, LIMIT)


PAGES: dict[str, Callable[[Database, Connection], object]] = {
    "now": lambda database, _: figures.look(database, None),
    "now, of some accounts": lambda database, _: figures.look(database, LIMITED),
    "status": lambda _, db: overview.of(db, 10),
    "one session": lambda _, db: _one_session(db),
}
# An index leads to these; of the others the newest are looked through until enough are found.
NARROW = {
    "a state": Filter(states=frozenset({State.FAILED})),
    "no such state": Filter(states=frozenset({State.REQUESTED})),
    "in progress": Filter(states=frozenset({State.REQUESTED, State.ACCEPTED, State.STARTED})),
    "a rare account": Filter(account_sid="rare"),
    "no such account": Filter(account_sid="nobody"),
    "a rare connector": Filter(connector_name="rare"),
    "no such connector": Filter(connector_name="nobody"),
    "a call": Filter(call_sid="call 7"),
    "a reference": Filter(reference="claim 7"),
    "a usual label": Filter(labels=(("team", "team-1"),)),
    "a rare label": Filter(labels=(("team", "rare"),)),
    "two labels, the first rare": Filter(labels=(("team", "rare"), ("site", "site-0"))),
    "two labels, the second rare": Filter(labels=(("site", "site-0"), ("team", "rare"))),
    "the last day": Filter(requested_after=NOW - timedelta(days=1)),
    "the first day": Filter(requested_before=NOW - 399 * timedelta(days=1)),
    "overdue": Filter(overdue=True),
    "overdue, of a kind": Filter(overdue=OverdueKind.NOT_ENDED),
    "overdue, of none": Filter(overdue=OverdueKind.NO_ANSWER),
}
WIDE = {
    "a usual connector": Filter(connector_name="connector-1"),
    "a usual account": Filter(account_sid="account-1"),
    "all": Filter(),
    "the usual state": Filter(states=frozenset({State.STOPPED})),
    "not overdue": Filter(overdue=False),
}


def _list(db: Connection, wanted: Filter, accounts: Accounts) -> None:
    """As the page Sessions does, at its end and in the middle."""
    session_lists.page(db, wanted, accounts, None, LIMIT)
    session_lists.page(db, wanted, accounts, (_at(SESSIONS // 2), _id(SESSIONS // 2)), LIMIT)


def _read_through(found: str) -> list[str]:
    return [table for table in LARGE if is_read_through(found, table)]


def test_no_page_reads_a_whole_table(filled: Database, subtests: pytest.Subtests) -> None:
    for name, show in PAGES.items():
        with subtests.test(name), filled.read() as db:
            found = plan(db, lambda: show(filled, db))  # noqa: B023
            assert _read_through(found) == [], found


def test_nor_does_a_list_whatever_it_is_narrowed_to(filled: Database, subtests: pytest.Subtests) -> None:
    for name, wanted in {**NARROW, **WIDE}.items():
        for accounts in (None, LIMITED):
            with subtests.test(f"{name}, {accounts}"), filled.read() as db:
                found = plan(db, lambda: _list(db, wanted, accounts))  # noqa: B023
                assert _read_through(found) == [], found
                if name in NARROW and accounts is None:
                    assert not is_index_read_through(found, "session"), found


def test_nor_do_the_counts_beside_a_list(filled: Database, subtests: pytest.Subtests) -> None:
    for name, wanted in {**NARROW, **WIDE}.items():
        for accounts in (None, LIMITED):
            with subtests.test(f"{name}, {accounts}"), filled.read() as db:
                found = plan(db, lambda: session_counts.by_state(db, wanted, accounts))  # noqa: B023
                assert _read_through(found) == [], found


def test_nor_does_the_search_for_what_alerts_are_about(filled: Database, subtests: pytest.Subtests) -> None:
    subject = Subject("recorder_no_answer", "connector-1", "account-1")
    searches: dict[str, Callable[[Connection], object]] = {
        "failures": lambda db: alert_cases.failures(db, SESSIONS // 2, SESSIONS // 2 + LIMIT, NOW),
        "what is overdue": alert_cases.overdue_groups,
        "those that are in no alert": lambda db: alert_cases.overdue_ids(db, GROUP, "not_ended"),
        "cases": lambda db: alert_cases.recent_cases(db, NOW),
        "old cases": lambda db: alert_cases.old_cases(db, NOW),
        "starts": lambda db: alert_cases.started(db, subject, NOW - timedelta(minutes=10)),
    }
    for name, search in searches.items():
        with subtests.test(name), filled.read() as db:
            found = plan(db, lambda: search(db))  # noqa: B023
            assert _read_through(found) == [], found
            for table in (
                "session",
                "callback",
                "event",
            ):  # of the watch's, an index has only what is overdue
                assert not is_index_read_through(found, table), found


def test_a_page_that_reads_a_whole_table_is_noticed(filled: Database) -> None:
    """Or the tests above could not fail."""
    with filled.read() as db:
        for table, column in {"session": "updated_at", "callback": "written_at", "event": "actor"}.items():
            query = text(f"SELECT count(DISTINCT {column}) FROM {table}")
            found = plan(db, lambda: db.execute(query))  # noqa: B023
            assert _read_through(found) == [table], found
