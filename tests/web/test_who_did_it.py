"""Who started, stopped, made, changed and read something is an event, and stays one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from click.testing import CliRunner
from sqlalchemy import make_url, select, text

from service import cli
from service.domain.access import Access, Scope
from service.ledger.numbering import number
from service.spool import Spool
from service.store.engine import Database
from service.store.events import digest
from service.store.rejected import RejectedDelivery
from service.store.rejected import add as add_rejected
from service.store.sqlite import DRIVER
from service.store.tables import event
from tests.house import wait_until
from tests.ledger.lines import NOON
from tests.web.indoors import PUBLIC_URL, SECRET_KEY, Caller, Indoors, JsonResponse

Row = dict[str, Any]
FAR = "2999-01-01T00:00:00.000000Z"


def events(database: Database, subject_kind: str) -> list[Row]:
    with database.read() as db:
        query = select(event).where(event.c.subject_kind == subject_kind).order_by(event.c.sequence)
        return [dict(row) for row in db.execute(query).mappings()]


def told(row: Row) -> tuple[str, str, dict[str, Any]]:
    return row["actor"], row["kind"], row["changes"]


def readings(indoors: Indoors) -> list[tuple[str, str, dict[str, Any]]]:
    """(who, what, changes) of each."""
    rows = events(indoors.context.database, "evidence")
    assert {row["kind"] for row in rows} <= {"read"}
    return [(row["actor"], row["subject_id"], row["changes"]) for row in rows]


def problem(answer: JsonResponse) -> tuple[int, str]:
    return answer.status_code, answer.json["type"].rpartition(":")[2]


# Sessions


def test_a_session_says_who_started_and_who_stopped_it(indoors: Indoors) -> None:
    starter, stopper = (indoors.bearing(indoors.new_key(name)) for name in ("starter", "stopper"))
    session_id = starter.post("/v1/sessions", json={"call_sid": "v3:call-1"}).json["id"]
    indoors.tell("siprec-started")
    for client in (stopper, starter):
        assert client.post(f"/v1/sessions/{session_id}/stop").status_code == 202
    shown = indoors.session(session_id)
    assert (shown["requested_by"], shown["stop_requested_by"]) == ("starter", "stopper")
    actors = [one["actor"] for one in shown["timeline"]]
    assert actors == ["starter", "telnyx", "telnyx", "stopper"]
    with indoors.context.database.read() as db:
        view = db.execute(text("SELECT requested_by, stop_requested_by FROM report_sessions_v1")).all()
    assert [tuple(row) for row in view] == [("starter", "stopper")]


# Keys


def test_each_change_of_a_key_says_who_made_it(indoors: Indoors) -> None:
    boss = indoors.bearing(indoors.new_key("boss", Access(frozenset(Scope))))
    body = {"name": "app", "scopes": ["sessions:read"], "accounts": ["b", "a"], "expires_at": FAR}
    made = boss.post("/v1/keys", json=body).json
    path, (first,) = f"/v1/keys/{made['id']}", [one["id"] for one in made["secrets"]]
    boss.patch(path, json={"scopes": ["sessions:stop"], "accounts": ["a", "b"]})
    second = boss.post(f"{path}/secrets").json["secrets"][1]["id"]
    boss.delete(f"{path}/secrets/{first}")
    boss.delete(path)
    rows = events(indoors.context.database, "key")
    assert [told(row) for row in rows] == [
        (
            "boss",
            "created",
            {
                "name": [None, "app"],
                "scopes": [None, ["sessions:read"]],
                "accounts": [None, ["a", "b"]],
                "secret_ids": [[], [first]],
                "expires_at": [None, FAR],
            },
        ),
        ("boss", "changed", {"scopes": [["sessions:read"], ["sessions:stop"]]}),
        ("boss", "secret-created", {"secret_ids": [[first], [first, second]], "expires_at": [None, None]}),
        ("boss", "secret-revoked", {"secret_ids": [[first, second], [second]]}),
        ("boss", "revoked", {"secret_ids": [[second], []]}),
    ]
    for row in rows:
        assert row["subject_id"] == made["id"]
        assert (row["state"], row["account_sid"], row["siprec_sid"]) == (None, None, None)
        assert made["text"].split("_", 2)[2] not in str(row)


def test_what_changes_nothing_is_no_event(indoors: Indoors) -> None:
    boss = indoors.limited()
    body = {"name": "app", "scopes": ["sessions:read"]}
    path = f"/v1/keys/{boss.post('/v1/keys', json=body).json['id']}"
    boss.patch(path, json={"scopes": ["sessions:read"], "accounts": None})
    boss.patch(path, json={})
    assert boss.post("/v1/keys", json=body).status_code == 409
    assert boss.patch(path, json={"scopes": ["none"]}).status_code == 422
    boss.delete(path)
    boss.delete(path)
    assert [row["kind"] for row in events(indoors.context.database, "key")] == ["created", "revoked"]


def test_commands_are_the_operator_s(database: Database, database_url: str) -> None:
    for arguments in (
        ["create", "app", "--scope", "admin", "--account", "a"],
        ["create", "app"],
        ["rotate", "app", "--expires", "2999-01-01"],
        ["revoke", "app"],
        ["revoke", "app"],
        ["revoke", "nobody"],
    ):
        CliRunner().invoke(cli.main, ["keys", *arguments, "--database-url", database_url])
    rows = events(database, "key")
    assert [row["kind"] for row in rows] == ["created", "secret-created", "revoked"]
    assert {row["actor"] for row in rows} == {"operator"}
    assert rows[0]["changes"]["scopes"] == [None, ["admin"]]
    assert rows[1]["changes"]["expires_at"] == [None, FAR]


RESERVED = ["telnyx", "watch", "operator", " Operator ", "TELNYX"]


def test_no_key_is_made_with_a_name_that_stands_for_somebody_else(
    indoors: Indoors, database_url: str
) -> None:
    boss = indoors.limited()
    for name in RESERVED:
        answer = boss.post("/v1/keys", json={"name": name, "scopes": ["sessions:read"]})
        assert problem(answer) == (422, "invalid-request")
        assert answer.json["errors"] == [
            {"in": "body", "pointer": "/name", "detail": "another name than operator, telnyx, watch"}
        ]
        done = CliRunner().invoke(cli.main, ["keys", "create", name, "--database-url", database_url])
        assert (done.exit_code, done.output) == (
            1,
            "Error: no key may be called operator, telnyx, watch\n",
        )
    assert events(indoors.context.database, "key") == []


def test_a_key_that_has_such_a_name_already_goes_on(indoors: Indoors) -> None:
    client = indoors.bearing(indoors.new_key("old"))
    with indoors.context.database.begin() as db:
        db.execute(text("UPDATE api_key SET name = 'operator' WHERE name = 'old'"))
    assert client.post("/v1/sessions", json={"call_sid": "c"}).json["requested_by"] == "operator"


# Evidence


def test_each_reading_of_evidence_is_an_event(indoors: Indoors) -> None:
    session_id = indoors.started()
    for name in ("siprec-started", "siprec-stopped"):
        indoors.tell(name)
    listed = [one["id"] for one in indoors.client.get("/v1/callbacks?limit=1").json["callbacks"]]
    shown = [one["id"] for one in indoors.callbacks(session_id)]
    assert readings(indoors) == [
        ("app-1", "callbacks", {"count": [None, 1], "first": [None, listed[0]], "last": [None, listed[0]]}),
        ("app-1", session_id, {"count": [None, 2], "first": [None, shown[0]], "last": [None, shown[1]]}),
    ]


def test_where_no_evidence_is_shown_nobody_has_read_it(indoors: Indoors) -> None:
    session_id = indoors.started()
    paths = ("/v1/callbacks", f"/v1/sessions/{session_id}/callbacks")
    for path in paths:
        assert indoors.client.get(path).json["callbacks"] == []  # there is none yet
    indoors.tell("siprec-started")
    reader = indoors.limited(Scope.READ)
    for path in paths:
        for client, query in ((reader, ""), (reader, "?fields=true"), (indoors.client, "?fields=false")):
            (one,) = client.get(path + query).json["callbacks"]
            assert one["fields"] is None
    indoors.client.get("/v1/callbacks?problem=true")
    indoors.session(session_id)
    assert readings(indoors) == []


def test_a_cursor_goes_on_with_fields_or_without(indoors: Indoors) -> None:
    session_id = indoors.started()
    for name in ("siprec-started", "siprec-stopped"):
        indoors.tell(name)
    for path in ("/v1/callbacks", f"/v1/sessions/{session_id}/callbacks"):
        cursor = indoors.client.get(f"{path}?limit=1&fields=false").json["next_cursor"]
        (one,) = indoors.client.get(f"{path}?limit=1&cursor={cursor}").json["callbacks"]
        assert one["fields"]


def test_commands_that_show_evidence_are_events(indoors: Indoors, database_url: str) -> None:
    arguments = ["callbacks", "rejected", "--database-url", database_url]
    assert CliRunner().invoke(cli.main, arguments).output == ""
    assert readings(indoors) == []
    one = RejectedDelivery("d-1", NOON, 403, "wrong signature", None, "POST", None, b"", b"body", {})
    with indoors.context.database.begin() as db:
        add_rejected(db, [one])
    assert '"body": "body"' in CliRunner().invoke(cli.main, arguments).output
    expected = {"count": [None, 1], "first": [None, "d-1"], "last": [None, "d-1"]}
    assert readings(indoors) == [("operator", "rejected", expected)]


# Where it cannot be written down

AT_THE_COMMIT = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE disk_full; END $$;
CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON event DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION refuse();
"""


