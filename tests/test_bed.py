"""The test bed itself: it does what the tests take for granted, and leaves nothing behind."""

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import requests

from tests.bed import browser, pgbouncer, programs, slow
from tests.bed import postgres as postgres_bed
from tests.bed import web as web_bed
from tests.bed.address import Address, Gone
from tests.bed.pair import Pair
from tests.bed.pgbouncer import PgBouncer
from tests.bed.postgres import Postgres
from tests.bed.web import Web

CHECKOUT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TEST_DATABASE_URL", raising=False)
        server = Postgres()
    with server:
        yield server


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setenv("TELNYX_API_KEY", "a developer's own")
    with _pocket({"WHO": "pocket"}, workers=2) as web:
        yield web


class TestPostgres:
    def test_it_syncs_speaks_utf8_and_takes_many_connections(self, server: Postgres) -> None:
        with psycopg.connect(server.create_database()) as db:
            for name, value in {
                "fsync": "on",
                "synchronous_commit": "on",
                "full_page_writes": "on",
                "server_encoding": "UTF8",
                "max_connections": "300",
                "listen_addresses": "",
            }.items():
                assert db.execute("SELECT current_setting(%s)", [name]).fetchone() == (value,)

    def test_a_database_can_be_a_copy_of_another(self, server: Postgres) -> None:
        template = server.create_database()
        with psycopg.connect(template) as db:
            db.execute("CREATE TABLE call AS SELECT 'v3:ünï' AS id")

        copy = server.create_database(template)

        with psycopg.connect(copy) as db:
            assert db.execute("SELECT id FROM call").fetchone() == ("v3:ünï",)

    def test_a_database_in_use_can_be_dropped(self, server: Postgres) -> None:
        url = server.create_database()
        with psycopg.connect(url):
            server.drop_database(url)
        with pytest.raises(psycopg.OperationalError, match="does not exist"):
            psycopg.connect(url)

    def test_a_frozen_server_keeps_us_waiting_and_then_goes_on(self, server: Postgres) -> None:
        thawed_after = 0.5
        with psycopg.connect(server.create_database(), autocommit=True) as db:
            server.freeze()
            threading.Timer(thawed_after, server.thaw).start()
            began = time.monotonic()
            assert db.execute("SELECT 1").fetchone() == (1,)
            assert time.monotonic() - began >= thawed_after * 0.9

    @pytest.mark.parametrize("mode", ["fast", "immediate"])
    def test_what_was_committed_is_there_after_a_restart(
        self, server: Postgres, mode: postgres_bed.Stop
    ) -> None:
        url = server.create_database()
        with psycopg.connect(url) as db:
            db.execute("CREATE TABLE call AS SELECT 7 AS id")

        server.stop(mode)
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(url)
        server.start()

        with psycopg.connect(url) as db:
            assert db.execute("SELECT id FROM call").fetchone() == (7,)

    def test_a_frozen_server_can_be_stopped(self, server: Postgres) -> None:
        server.freeze()
        server.restart("immediate")
        psycopg.connect(server.url).close()

    def test_closing_leaves_nothing_behind(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("TEST_DATABASE_URL", raising=False)
        with Postgres() as server:
            folder, family = server.folder, _family(server.pid)
        _wait_until(lambda: not folder.exists() and not any(map(psutil.pid_exists, family)))

    @pytest.mark.parametrize("last_deed", ["server.freeze()", "server.stop(); server.start()"])
    def test_it_ends_when_the_test_run_is_killed(self, last_deed: str) -> None:
        program = f"""if True:
            from tests.bed.postgres import Postgres
            server = Postgres()
            server.start()
            {last_deed}
            print(server.pid, server.folder, flush=True)
            import time
            time.sleep(60)
        """
        with _python(program) as run:
            pid, folder = _first_line(run).split()
            family = _family(int(pid))
            run.kill()
        _wait_until(lambda: not Path(folder).exists() and not any(map(psutil.pid_exists, family)))

    def test_it_ends_when_the_test_run_forgets_to_close_it(self) -> None:
        program = """if True:
            from tests.bed.postgres import Postgres
            server = Postgres()
            server.start()
            print(server.pid, server.folder, flush=True)
        """
        with _python(program) as run:
            pid, folder = _first_line(run).split()
        assert run.returncode == 0
        assert not Path(folder).exists()
        assert not psutil.pid_exists(int(pid))

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as somebody else")
    def test_root_can_keep_the_programs_where_nobody_else_may_go(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("TEST_DATABASE_URL", raising=False)
        package = programs._installed().parents[1]
        tmp_path.chmod(0o700)
        for folder in (package, package.with_name(f"{package.name}.libs")):
            shutil.copytree(folder, tmp_path / folder.name)
        monkeypatch.setattr(programs, "_installed", lambda: tmp_path / package.name / "pginstall" / "bin")
        with Postgres() as server:
            psycopg.connect(server.url).close()

    @pytest.mark.parametrize(
        ("lent", "made"),
        [
            ("postgresql://u:p@h:5/postgres", "postgresql://u:p@h:5/it"),
            ("postgres://h?sslmode=disable", "postgres://h/it?sslmode=disable"),
            ("postgresql:///postgres?host=/run/pg", "postgresql:///it?host=/run/pg"),
        ],
    )
    def test_only_the_name_differs_from_the_lent_url(self, lent: str, made: str) -> None:
        assert postgres_bed._with_name(lent, "it") == made
        assert postgres_bed._name(made) == "it"

    def test_a_lent_server_is_used_but_never_stopped(
        self, server: Postgres, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # The URL's scheme may name SQLAlchemy's driver, which psycopg itself does not know.
        monkeypatch.setenv("TEST_DATABASE_URL", server.url.replace("postgresql://", "postgresql+psycopg://"))
        with Postgres() as lent:
            url = lent.create_database()
            assert url.startswith("postgresql+psycopg://")
            for deed in (lent.start, lent.stop, lent.kill, lent.restart, lent.freeze, lent.thaw):
                with pytest.raises(postgres_bed.NotOurServer, match="TEST_DATABASE_URL"):
                    deed()
        with psycopg.connect(server.url) as db:
            name = url.split("/")[3].split("?")[0]
            assert db.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone() is None


class TestWeb:
    def test_it_answers_in_its_own_environment_alone(self, web: Web) -> None:
        environment = _get(web).json()
        assert environment["WHO"] == "pocket"
        assert "PATH" in environment
        assert "TELNYX_API_KEY" not in environment

    def test_a_killed_worker_is_replaced(self, web: Web) -> None:
        killed = web.kill_worker()
        _wait_until(lambda: len(web.worker_pids()) == web.workers and killed not in web.worker_pids())
        assert _get(web).ok

    @pytest.mark.parametrize("end", [Web.kill_master, Web.stop])
    def test_once_ended_it_refuses_and_it_comes_back_at_the_same_address(
        self, web: Web, end: Callable[[Web], None]
    ) -> None:
        family = _family(web.master_pid)
        end(web)
        _wait_until(lambda: not any(map(psutil.pid_exists, family)))
        with pytest.raises(requests.ConnectionError, match="refused"):
            _get(web)

        web.start()

        assert _get(web).ok
        assert web.log.count("Starting gunicorn") == 2

    def test_workers_whose_master_was_killed_finish_and_make_room(self, web: Web) -> None:
        family = _family(web.master_pid)
        statuses: list[int] = []
        request = threading.Thread(target=lambda: statuses.append(_get(web, "/slow").status_code))
        request.start()
        time.sleep(0.3)
        web.kill_master_alone()
        web.start()
        assert _get(web).ok
        request.join()
        assert statuses == [200]
        _wait_until(lambda: not any(map(psutil.pid_exists, family)))

    def test_its_files_can_be_limited_and_its_log_is_kept_apart(self, tmp_path: Path) -> None:
        with _pocket({}, folder=tmp_path, is_log_apart=True) as web:
            web.limit_files(10)
            web.kill_worker()
            _wait_until(lambda: web.log.count("Booting worker") == 2)
        assert (tmp_path / "log").exists()

    def test_stopping_lets_a_request_finish(self, web: Web) -> None:
        statuses: list[int] = []
        request = threading.Thread(target=lambda: statuses.append(_get(web, "/slow").status_code))
        request.start()
        time.sleep(0.3)
        web.stop()
        request.join()
        assert statuses == [200]

    def test_what_kept_it_from_starting_is_said(self) -> None:
        web = _pocket({"COMPLAINT": "the key is missing"})
        with pytest.raises(web_bed.DidNotStart, match="the key is missing"):
            web.start()
        web.close()
        assert not web.folder.exists()

    def test_it_ends_when_the_test_run_is_killed(self) -> None:
        program = """if True:
            from tests.test_bed import _pocket
            web = _pocket({})
            web.start()
            print(web.master_pid, web.folder, flush=True)
            import time
            time.sleep(60)
        """
        with _python(program) as run:
            pid, folder = _first_line(run).split()
            family = _family(int(pid))
            run.kill()
        _wait_until(lambda: not Path(folder).exists() and not any(map(psutil.pid_exists, family)))

    def test_it_waits_for_one_that_was_killed_and_still_listens(self) -> None:
        web = _pocket({})
        program = f"""if True:
            import socket, time
            listener = socket.create_server({web.address})
            ballast = b"x" * 400_000_000  # given back before the port is, which takes its time
            print("listening", flush=True)
            time.sleep(60)
        """
        with _python(program) as run:
            _first_line(run)
            run.kill()
            with web:
                assert _get(web).ok


class TestBrowser:
    def test_the_one_that_is_named_is_taken(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        mine = tmp_path / "mine"
        mine.touch(0o755)
        monkeypatch.setenv("CHROMIUM", str(mine))
        assert browser.find() == mine

    @pytest.mark.parametrize(
        ("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)]
    )
    def test_none_is_a_failure_only_in_ci(
        self, ci: str, outcome: type[BaseException], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CI", ci)
        monkeypatch.setattr(browser, "find", lambda: None)
        with pytest.raises(outcome):
            browser.require()


class TestAKilledPostgres:
    def test_what_was_committed_is_there_again(self, server: Postgres) -> None:
        url = server.create_database()
        with psycopg.connect(url) as db:
            db.execute("CREATE TABLE call AS SELECT 7 AS id")
        family = _family(server.pid)
        server.freeze()
        server.kill()
        assert not any(map(psutil.pid_exists, family))
        server.start()
        with psycopg.connect(url) as db:
            assert db.execute("SELECT id FROM call").fetchone() == (7,)


class TestPair:
    def test_the_standby_shows_what_was_committed_and_takes_no_writes(self, pair: Pair) -> None:
        url = pair.create_database()
        _insert(url, 1)
        pair.wait_until_caught_up()
        pair.lead_to(pair.standby, cut=False)
        assert _ids(url) == [1]
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            _insert(url, 2)
        pair.lead_to(pair.primary, cut=False)
        _insert(url, 3)
        assert _ids(url) == [1, 3]

    @pytest.mark.parametrize("is_synchronous", [True])
    def test_after_a_fail_over_all_is_there_and_a_new_standby_follows(self, pair: Pair) -> None:
        url = pair.create_database()
        _insert(url, 1)
        pair.primary.kill()
        pair.fail_over()
        _insert(url, 2)
        pair.renew()
        _insert(url, 3)
        pair.wait_until_caught_up()
        assert _ids(url) == _ids(pair.on(pair.standby, url)) == [1, 2, 3]

    @pytest.mark.parametrize("is_synchronous", [False])
    def test_a_woken_primary_goes_on_taking_what_its_open_connections_bring(self, pair: Pair) -> None:
        url = pair.create_database()
        _insert(url, 1)
        pair.wait_until_caught_up()
        with psycopg.connect(url, autocommit=True) as kept:
            pair.primary.freeze()
            pair.fail_over(cut=False)
            _insert(url, 2)
            assert pair.old is not None
            pair.old.thaw()
            kept.execute("INSERT INTO call VALUES (3)")
            assert _ids(pair.on(pair.old, url)) == [1, 3]
        assert _ids(url) == [1, 2]

    @pytest.mark.parametrize("is_synchronous", [True])
    def test_a_commit_waits_for_a_standby_that_is_gone(self, pair: Pair) -> None:
        url = pair.create_database()
        pair.standby.kill()
        inserting = threading.Thread(target=_insert, args=(url, 1))
        inserting.start()
        inserting.join(0.5)
        assert inserting.is_alive()
        pair.standby.start()
        inserting.join(30)
        assert not inserting.is_alive()

    @pytest.mark.parametrize("is_synchronous", [True])
    def test_closing_leaves_nothing_behind(self, is_synchronous: bool) -> None:
        with Pair(is_synchronous=is_synchronous) as pair:
            pair.primary.freeze()
            pair.fail_over()
            assert pair.old is not None
            servers = (pair.old, pair.primary)
            family = [pid for one in servers for pid in _family(one.pid)]
            folders = [one.folder for one in servers]
        assert not any(map(Path.exists, folders))
        _wait_until(lambda: not any(map(psutil.pid_exists, family)))


class TestAddress:
    @pytest.fixture
    def address(self, server: Postgres) -> Iterator[Address]:
        with Address(server.socket) as address:
            yield address

    def test_a_cut_breaks_what_is_open_and_lets_in_what_comes(self, address: Address) -> None:
        db = _connected(address)
        address.cut()
        with pytest.raises(psycopg.OperationalError):
            db.execute("SELECT 1")
        db.close()
        with _connected(address) as db:
            db.execute("SELECT 1")

    def test_while_it_refuses_nobody_gets_in(self, address: Address) -> None:
        with address.refusing(), pytest.raises(psycopg.OperationalError, match="refused"):
            _connected(address)
        _connected(address).close()

    def test_what_hung_is_answered_afterwards(self, address: Address) -> None:
        with _connected(address) as db:
            with address.hanging():
                asking = threading.Thread(target=db.execute, args=("SELECT 1",))
                asking.start()
                asking.join(0.3)
                assert asking.is_alive()
            asking.join(10)
            assert not asking.is_alive()

    def test_a_delayed_commit_arrives_though_nobody_waits_for_it(
        self, server: Postgres, address: Address
    ) -> None:
        url = server.create_database()
        by_address = f"postgresql://postgres@127.0.0.1:{address.port}/{url.split('/')[3].partition('?')[0]}"
        with address.delaying_commits():
            db = psycopg.connect(by_address)
            db.execute("CREATE TABLE call AS SELECT 7 AS id")
            committing = threading.Thread(target=_try_to_commit, args=(db,))
            committing.start()
            committing.join(0.5)
            assert committing.is_alive()
            committing.join(10)
        _wait_until(lambda: _ids(url) == [7])

    def test_it_says_when_its_program_has_ended(self, address: Address) -> None:
        address._program.kill()
        with pytest.raises(Gone):
            address.cut()


class TestPgBouncer:
    def test_a_connection_lasts_for_a_transaction(self, pooler: PgBouncer, postgres: Postgres) -> None:
        url = pooler.in_front_of(postgres.create_database())
        with ExitStack() as stack:
            clients = [
                stack.enter_context(psycopg.connect(url, autocommit=True, prepare_threshold=None))
                for _ in range(30)
            ]
            backends = {one.execute("SELECT pg_backend_pid()").fetchone() for one in clients}
        assert len(backends) <= 10

    def test_options_are_refused_unless_it_is_told_to_ignore_them(
        self, pooler: PgBouncer, postgres: Postgres
    ) -> None:
        with pytest.raises(psycopg.OperationalError, match="unsupported startup parameter"):
            psycopg.connect(pooler.in_front_of(postgres.url), options="-c lock_timeout=3s")
        with PgBouncer(postgres, ignore_startup_parameters="options") as lenient:
            url = lenient.in_front_of(postgres.url)
            with psycopg.connect(url, options="-c lock_timeout=3s") as db:
                assert db.execute("SHOW lock_timeout").fetchone() == ("0",)
        assert not lenient.folder.exists()

    def test_where_there_is_none_the_test_is_skipped(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pgbouncer, "find", lambda: None)
        with pytest.raises(pytest.skip.Exception, match="no PgBouncer"):
            pgbouncer.require()


class TestSlowClients:
    def test_the_silent_the_half_sent_and_the_dripping_stay_open(self, web: Web) -> None:
        request = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: "
        with (
            slow.silent(web.address, 1),  # a thread of gunicorn's each
            slow.half_sent(web.address, 1, request) as half_sent,
            slow.dripping(web.address, 1, request, every_seconds=0.01) as dripping,
        ):
            time.sleep(0.3)
            assert (half_sent.count_open(), dripping.count_open()) == (1, 1)
            half_sent.say(b"x\r\n\r\n")
            _wait_until(lambda: half_sent.answers() != [])
            web.kill_master()
            assert dripping.wait_until_closed(10) == 0

    def test_there_can_be_a_thousand(self) -> None:
        with (
            socket.create_server(("127.0.0.1", 0), backlog=1024) as listener,
            slow.half_sent(listener.getsockname(), 1000) as clients,
        ):
            assert clients.count_open() == 1000


def _pocket(env: dict[str, str], workers: int = 1, **options: Any) -> Web:
    # gunicorn's settings from the environment, because there is no file of settings here.
    env = {"GUNICORN_CMD_ARGS": "--no-control-socket", **env}
    return Web(env, workers, threads=2, app="tests.bed.pocket:web()", config=None, **options)


def _get(web: Web, path: str = "/") -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.get(f"{web.url}{path}", timeout=10)


def _python(program: str) -> subprocess.Popen[str]:
    env = {name: value for name, value in os.environ.items() if name != "TEST_DATABASE_URL"}
    return subprocess.Popen(
        [sys.executable, "-c", program], cwd=CHECKOUT, env=env, stdout=subprocess.PIPE, text=True
    )


def _first_line(run: subprocess.Popen[str]) -> str:
    assert run.stdout
    line = run.stdout.readline()
    assert line, "it ended without a word"
    return line


def _family(pid: int) -> list[int]:
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


def _wait_until(claim: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.05)


def _connected(address: Address) -> psycopg.Connection:
    return psycopg.connect(f"postgresql://postgres@127.0.0.1:{address.port}/postgres", connect_timeout=5)


def _insert(url: str, id: int) -> None:
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("CREATE TABLE IF NOT EXISTS call (id integer)")
        db.execute("INSERT INTO call VALUES (%s)", [id])


def _ids(url: str) -> list[int]:
    with psycopg.connect(url) as db:
        if db.execute("SELECT to_regclass('call')").fetchone() == (None,):
            return []
        return [id for (id,) in db.execute("SELECT id FROM call ORDER BY id")]


def _try_to_commit(db: psycopg.Connection) -> None:
    db.commit()
    db.close()
