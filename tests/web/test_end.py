"""How a process begins and ends: what was answered is kept, and nobody holds the end up."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from service import app
from service.sandbox import EVENTS, Answer, Behaviour, Sandbox
from service.store import keys
from service.wiring import Services
from tests.bed import processes
from tests.bed.web import DidNotStart, Web
from tests.house import House, wait_until
from tests.web import hostile
from tests.web.indoors import Indoors

SOON_SECONDS = 5
LINGERING = {
    "idle": b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "answered, and half of the next": b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nPOST /callb",
    **hostile.SILENT,
}
FAILED_TO_BOOT = 3  # gunicorn's code for a worker that did not boot


@pytest.fixture
def house(sqlite_template: Path, tmp_path: Path, sandbox: Sandbox) -> Iterator[House]:
    path = tmp_path / "ledger.sqlite3"
    shutil.copy(sqlite_template, path)
    sandbox.behave(Behaviour(drop=frozenset(EVENTS)))
    with House(f"sqlite:///{path}", sandbox) as built:
        yield built


@contextmanager
def lingering(house: House) -> Iterator[None]:
    """Connections that nobody closes, one of each kind."""
    with contextlib.ExitStack() as opened:
        for sent in LINGERING.values():
            opened.enter_context(hostile.connections(house.web.address, 1, sent))
        time.sleep(0.3)
        yield


def took(do: Callable[[], object]) -> float:
    begun = time.monotonic()
    do()
    return time.monotonic() - begun


def test_when_keys_were_used_last_is_written_at_the_end(house: House) -> None:
    assert house.get("/v1/sessions").status_code == 200
    end(psutil.Process(house.web.master_pid))
    with house.database.read() as db:
        (key,) = keys.listed(db)
    assert key.last_used_at is not None


def test_connections_that_nobody_closes_do_not_hold_up_the_end(house: House) -> None:
    master = psutil.Process(house.web.master_pid)
    with lingering(house):
        assert took(lambda: end(master)) < SOON_SECONDS
    assert "Traceback" not in house.web.log
    assert "shutdown step" not in house.web.log


def end(master: psutil.Process) -> None:
    master.terminate()
    assert master.wait(20) == 0


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_rejected_callbacks_that_hang_keep_nothing_from_being_saved(
    furnish: Callable[..., Indoors], monkeypatch: pytest.MonkeyPatch
) -> None:
    indoors = furnish()
    services = indoors.context.services
    steps: list[str] = []

    def hang(_: float) -> None:
        steps.append("rejected")
        time.sleep(10)

    monkeypatch.setattr(app, "REJECTED_SECONDS", 0.1)
    monkeypatch.setattr(Services, "stop", lambda _: steps.append("services"))
    monkeypatch.setattr(services.rejected, "flush", hang)
    monkeypatch.setattr(services.database, "close", lambda: steps.append("database"))
    assert took(indoors.end) < 2
    assert steps == ["services", "rejected", "database"]


def test_what_is_being_worked_on_at_the_end_is_answered(house: House) -> None:
    house.sandbox.behave(Behaviour(answer=Answer(delay_seconds=1.5), drop=frozenset(EVENTS)))
    answers: list[int] = []
    asking = threading.Thread(target=lambda: answers.append(house.start("v3:late").status_code))
    asking.start()
    wait_until(lambda: len(house.sandbox.requests) == 1)
    with lingering(house):
        assert 1 < took(lambda: end(psutil.Process(house.web.master_pid))) < SOON_SECONDS + 2
    asking.join()
    assert answers == [201]


class Caller(threading.Thread):
    """Sends callbacks one after the other, over a connection that it keeps as long as it may."""

    def __init__(self, house: House, sid: str, path: str, numbers: Iterator[int]) -> None:
        super().__init__(daemon=True)
        self._house, self._sid, self._path, self._numbers = house, sid, path, numbers
        self.ended = threading.Event()
        self.acked = 0
        self.failed: list[str] = []

    def run(self) -> None:
        connection = http.client.HTTPConnection(*self._house.web.address, timeout=10)
        while not self.ended.is_set():
            body = self._house.sandbox.compose(self._sid, "siprec-started", More=str(next(self._numbers)))
            try:
                connection.request("POST", self._path, body, self._house.sandbox.sign(body))
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(repr(error))
                connection.close()
                continue
            if answer.status == 200:
                self.acked += 1
            else:
                self.failed.append(str(answer.status))
        connection.close()


@contextmanager
def callers(house: House, number: int = 8) -> Iterator[list[Caller]]:
    started = house.start("v3:busy").json()
    path = urlsplit(house.callback_url("v3:busy")).path
    numbers = count()
    running = [Caller(house, started["siprec_sid"], path, numbers) for _ in range(number)]
    for one in running:
        one.start()
    yield running
    for one in running:
        one.ended.set()
    for one in running:
        one.join(20)


def stored(house: House) -> int:
    with house.database.read() as db:
        return int(db.exec_driver_sql("SELECT SUM(deliveries) FROM report_callbacks_v1").scalar_one())


def test_at_a_reload_under_load_no_callback_is_lost_and_no_connection_reset(house: House) -> None:
    before = house.web.worker_pids()
    with callers(house) as running, lingering(house):
        os.kill(house.web.master_pid, signal.SIGHUP)
        wait_until(lambda: house.web.worker_pids() != before and len(house.web.worker_pids()) == 1, 20)
        time.sleep(0.5)
    assert not set(before) & set(house.web.worker_pids())
    assert [one.failed for one in running] == [[]] * len(running)
    assert stored(house) == sum(one.acked for one in running) > 100


def test_at_the_end_under_load_all_that_was_answered_is_stored(house: House) -> None:
    with callers(house) as running, lingering(house):
        time.sleep(0.5)
        end(psutil.Process(house.web.master_pid))
    acked = sum(one.acked for one in running)
    assert acked > 50
    assert stored(house) >= acked


def test_a_worker_whose_master_is_gone_ends(house: House) -> None:
    (worker,) = house.web.worker_pids()
    os.kill(house.web.master_pid, signal.SIGKILL)
    wait_until(lambda: not psutil.pid_exists(worker), SOON_SECONDS)


def test_a_spool_that_cannot_be_used_ends_the_master_and_is_named(house: House) -> None:
    house.web.stop()
    blocked = house.web.folder / "blocked"
    blocked.write_text("not a folder")
    house.web.env["SPOOL_DIR"] = str(blocked)
    with pytest.raises(DidNotStart, match="the spool cannot be used"):
        house.web.start()


def gunicorn(house: House, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Of a server that is expected not to start."""
    command = [sys.executable, "-m", "gunicorn", "-c", "python:service.gunicorn_conf", *arguments]
    return subprocess.run(
        [*command, "service.app:web()"],
        env={**processes.environment(house.web.env), "PORT": "0", **env},
        cwd=house.web.folder,
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_it_says_why_it_does_not_start_and_with_which_code(house: House) -> None:
    done = gunicorn(house, SPOOL_DIR="/dev/null/spool")
    assert done.returncode == FAILED_TO_BOOT
    assert "cannot start: the spool cannot be used" in done.stderr
    assert "Exception during worker exit" not in done.stderr


def test_a_database_url_that_cannot_be_read_is_named_and_not_shown(house: House) -> None:
    done = gunicorn(house, DATABASE_URL="postgresql://user:hush%ss@host/db")
    assert done.returncode == FAILED_TO_BOOT
    assert "cannot start: the database cannot be used: DATABASE_URL" in done.stderr
    assert "hush" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("how", ["setting", "argument"])
def test_several_processes_on_sqlite_are_refused(house: House, how: str) -> None:
    done = gunicorn(house, WEB_CONCURRENCY="2") if how == "setting" else gunicorn(house, "-w", "2")
    assert done.returncode != 0
    assert "on SQLite there is one web process" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_second_process_on_sqlite_cannot_be_asked_for_later(house: House) -> None:
    before = house.web.worker_pids()
    os.kill(house.web.master_pid, signal.SIGTTIN)
    wait_until(lambda: "on SQLite there is one web process" in house.web.log)
    time.sleep(0.5)
    assert house.web.worker_pids() == before


def test_it_listens_on_ipv6(house: House) -> None:
    with socket.socket(socket.AF_INET6) as place:
        place.bind(("::1", 0))
        port = place.getsockname()[1]
    env = {**processes.environment(house.web.env), "HOST": "::", "PORT": str(port)}
    command = [sys.executable, "-m", "gunicorn", "-c", "python:service.gunicorn_conf", "service.app:web()"]
    server = subprocess.Popen(command, env=env, cwd=house.web.folder, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _answers(("::1", port)))
        assert _answers(("127.0.0.1", port))
    finally:
        server.terminate()
        server.wait(20)


def _answers(address: tuple[str, int]) -> bool:
    connection = http.client.HTTPConnection(*address, timeout=2)
    with contextlib.closing(connection), contextlib.suppress(OSError):
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    return False


def test_a_stderr_that_nobody_reads_stops_nothing(house: House) -> None:
    house.web.stop()
    pipe = house.web.folder / "nobody-reads"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        web = Web(house.web.env)
        web._log = pipe
        web.env["PUBLIC_URL"] = web.url
        web.start()
        for _ in range(1500):
            with socket.create_connection(web.address, timeout=5) as connection:
                connection.sendall(b"GET /healthz HTTP/1.1\r\nX-Request-Id: " + b"x" * 100 + b"\r\n\r\n")
                assert connection.recv(12) == b"HTTP/1.1 200"
        assert took(lambda: end(psutil.Process(web.master_pid))) < SOON_SECONDS
        web.close()
    finally:
        os.close(reader)


def test_without_uvloop_it_serves_and_ends_as_well(house: House) -> None:
    house.web.stop()
    (house.web.folder / "uvloop.py").write_text("raise ImportError('there is no wheel here')\n")
    house.web.env["PYTHONPATH"] = f"{house.web.folder}{os.pathsep}{processes.CHECKOUT}"
    house.web.start()
    (worker,) = house.web.worker_pids()
    assert not any("/uvloop/" in mapped.path for mapped in psutil.Process(worker).memory_maps())
    with callers(house) as running, lingering(house), hostile.dripping(house.web.address, 300):
        time.sleep(0.5)
        assert house.get("/v1/sessions").status_code == 200
        end(psutil.Process(house.web.master_pid))
    assert stored(house) >= sum(one.acked for one in running) > 20
