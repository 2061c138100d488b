"""Each fault that is planted is found, by its name, and nothing else is."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import insert

from service.doctor.settings import SANDBOX_KEY
from service.sandbox import Behaviour, Sandbox
from service.spool import disk
from service.store import processes, spools
from service.store.engine import Database
from service.store.spools import SeenSpool
from service.store.sqlite import DRIVER
from service.store.tables import process
from tests.bed import processes as programs
from tests.bed.pgbouncer import PgBouncer
from tests.bed.postgres import Postgres, for_psycopg
from tests.bed.reverse_proxy import Manners
from tests.doctor.conftest import GOOD_KEY, SLOW, Patient, Told
from tests.house import migrate
from tests.ledger.watching import add_session

KIB = 1024
NOWHERE = "postgresql://postgres@/ledger?host=/nowhere"
OF_DATABASE = {"schema", "heartbeat", "hosts", "workers", "connector", "database_commit", "pooler"}

sqlite_only = pytest.mark.parametrize("database_kind", ["sqlite"])
postgresql_only = pytest.mark.parametrize("database_kind", ["postgresql"])


def says(told: Told, name: str, words: str) -> bool:
    one = told.checks[name]
    return words in one["found"] and one["what_to_do"].endswith((".", "?"))


# Settings

SETTINGS = [
    ({"TELNYX_API_KEY": None}, "settings", "TELNYX_API_KEY: is required and not set"),
    ({"PUBLIC_URL": "ledger.example"}, "settings", "PUBLIC_URL: must be an http(s) URL"),
    ({"TELNYX_TIMEOUT_SECONDS": "60"}, "settings", "START_DEADLINE_SECONDS: must be at least"),
    ({"SECRET_KEY_FALLBACKS": "changeme" * 5}, "secret_key", "SECRET_KEY_FALLBACKS 1 has only 7 different"),
    (
        {"SECRET_KEY_FALLBACKS": "my-very-secret-phrase-of-2026-abc"},
        "secret_key",
        "a word that everybody tries",
    ),
    ({"TELNYX_API_KEY": '"KEY_SANDBOX"'}, "telnyx_keys", "quotation marks"),
    ({"TELNYX_PUBLIC_KEY": "/" * 42 + "8="}, "telnyx_keys", "no Ed25519 key"),
]


@sqlite_only
@pytest.mark.parametrize(("planted", "name", "words"), SETTINGS)
def test_a_setting_that_is_wrong(
    patient: Patient, planted: dict[str, str | None], name: str, words: str
) -> None:
    told = patient.examined(without=SLOW, **planted)
    assert (told.exit_code, told.wrong) == (1, {name})
    assert says(told, name, words)
    assert told.checks["heartbeat"]["status"] == ("skipped" if name == "settings" else "ok")


@sqlite_only
def test_a_secret_key_that_looks_written_by_hand_is_a_warning(patient: Patient) -> None:
    told = patient.examined(SECRET_KEY_FALLBACKS="the quick brown fox jumps over the lazy dog")
    assert (told.exit_code, told.wrong, told.warnings) == (0, set(), {"secret_key"})


@sqlite_only
def test_the_sandboxs_public_key_is_not_telnyxs(patient: Patient) -> None:
    """Whoever has the sandbox could sign callbacks. Nothing is asked of Telnyx here: it is found before."""
    assert Sandbox().public_key == SANDBOX_KEY
    told = patient.examined(TELNYX_BASE_URL="https://nothing.telnyx.com/v2", HTTPS_PROXY="http://127.0.0.1:9")
    assert says(told, "telnyx_keys", "sandbox's, which everybody can sign with")


# The database


def test_a_database_that_is_away(patient: Patient) -> None:
    told = patient.examined(DATABASE_URL=NOWHERE)
    assert told.wrong == {"database"}
    assert told.named("skipped") >= OF_DATABASE


@sqlite_only
def test_a_file_that_is_not_there_is_not_made(patient: Patient, tmp_path: Path) -> None:
    told = patient.examined(DATABASE_URL=f"sqlite:///{tmp_path}/none.sqlite3")
    assert told.wrong == {"database"}
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def empty_url(database_kind: str, postgres: Postgres, tmp_path: Path) -> Iterator[str]:
    if database_kind == "sqlite":
        (tmp_path / "empty.sqlite3").touch()
        yield f"sqlite:///{tmp_path}/empty.sqlite3"
        return
    url = postgres.create_database()
    yield url
    postgres.drop_database(url)


def test_a_schema_that_is_missing(patient: Patient, empty_url: str) -> None:
    told = patient.examined(DATABASE_URL=empty_url)
    assert told.wrong == {"schema"}
    assert told.checks["schema"]["what_to_do"] == "Run siprec-ledger db upgrade."


@sqlite_only
@pytest.mark.skipif(sqlite3.sqlite_version_info >= (3, 51, 3), reason="this Python's own SQLite is safe")
def test_a_sqlite_that_can_lose_writes(patient: Patient, tmp_path: Path) -> None:
    (tmp_path / "pysqlite3.py").write_text("raise ImportError")
    env = programs.environment({**patient.env})
    env["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{env['PYTHONPATH']}"
    command = programs.ledger_command("doctor", "--longest-wait", "0")
    done = subprocess.run(command, env=env, cwd="/", capture_output=True, text=True, timeout=60)
    wrong = [line for line in done.stdout.splitlines() if line.startswith("wrong")]
    assert (done.returncode, len(wrong)) == (1, 1), done.stdout + done.stderr
    assert "database_release" in wrong[0]
    assert f"SQLite {sqlite3.sqlite_version} has a race that can lose committed writes" in wrong[0]


@contextmanager
def taking_no_writes(url: str) -> Iterator[None]:
    if url.startswith("sqlite"):
        path = url.removeprefix("sqlite:///")
        # By the same library: a lock of another one in this process would be none.
        with closing(DRIVER.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")
        return
    name = url.partition("?")[0].rpartition("/")[2]
    with psycopg.connect(for_psycopg(url), autocommit=True) as other:
        other.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    yield


def test_a_database_that_takes_no_writes(patient: Patient, database_url: str) -> None:
    beat(database_url)
    with taking_no_writes(database_url):
        told = patient.examined(DATABASE_URL=database_url)
    assert told.wrong == {"database_commit"}


@postgresql_only
def test_a_pooler_that_keeps_no_transaction(patient: Patient, postgres: Postgres) -> None:
    with PgBouncer(postgres, pool_mode="statement") as pooler:
        told = patient.examined(DATABASE_URL=pooler.in_front_of(patient.env["DATABASE_URL"]))
    assert told.wrong == {"pooler"}
    assert told.checks["pooler"]["what_to_do"].startswith("Set pool_mode = transaction")


@postgresql_only
def test_a_pooler_that_keeps_transactions_is_no_fault(patient: Patient, pooler: PgBouncer) -> None:
    told = patient.examined(DATABASE_URL=pooler.in_front_of(patient.env["DATABASE_URL"]))
    assert (told.wrong, told.warnings) == (set(), set())
    assert told.checks["pooler"]["found"].startswith("One stands between")
    assert told.checks["connections"]["status"] == "skipped"


@postgresql_only
def test_commits_that_are_not_synced(patient: Patient, database_url: str) -> None:
    beat(database_url)
    name = database_url.partition("?")[0].rpartition("/")[2]
    with psycopg.connect(for_psycopg(database_url), autocommit=True) as other:
        other.execute(f'ALTER DATABASE "{name}" SET synchronous_commit = off')
    told = patient.examined(DATABASE_URL=database_url)
    assert told.wrong == {"replication"}
    assert says(told, "replication", "synchronous_commit is off")


@postgresql_only
def test_a_synchronous_standby_that_is_missing(patient: Patient) -> None:
    with Postgres(own=True) as server:
        url = migrate(server.create_database())
        beat(url)
        with psycopg.connect(server.url, autocommit=True) as other:
            other.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            other.execute("SELECT pg_reload_conf()")
        told = patient.examined(DATABASE_URL=url)
    assert told.wrong == {"replication", "database_commit"}
    assert says(told, "replication", "no such standby follows: no commit ends")


@postgresql_only
def test_more_connections_than_the_server_takes(patient: Patient) -> None:
    told = patient.examined(DATABASE_CONNECTIONS="200", WEB_CONCURRENCY="2")
    assert told.wrong == {"connections"}
    assert "408 are planned for" in told.checks["connections"]["found"]
    assert told.warnings == {"workers"}  # one runs


# The disk


@sqlite_only
@pytest.mark.skipif(disk.kind(Path("/dev/shm")) != "tmpfs", reason="no folder in memory here")
def test_a_spool_in_memory(patient: Patient) -> None:
    folder = Path(f"/dev/shm/spool-of-a-test-{os.getpid()}")
    folder.mkdir()
    try:
        told = patient.examined(SPOOL_DIR=str(folder))
        assert told.wrong == {"spool"}
        assert says(told, "spool", "in memory (tmpfs)")
        assert list(folder.iterdir()) == []
    finally:
        folder.rmdir()


@sqlite_only
def test_a_spool_that_is_no_folder(patient: Patient, tmp_path: Path) -> None:
    (tmp_path / "spool").touch()
    assert patient.examined(SPOOL_DIR=str(tmp_path / "spool")).wrong == {"spool"}
    assert patient.examined(SPOOL_DIR=str(tmp_path / "none")).wrong == {"spool"}
    assert not (tmp_path / "none").exists()  # the doctor may be another user than the service


@sqlite_only
def test_a_disk_without_the_room_that_the_spool_may_take(patient: Patient) -> None:
    told = patient.examined(SPOOL_LIMIT_MB="1000000")
    assert (told.wrong, told.warnings) == (set(), {"spool_space"})


@sqlite_only
def test_a_spool_that_is_full(patient: Patient, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\0" * KIB * KIB)
    told = patient.examined(SPOOL_DIR=str(tmp_path), SPOOL_LIMIT_MB="1")
    assert told.wrong == {"spool_space"}
    assert says(told, "spool_space", "it takes no more callbacks")


# Telnyx


@sqlite_only
@pytest.mark.parametrize("clock", [timedelta(hours=1), timedelta(minutes=-1)])
def test_a_clock_that_is_off(patient: Patient, clock: timedelta) -> None:
    patient.telnyx.manners = Manners(clock=clock)
    told = patient.examined()
    assert told.wrong == {"clock"}
    assert ("behind" if clock > timedelta(0) else "before") in told.checks["clock"]["found"]


@sqlite_only
def test_a_key_that_telnyx_does_not_accept(patient: Patient) -> None:
    told = patient.examined(TELNYX_API_KEY="KEY_OF_NOBODY")
    assert told.wrong == {"telnyx_api_key"}
    told = patient.examined(TELNYX_API_KEY="KEY_SANDBOX, account-7=KEY_OF_NOBODY")
    assert told.wrong == {"telnyx_api_key"}
    assert says(told, "telnyx_api_key", "the key of account account-7")


@sqlite_only
def test_a_telnyx_that_does_not_answer(patient: Patient) -> None:
    told = patient.examined(TELNYX_BASE_URL="http://127.0.0.1:9/v2")
    assert told.wrong == {"telnyx_api_key", "clock"}


@sqlite_only
def test_a_connector_that_does_not_exist(patient: Patient) -> None:
    patient.house.sandbox.behave(Behaviour(known_connectors=frozenset({"recorder"})))
    told = patient.examined("--connector", "recorder", "--connector", "recoder")
    assert told.wrong == {"connector"}
    assert says(told, "connector", "Telnyx has no connector 'recoder'")


def test_a_connector_in_use_whose_port_does_not_fit(patient: Patient, database_url: str) -> None:
    beat(database_url)
    with closing(Database(database_url)) as database, database.begin() as db:
        add_session(db, connector_name="recorder", secure=True)
    told = patient.examined(DATABASE_URL=database_url)
    assert told.wrong == {"connector"}
    assert says(told, "connector", "Connector 'recorder' has port 5060, and sessions on it are secure")
    patient.house.sandbox.behave(Behaviour(connector_port=5061))
    assert patient.examined(DATABASE_URL=database_url).wrong == set()
    assert patient.examined("--connector", "other").warnings == {"connector"}


# PUBLIC_URL and what stands before it

PROXIES = [
    (
        Manners(status=301, location="https://www.example.com/"),
        "answered 301, which leads to www.example.com",
    ),
    (Manners(status=308, location="/callbacks/"), "answered 308, which leads to another path"),
    (Manners(status=200), "answered 200. It leads elsewhere"),
    (Manners(status=401), "answered 401. Something before the service wants a password"),
    (Manners(only="/v1/"), "answered 404. It leads elsewhere"),
    (
        Manners(without=frozenset({"telnyx-signature-ed25519"})),
        "answered 403. A callback is refused on the way",
    ),
    (Manners(largest_body=100), "answered 413. A small body is too large"),
    (Manners(seconds=0.000_1), "answered 504. The proxy does not reach"),
]


@sqlite_only
@pytest.mark.parametrize(("planted", "words"), PROXIES, ids=lambda one: str(one)[:30])
def test_a_proxy_that_lets_no_callback_through(patient: Patient, planted: Manners, words: str) -> None:
    patient.proxy.manners = planted
    told = patient.examined()
    assert told.wrong == {"public_url"}
    assert says(told, "public_url", words)
    assert {"public_paths", "proxy_body", "proxy_timeout", "proxy_buffering"} <= told.named("skipped")


@sqlite_only
def test_a_public_url_that_leads_nowhere(patient: Patient) -> None:
    told = patient.examined(PUBLIC_URL="http://127.0.0.1:9")
    assert told.wrong == {"public_url"}
    assert says(told, "public_url", "nothing takes connections there")
    told = patient.examined(PUBLIC_URL="https://ledger.invalid")
    assert told.wrong == {"public_address", "public_url"}
    assert says(told, "public_address", "is not found")


@sqlite_only
def test_a_public_url_without_tls(patient: Patient) -> None:
    told = patient.examined(PUBLIC_URL=patient.proxy.url.replace("http:", "https:"))
    assert told.wrong == {"public_url"}
    assert says(told, "public_url", "certificate is not trusted, or there is no TLS")


@sqlite_only
def test_a_service_with_another_secret_key(patient: Patient) -> None:
    told = patient.examined(SECRET_KEY=GOOD_KEY[::-1])
    assert told.wrong == {"public_url"}


@sqlite_only
def test_an_inside_that_is_shown_outside(patient: Patient) -> None:
    told = patient.examined(INTERNAL_BIND="127.0.0.1:1")
    assert told.wrong == {"public_paths"}
    shown = told.checks["public_paths"]["found"]
    assert shown.endswith("PUBLIC_URL shows /, /v1/sessions, /readyz, /metrics, /docs, /openapi.json.")


@sqlite_only
def test_a_proxy_that_takes_small_bodies_only(patient: Patient) -> None:
    patient.proxy.manners = Manners(largest_body=100 * KIB)
    told = patient.examined()
    assert (told.wrong, told.warnings) == (set(), {"proxy_body"})
    assert says(told, "proxy_body", "1024 KiB does not pass")
    patient.proxy.manners = Manners(largest_body=10 * KIB)
    assert patient.examined().wrong == {"proxy_body"}


@sqlite_only
def test_a_proxy_that_waits_too_short(patient: Patient) -> None:
    patient.proxy.manners = Manners(seconds=1.4)
    told = patient.examined("--longest-wait", "3", without=())
    assert "proxy_timeout" in told.wrong
    assert says(told, "proxy_timeout", "Telnyx waits 2 s")
    patient.proxy.manners = Manners(seconds=2.5)
    told = patient.examined("--longest-wait", "4", without=())
    assert (told.wrong, told.warnings) == (set(), {"proxy_timeout"})


@sqlite_only
def test_a_proxy_that_holds_answers_back(patient: Patient) -> None:
    patient.proxy.manners = Manners(buffers=True)
    told = patient.examined("--longest-wait", "0", without=())
    assert (told.wrong, told.warnings) == (set(), {"proxy_buffering"})


# The processes


def beat(url: str, ago: timedelta = -timedelta(hours=1)) -> datetime:
    """A process was seen so long ago; without `ago`, it stays alive for the whole test. Now (UTC)."""
    with closing(Database(url)) as database, database.begin() as db:
        now = processes.now_of(db)
        seen = {"started_at": now - ago, "alive_at": now - ago}
        db.execute(insert(process).values(id="process-1", host="host-a", **seen))
    return now


def test_a_service_that_does_not_run(patient: Patient, database_url: str) -> None:
    told = patient.examined(DATABASE_URL=database_url)
    assert told.wrong == {"heartbeat"}
    assert says(told, "heartbeat", "was ever seen")
    beat(database_url, timedelta(hours=1))
    told = patient.examined(DATABASE_URL=database_url)
    assert told.wrong == {"heartbeat"}
    assert says(told, "heartbeat", "no process runs")


def test_a_host_that_is_not_seen_any_more(patient: Patient, database_url: str) -> None:
    now = beat(database_url)
    with closing(Database(database_url)) as database, database.begin() as db:
        spools.beat(db, SeenSpool("spool-b", "host-b", 3, now, 0), now - timedelta(minutes=1))
    told = patient.examined(DATABASE_URL=database_url)
    assert told.wrong == {"hosts"}
    assert told.checks["hosts"]["what_to_do"].endswith("siprec-ledger hosts retire host-b.")


def test_dead_letters_and_what_waits(patient: Patient, database_url: str) -> None:
    now = beat(database_url)
    with closing(Database(database_url)) as database, database.begin() as db:
        spools.beat(db, SeenSpool("spool-a", "host-a", 3, now, 0), now + timedelta(hours=1))
    told = patient.examined(DATABASE_URL=database_url)
    assert (told.wrong, told.warnings) == (set(), {"hosts"})
    with closing(Database(database_url)) as database, database.begin() as db:
        spools.beat(db, SeenSpool("spool-a", "host-a", 3, now, 1), now + timedelta(hours=1))
    assert patient.examined(DATABASE_URL=database_url).wrong == {"hosts"}


@sqlite_only
def test_several_processes_on_sqlite(patient: Patient) -> None:
    assert patient.examined(WEB_CONCURRENCY="2").wrong == {"workers"}


# The command for one callback alone


@sqlite_only
def test_a_canary_that_does_not_come_through(
    patient: Patient, invoke: Callable[..., tuple[int, str]]
) -> None:
    patient.proxy.manners = Manners(status=302, location="https://www.example.com/")
    code, output = invoke("canary")
    assert (code, output.partition(";")[0]) == (
        1,
        "wrong: It is answered 302, which leads to www.example.com",
    )
    code, output = invoke("canary", PUBLIC_URL="http://127.0.0.1:9")
    assert (code, "does not answer: nothing takes connections there" in output) == (1, True)
    code, output = invoke("canary", SECRET_KEY=None)
    assert (code, "SECRET_KEY: is required and not set" in output) == (1, True)
