"""The test bed itself: it does what the tests take for granted, and leaves nothing behind."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import requests

from tests.bed import browser, programs
from tests.bed import postgres as postgres_bed
from tests.bed import web as web_bed
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
            for deed in (lent.start, lent.stop, lent.restart, lent.freeze, lent.thaw):
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


def _pocket(env: dict[str, str], workers: int = 1) -> Web:
    # gunicorn's settings from the environment, because there is no file of settings here.
    env = {"GUNICORN_CMD_ARGS": "--no-control-socket", **env}
    return Web(env, workers, threads=2, app="tests.bed.pocket:web()", config=None)


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