@contextmanager
def locked(database_url: str) -> Iterator[None]:
    """Somebody else holds SQLite's write lock."""
    with closing(DRIVER.connect(make_url(database_url).database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@contextmanager
def refused_at_the_commit(database_url: str) -> Iterator[None]:
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute(AT_THE_COMMIT)
        yield
        owner.execute("DROP TRIGGER refuse ON event")


@contextmanager
def role(database_url: str) -> Iterator[str]:
    """The URL of one that may write everything but events."""
    name = f"role_{uuid4().hex}"
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute(f"CREATE ROLE {name} LOGIN")
        owner.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}")
        owner.execute(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {name}")
        owner.execute(f"REVOKE INSERT ON event FROM {name}")
        try:
            yield make_url(database_url).set(username=name).render_as_string(hide_password=False)
        finally:
            owner.execute(f"DROP OWNED BY {name}")
            owner.execute(f"DROP ROLE {name}")


def tell(indoors: Indoors) -> str:
    session_id = indoors.started()
    indoors.tell("siprec-failed", SiprecError="busy-line")
    return session_id


def check_nothing_is_shown(client: Caller, reader: Caller, session_id: str) -> None:
    for path in ("/v1/callbacks", f"/v1/sessions/{session_id}/callbacks"):
        answer = client.get(path)
        assert problem(answer) == (503, "evidence-not-recorded")
        assert answer.json["title"] == "Reading of evidence cannot be recorded"
        assert "Retry-After" in answer.headers
        assert "busy-line" not in answer.text
        for other, query in ((reader, ""), (client, "?fields=false")):
            (one,) = other.get(path + query).json["callbacks"]
            assert (one["event"], one["fields"]) == ("siprec-failed", None)


@pytest.mark.parametrize(
    ("database_kind", "hindered"),
    [("sqlite", locked), ("postgresql", refused_at_the_commit)],
    indirect=["database_kind"],
)
def test_evidence_is_shown_once_its_reading_is_committed_and_not_before(
    indoors: Indoors, database_url: str, hindered: Callable[[str], AbstractContextManager[None]]
) -> None:
    session_id, reader = tell(indoors), indoors.limited(Scope.READ)
    with hindered(database_url):
        check_nothing_is_shown(indoors.client, reader, session_id)
    assert readings(indoors) == []
    wait_until(lambda: indoors.context.database.breaker.takes_writes)
    assert indoors.callbacks(session_id)[0]["fields"]
    assert [what for _, what, _ in readings(indoors)] == [session_id]


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_without_the_grant_to_write_events_no_evidence_is_shown(
    furnish: Callable[..., Indoors], database_url: str
) -> None:
    session_id = tell(furnish())
    with role(database_url) as url:
        indoors = furnish(DATABASE_URL=url)
        check_nothing_is_shown(indoors.client, indoors.limited(Scope.READ), session_id)
        indoors.context.database.close()


def test_a_command_shows_no_evidence_either(indoors: Indoors, database_url: str) -> None:
    one = RejectedDelivery("d-1", NOON, 403, "wrong signature", None, "POST", None, b"", b"secret", {})
    with indoors.context.database.begin() as db:
        add_rejected(db, [one])
    with locked(database_url) if indoors.context.database.is_sqlite else refused_at_the_commit(database_url):
        done = CliRunner().invoke(cli.main, ["callbacks", "rejected", "--database-url", database_url])
    assert done.exit_code == 1
    assert done.output.startswith("Error: not shown, since who reads it could not be written down: ")
    assert "secret" not in done.output


def test_dead_letters_are_listed_without_what_they_hold(
    indoors: Indoors, database_url: str, tmp_path: Path
) -> None:
    folder = tmp_path / "spool"
    with closing(Spool(folder, 2**20)) as spool:
        spool.check()
        name = spool.add_dead_letter([b"secret"]).name
    settings = {
        "PUBLIC_URL": PUBLIC_URL,
        "SECRET_KEY": SECRET_KEY,
        "DATABASE_URL": database_url,
        "SPOOL_DIR": str(folder),
        "TELNYX_API_KEY": "KEY",
        "TELNYX_PUBLIC_KEY": indoors.sandbox.public_key,
    }
    is_sqlite = indoors.context.database.is_sqlite
    with locked(database_url) if is_sqlite else refused_at_the_commit(database_url):
        done = CliRunner().invoke(cli.main, ["spool", "list"], env=settings)
    assert json.loads(done.stdout)["file"] == name
    assert done.stderr.startswith("what they hold is not shown, since who reads it could not be written down")
    assert (done.exit_code, "secret" in done.output) == (0, False)
    assert readings(indoors) == []
    done = CliRunner().invoke(cli.main, ["spool", "list"], env=settings)
    assert json.loads(done.stdout)["entry"] == "secret"
    expected = {"count": [None, 1], "first": [None, name], "last": [None, name]}
    assert readings(indoors) == [("operator", "dead-letters", expected)]


# Among the rest


def test_such_events_have_their_positions_among_those_of_sessions(indoors: Indoors) -> None:
    boss = indoors.limited()
    session_id = indoors.started()
    boss.post("/v1/keys", json={"name": "app", "scopes": ["sessions:read"]})
    indoors.tell("siprec-started")
    indoors.callbacks(session_id)
    indoors.tell("siprec-stopped")
    database = indoors.context.database
    if not database.is_sqlite:  # there they have them before the commit
        number(database)
    with database.read() as db:
        rows = db.execute(select(event).order_by(event.c.position)).mappings().all()
    assert [row["position"] for row in rows] == [1, 2, 3, 4, 5, 6]
    kinds = ["session", "session", "key", "session", "evidence", "session"]
    assert [row["subject_kind"] for row in rows] == kinds
    later = {"sequence", "digest", "position", "numbered_at"}
    for row in rows:
        kept = {name: value for name, value in row.items() if name not in later}
        assert digest(kept) == row["digest"]
    shown = boss.get("/v1/events?after=start").json["events"]
    assert [one["type"] for one in shown][2::2] == ["siprec.key.created", "siprec.evidence.read"]
