"""The reporting views are a contract: the same rows on both databases, under names that never change."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from service.domain import session as ledger_session
from service.domain.callback import Delivery
from service.domain.ids import new_id
from service.domain.session import Origin, Progress
from service.domain.start import Order, Track
from service.domain.state import State
from service.ledger.ingest import Ingest
from service.ledger.sessions import Sessions
from service.sandbox import EVENTS, Answer, Behaviour, Sandbox, Session
from service.store import keys
from service.store import sessions as store
from service.store.engine import Database
from service.store.json import canonical_json
from service.store.sessions import IdempotencyKey
from service.telnyx.callback import Reader
from service.telnyx.callback_url import CallbackUrls
from service.telnyx.client import Client
from tests.bed.postgres import Postgres
from tests.house import migrate
from tests.ledger.lines import number_all

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ADDRESSES = CallbackUrls("http://127.0.0.1:9", ["a secret that is long enough for a test"])  # nobody listens

# A column may be appended here. None may ever go, move, or be called something else.
SESSIONS = [
    "session_id",
    "origin",
    "account_sid",
    "call_sid",
    "siprec_sid",
    "callback_siprec_sid",
    "connector_name",
    "name",
    "track",
    "state",
    "requested_at",
    "accepted_at",
    "started_at",
    "ended_at",
    "stop_requested_at",
    "updated_at",
    "seconds_to_accepted",
    "seconds_to_started",
    "duration_seconds",
    "error_kind",
    "error_status",
    "error_code",
    "error_detail",
    "requested_by",
    "reference",
    "labels",
    "stop_requested_by",
    "attempts",
    "callbacks",
    "last_callback_at",
    "overdue_since",
    "overdue_why",
    "presumed_ended_at",
    "presumed_why",
    "secure",
    "sip_transport",
    "session_timeout_secs",
    "overdue_kind",
    "error_cause",
    "cause",
    "cause_text",
]
CALLBACKS = [
    "callback_id",
    "session_id",
    "event",
    "happened_at",
    "received_at",
    "deliveries",
    "verified_by",
    "problem",
    "call_sid",
    "siprec_sid",
    "last_received_at",
    "written_at",
    "answered",
    "spooled_on",
    "lateness_seconds",
    "method",
    "spooled_seconds",
    "account_sid",
    "siprec_error",
]
TIMELINE = [
    *(
        "position",
        "session_id",
        "account_sid",
        "kind",
        "what",
        "before",
        "after",
        "happened_at",
        "written_at",
    ),
    *("actor", "callback_id", "correction"),
]
ATTEMPTS = [
    *("session_id", "number", "account_sid", "call_sid", "connector_name", "requested_at", "asked_at"),
    *("asked_by", "answer", "answered_at", "seconds_to_answer", "siprec_sid", "error_kind", "error_status"),
    *("error_code", "error_detail"),
]
REJECTED = [
    *(
        "rejected_id",
        "received_at",
        "reason",
        "answered",
        "method",
        "claimed_account_sid",
        "claimed_call_sid",
    ),
]
DAILY = [
    *("account_sid", "connector_name", "day", "asked", "adopted", "pending", "unanswered", "refused"),
    *("accepted", "started", "stopped", "failed", "overdue", "seconds_recorded"),
    *("start_1s", "start_2s", "start_3s", "start_5s", "start_10s", "start_20s", "start_60s"),
    *("start_more", "start_never", "start_unknown", "failed_recorder_no_answer", "failed_siprec_failed"),
    *("refused_rejected", "refused_call_unknown", "refused_call_id_invalid", "refused_call_ended"),
    *("refused_call_not_answered", "refused_fields_invalid", "refused_credentials"),
    *("refused_not_authorized", "refused_rate_limited", "refused_unreachable"),
    *("unanswered_no_answer", "unanswered_telnyx_error"),
]
FAILURES = [
    *("account_sid", "connector_name", "day", "cause", "cause_text", "side", "sessions"),
    *("first_requested_at", "last_requested_at", "example_session_id"),
]
CAUSES = ["kind", "sign", "cause", "side", "version"]
PROMISED = {
    "sessions": SESSIONS,
    "callbacks": CALLBACKS,
    "timeline": TIMELINE,
    "attempts": ATTEMPTS,
    "rejected": REJECTED,
    "daily": DAILY,
    "failures": FAILURES,
    "causes": CAUSES,
}
TIMES = {name for name in SESSIONS + CALLBACKS if name.endswith("_at")}


class Story:
    """Tells a database what happened, by a clock that the story sets."""

    def __init__(self, database: Database, sandbox: Sandbox) -> None:
        self.database = database
        self.sandbox = sandbox
        self.now = NOON
        telnyx = Client(sandbox.url, sandbox.api_key, 5, self._clock)
        self._control = Sessions(
            database, telnyx, ADDRESSES, self._clock, timedelta(seconds=60), 8, _nothing, _nothing
        )
        self._ingest = Ingest(database, self._clock, _nothing)
        self._reader = Reader([sandbox.public_key], ADDRESSES, must_be_signed=True)
        with database.begin() as db:
            keys.create(db, "claims app", NOON)
            self._key = keys.listed(db)[0]
        self._claim = IdempotencyKey(self._key.id)

    def _clock(self) -> datetime:
        """Every look takes a microsecond."""
        self.now += timedelta(microseconds=1)
        return self.now

    def start(self, call_sid: str, answer: Answer | None = None, **order: Any) -> str:
        given = answer or Answer(fields={"sid": f"sid of {call_sid}"})
        self.sandbox.behave(Behaviour(answer=given, drop=frozenset(EVENTS)), call_sid)
        ordered = Order("account-1", call_sid, **order)
        return self._control.start(ordered, self._claim, self._key).session.id

    def stop(self, session_id: str) -> None:
        self._control.stop(session_id, self._key)

    def hear(
        self, call_sid: str, event: str, at: datetime, session_id: str | None = None, **fields: Any
    ) -> None:
        said: dict[str, Any] = {"SiprecSid": f"sid of {call_sid}", **fields}
        body = self.sandbox.compose(Session("account-1", call_sid), event, at, **said)
        token = ADDRESSES.of(session_id).rpartition("/")[2] if session_id else None
        received_at = self._clock()
        came = Delivery(new_id(), received_at, "POST", token, b"", self.sandbox.sign(body, received_at), body)
        self._ingest.write([self._reader.read(came)])


def _nothing(_: object) -> None:
    """Nobody waits for a change here."""


def tell(story: Story) -> None:
    def after(seconds: float) -> datetime:
        return NOON + timedelta(seconds=seconds)

    whole = story.start(
        "stopped",
        connector_name="recorder",
        name="my name",
        track=Track.INBOUND,
        reference="claim 77",
        labels={"team": "fraud", "größe": "a\"b'c"},
    )
    story.hear("stopped", "siprec-started", after(1.000001), whole)
    story.hear("stopped", "siprec-odd", after(2), whole)
    story.hear("stopped", "siprec-stopped", after(61.000003), whole, AccountSid="account-2")
    story.hear("stopped", "siprec-stopped", after(61.000003), whole, AccountSid="account-2")

    failed = story.start("failed", Answer(kind="close"))
    story.hear("failed", "siprec-failed", after(0.25), failed, SiprecError="no-answer")
    story.start("unanswered", Answer(kind="close"))
    story.start("refused", Answer.error(422, code="10032", detail="Bad ünput"))
    overruled = story.start("overruled", Answer.error(404, detail="Resource not found"))
    story.hear("overruled", "siprec-started", after(3), overruled)
    story.start("accepted")
    differing = story.start("differing")
    story.hear("differing", "siprec-started", after(4), differing, SiprecSid="another")
    late = story.start("implausible")
    story.hear("implausible", "siprec-started", after(-8 * 86400), late)
    story.hear("adopted", "siprec-started", after(5))
    story.hear("adopted", "siprec-stopped", after(299.999999))
    story.hear("merged", "siprec-started", after(6))
    story.start("merged")
    story.hear("stray", "siprec-started", after(7), None, SiprecSid=None)


@pytest.fixture(scope="module")
def stories(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres) -> Iterator[dict[str, Database]]:
    """The same story, on each kind of database."""
    path = tmp_path_factory.mktemp("reports") / "ledger.sqlite3"
    urls = {"sqlite": f"sqlite:///{path}", "postgresql": postgres.create_database()}
    told = {}
    for kind, url in urls.items():
        told[kind] = Database(migrate(url))
        with Sandbox() as sandbox:
            tell(Story(told[kind], sandbox))
    yield told
    for database in told.values():
        database.close()


def select(database: Database, query: str) -> list[dict[str, Any]]:
    with database.read() as db:
        return [dict(row) for row in db.execute(text(query)).mappings()]


def comparable(row: dict[str, Any]) -> dict[str, Any]:
    """Times as SQLite writes them; ids, which differ from database to database, only as there or not."""
    said: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, datetime):
            assert value.utcoffset() == timedelta(0)
            said[name] = value.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        elif name in {"session_id", "callback_id"}:
            said[name] = value is not None
        elif name == "labels":
            said[name] = value if isinstance(value, str) else canonical_json(value)
        else:
            said[name] = value
    return said


def sessions(database: Database) -> dict[str, dict[str, Any]]:
    """By call."""
    rows = select(database, "SELECT * FROM report_sessions_v1")
    assert len({row["call_sid"] for row in rows}) == len(rows)
    return {row["call_sid"]: comparable(row) for row in rows}


def callbacks(database: Database) -> list[dict[str, Any]]:
    query = "SELECT * FROM report_callbacks_v1 ORDER BY received_at, callback_id"
    return [comparable(row) for row in select(database, query)]


@pytest.mark.parametrize(("view", "columns"), PROMISED.items())
def test_the_columns_are_those_that_were_promised(database: Database, view: str, columns: list[str]) -> None:
    with database.read() as db:
        assert list(db.execute(text(f"SELECT * FROM report_{view}_v1")).keys()) == columns


def test_both_databases_tell_the_same_story(stories: dict[str, Database]) -> None:
    assert sessions(stories["sqlite"]) == sessions(stories["postgresql"])
    assert callbacks(stories["sqlite"]) == callbacks(stories["postgresql"])
    assert len(sessions(stories["sqlite"])) == 10
    assert len(callbacks(stories["sqlite"])) == 11


@pytest.fixture(params=["sqlite", "postgresql"])
def told(request: pytest.FixtureRequest, stories: dict[str, Database]) -> Database:
    return stories[request.param]


def of(told: Database, call_sid: str, *names: str) -> tuple[Any, ...]:
    row = sessions(told)[call_sid]
    return tuple(row[name] for name in names)


def test_a_whole_session_says_everything(told: Database) -> None:
    row = sessions(told)["stopped"]
    assert {name: row[name] for name in SESSIONS if name not in TIMES | {"seconds_to_started", "labels"}} == {
        "session_id": True,
        "origin": "api",
        "account_sid": "account-1",
        "call_sid": "stopped",
        "siprec_sid": "sid of stopped",
        "callback_siprec_sid": None,
        "connector_name": "recorder",
        "name": "my name",
        "track": "inbound_track",
        "state": "stopped",
        "seconds_to_accepted": 2e-06,
        "stop_requested_by": None,
        "attempts": 1,
        "callbacks": 3,
        "duration_seconds": 60.000002,
        "error_kind": None,
        "error_status": None,
        "error_code": None,
        "error_detail": None,
        "requested_by": "claims app",
        "reference": "claim 77",
        "secure": None,
        "sip_transport": None,
        "session_timeout_secs": None,
        "overdue_since": None,
        "overdue_why": None,
        "presumed_why": None,
        "overdue_kind": None,
        "error_cause": None,
        "cause": None,
        "cause_text": None,
    }
    assert row["started_at"] == "2026-03-01T12:00:01.000001Z"
    assert row["seconds_to_started"] == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("call_sid", "state", "error"),
    [
        ("stopped", "stopped", (None, None, None, None)),
        ("failed", "failed", ("siprec_failed", None, None, "no-answer")),
        ("refused", "refused", ("rejected", 422, "10032", "Bad ünput")),
        (
            "unanswered",
            "unanswered",
            ("no_answer", None, None, "the connection broke before Telnyx answered"),
        ),
        ("overruled", "started", (None, None, None, None)),
        ("accepted", "accepted", (None, None, None, None)),
        ("implausible", "started", (None, None, None, None)),
    ],
)
def test_an_error_explains_the_state_that_stands(
    told: Database, call_sid: str, state: str, error: tuple[Any, ...]
) -> None:
    assert of(told, call_sid, "state") == (state,)
    assert of(told, call_sid, "error_kind", "error_status", "error_code", "error_detail") == error


def test_what_is_not_known_is_null(told: Database) -> None:
    unknown = ("started_at", "ended_at", "seconds_to_started", "duration_seconds", "callback_siprec_sid")
    assert of(told, "accepted", *unknown) == (None,) * 5
    assert of(told, "implausible", "started_at", "seconds_to_started") == (None, None)
    assert of(told, "unanswered", "accepted_at", "seconds_to_accepted", "siprec_sid") == (None, None, None)
    assert of(told, "failed", "started_at", "duration_seconds", "ended_at") == (
        None,
        None,
        "2026-03-01T12:00:00.250000Z",
    )


def test_both_sids_stand_there_where_they_differ(told: Database) -> None:
    sids = ("siprec_sid", "callback_siprec_sid")
    assert of(told, "differing", *sids) == ("sid of differing", "another")
    assert of(told, "adopted", *sids) == ("sid of adopted", None)


def test_an_adopted_session_was_requested_by_nobody_and_took_no_time_to_start(told: Database) -> None:
    names = ("origin", "requested_by", "seconds_to_accepted", "seconds_to_started", "duration_seconds")
    assert of(told, "adopted", *names) == ("adopted", None, None, None, 294.999999)


def test_a_session_that_was_folded_into_another_is_not_told_twice(told: Database) -> None:
    assert of(told, "merged", "origin", "state") == ("api", "started")
    assert select(told, "SELECT count(*) AS n FROM session WHERE merged_into IS NOT NULL") == [{"n": 1}]


def test_labels_are_read_by_the_same_words(told: Database) -> None:
    wanted = "labels ->> 'team' = 'fraud'"
    rows = select(told, f"SELECT call_sid, labels ->> 'größe' AS size FROM report_sessions_v1 WHERE {wanted}")
    assert rows == [{"call_sid": "stopped", "size": "a\"b'c"}]


def test_a_callback_says_what_is_wrong_with_it_and_with_its_session(told: Database) -> None:
    rows = [row for row in callbacks(told) if row["call_sid"] == "stopped"]
    assert [(row["event"], row["deliveries"], row["problem"]) for row in rows] == [
        ("siprec-started", 1, None),
        ("siprec-odd", 1, "SiprecEvent is unknown"),
        ("siprec-stopped", 2, "AccountSid is not the one that was asked for"),
    ]
    assert [row["happened_at"] for row in rows][::2] == [
        "2026-03-01T12:00:01.000001Z",
        "2026-03-01T12:01:01.000003Z",
    ]
    (stray,) = (row for row in callbacks(told) if row["call_sid"] == "stray")
    assert (stray["session_id"], stray["siprec_sid"]) == (False, None)
    assert stray["problem"] == "SiprecSid is missing; it belongs to no session that we know"
    assert all(row["verified_by"].startswith("ed25519:") for row in callbacks(told))


def test_a_time_that_nobody_believes_is_told_but_sets_none(told: Database) -> None:
    (row,) = (row for row in callbacks(told) if row["call_sid"] == "implausible")
    assert row["happened_at"] == "2026-02-21T12:00:00.000000Z"
    assert row["problem"] == "Timestamp is too far from when it came, and set no time"


def test_in_sqlite_every_time_is_utc_text_with_six_digits(stories: dict[str, Database]) -> None:
    rows = select(stories["sqlite"], "SELECT * FROM report_sessions_v1")
    rows += select(stories["sqlite"], "SELECT * FROM report_callbacks_v1")
    times = [value for row in rows for name, value in row.items() if name in TIMES and value is not None]
    assert len(times) > 30
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", time) for time in times)


def test_seconds_are_exact_to_the_microsecond(database: Database) -> None:
    """Whatever the two times are, it is the number that Python too comes to."""
    dice = random.Random(1)
    pairs = {}
    with database.begin() as db:
        keys.create(db, "an app", NOON)
        key_id = keys.listed(db)[0].id
        for n in range(300):
            start = NOON + timedelta(microseconds=dice.randrange(-(10**15), 10**15))
            span = dice.choice([1, 999_999, 10**6, 10**9, 10**12, 10**14])
            pairs[f"call-{n}"] = start, start + timedelta(microseconds=dice.randrange(-span, span + 1))
            assert store.insert(db, ended(f"call-{n}", *pairs[f"call-{n}"]), IdempotencyKey(key_id))
    rows = select(database, "SELECT call_sid, duration_seconds FROM report_sessions_v1")
    assert {row["call_sid"]: row["duration_seconds"] for row in rows} == {
        call_sid: (ended_at - started_at).total_seconds()
        for call_sid, (started_at, ended_at) in pairs.items()
    }


def ended(call_sid: str, started_at: datetime, ended_at: datetime) -> ledger_session.Session:
    progress = Progress(State.STOPPED, started_at=started_at, ended_at=ended_at)
    return ledger_session.Session(new_id(), Origin.API, Order("account-1", call_sid), NOON, NOON, progress)


def test_every_view_is_written_down_and_every_one_written_down_is_made(database: Database) -> None:
    files = (Path(__file__).parents[1] / "migrations" / "views").glob("*.sql")
    catalogue = "sqlite_master WHERE type = 'view'" if database.is_sqlite else "pg_class WHERE relkind = 'v'"
    name = "name" if database.is_sqlite else "relname"
    made = select(database, f"SELECT {name} AS name FROM {catalogue} AND {name} LIKE 'report%'")
    assert {row["name"] for row in made} == {
        "_v".join(path.name.split(".v")).split(".")[0]  # a later revision of a view has a file of its own
        for path in files
    }


# The other views


def test_a_timeline_has_a_row_for_every_fact_that_changed(told: Database) -> None:
    number_all(told)
    query = """
        SELECT what, before, after, kind, actor FROM report_timeline_v1
        WHERE session_id IN (SELECT session_id FROM report_sessions_v1 WHERE call_sid = 'failed')
        ORDER BY position, what"""
    rows = [tuple(row.values()) for row in select(told, query)]
    no_answer, failed = error_as_text("no_answer"), error_as_text("siprec_failed")
    assert rows == [
        ("state", None, "requested", "created", "claims app"),
        ("error", None, no_answer, "changed", "telnyx"),
        ("state", "requested", "unanswered", "changed", "telnyx"),
        ("ended_at", None, "2026-03-01T12:00:00.250000Z", "changed", "telnyx"),
        ("error", no_answer, failed, "changed", "telnyx"),
        ("siprec_sid", None, "sid of failed", "changed", "telnyx"),
        ("state", "unanswered", "failed", "changed", "telnyx"),
    ]


def error_as_text(kind: str) -> str:
    words = {"no_answer": "the connection broke before Telnyx answered", "siprec_failed": "no-answer"}
    return f'{{"code":null,"detail":"{words[kind]}","kind":"{kind}","status":null}}'


def test_a_timeline_s_rows_add_up_to_what_the_session_is(told: Database) -> None:
    number_all(told)
    facts: dict[str, dict[str, Any]] = {}
    for row in select(told, "SELECT * FROM report_timeline_v1 ORDER BY position"):
        known = facts.setdefault(row["session_id"], {})
        assert known.get(row["what"]) == row["before"]
        known[row["what"]] = row["after"]
    names = ("state", "siprec_sid", "accepted_at", "started_at", "ended_at", "stop_requested_at")
    for session in select(told, "SELECT * FROM report_sessions_v1"):
        shown = comparable(session)
        assert {name: facts[session["session_id"]].get(name) for name in names} == {
            name: shown[name] for name in names
        }
