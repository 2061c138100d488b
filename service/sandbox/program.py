"""The service as a program of its own: run by its commands and asked over HTTP, as any stranger would."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import requests

from .server import Sandbox

HOST = "127.0.0.1"
USUAL_PORT = 8000
COMMAND_SECONDS = 60
START_SECONDS = 30
STOP_SECONDS = 10
FAREWELL_SECONDS = 5
ANSWER_SECONDS = 15  # the service itself waits up to 10 s for Telnyx
TAIL_LINES = 15
GUNICORN = [sys.executable, "-m", "gunicorn", "-c", "python:service.gunicorn_conf"]

# All that the environment may say: settings for another ledger, or proxies, would lead the demo astray.
KEPT = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ")


class ServiceTrouble(Exception):
    """The service did not do what it was asked. Carries what it said last."""


class Program:
    """The service under gunicorn at `url`, on SQLite, with `folder` for all that it keeps.

    First `upgrade` and `create_key`, then `start`. Whatever runs ends with the `with` block.
    """

    def __init__(self, folder: Path, telnyx: Sandbox) -> None:
        self.database = folder / "ledger.sqlite3"
        self.log = folder / "service.log"
        self.key = ""
        self._folder = folder
        # Taken here and handed on, so that nobody else comes between.
        self._place = _free_place()
        self.port: int = self._place.getsockname()[1]
        self.url = f"http://{HOST}:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._http = requests.Session()
        self._http.trust_env = False
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        self._environment = {
            **kept,
            "PUBLIC_URL": self.url,
            "SECRET_KEY": secrets.token_urlsafe(32),
            "DATABASE_URL": f"sqlite:///{self.database}",
            "SPOOL_DIR": str(folder / "spool"),
            "TELNYX_BASE_URL": telnyx.url,
            "TELNYX_API_KEY": telnyx.api_key,
            "TELNYX_PUBLIC_KEY": telnyx.public_key,
            "TELNYX_ACCOUNT_SID": "demo-account",
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()  # gunicorn would wait for it
        self._place.close()
        self._stop()

    def upgrade(self) -> str:
        """Make the database; returns what the command printed."""
        return self._command("db", "upgrade")

    def create_key(self, name: str) -> None:
        self.key = self._command("keys", "create", name)
        self._http.headers["Authorization"] = f"Bearer {self.key}"

    def start(self, pause: Callable[[], None]) -> None:
        """Returns when /healthz answers. `pause` waits a moment, and may raise to give up."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 (all of it is ours)
                [*GUNICORN, "--bind", f"fd://{self._place.fileno()}", "service.app:web()"],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[self._place.fileno()],
                start_new_session=True,  # Ctrl-C is for the demo, which then ends it
            )
        self._place.close()
        deadline = time.monotonic() + START_SECONDS
        while not self._is_well():
            self.require_running()
            if time.monotonic() > deadline:
                raise ServiceTrouble(self._with_log(f"/healthz did not answer within {START_SECONDS} s"))
            pause()

    def require_running(self) -> None:
        """Raises ServiceTrouble if gunicorn has ended."""
        if self._process is None or self._process.poll() is not None:
            raise ServiceTrouble(self._with_log("gunicorn has ended by itself"))

    def get(self, path: str, **query: str) -> Any:
        """The JSON that is there. Raises ServiceTrouble."""
        answer = self._ask("GET", path, params=query)
        if not answer.ok:
            raise ServiceTrouble(self._with_log(f"GET {path} was answered {answer.status_code}"))
        return answer.json()

    def post(self, path: str, **more: Any) -> requests.Response:
        """Raises ServiceTrouble if there is no answer."""
        return self._ask("POST", path, **more)

    def _ask(self, method: str, path: str, **more: Any) -> requests.Response:
        try:
            return self._http.request(method, self.url + path, timeout=ANSWER_SECONDS, **more)
        except requests.RequestException as trouble:
            self._wait(FAREWELL_SECONDS)  # a broken connection may be the first sign of its end
            self.require_running()
            said = f"{method} {path} was not answered: {type(trouble).__name__}"
            raise ServiceTrouble(self._with_log(said)) from trouble

    def _is_well(self) -> bool:
        with suppress(requests.RequestException):
            return self._http.get(f"{self.url}/healthz", timeout=2).ok
        return False

    def _command(self, *arguments: str) -> str:
        """What `siprec-ledger …` prints."""
        named = f"siprec-ledger {' '.join(arguments)}"
        try:
            ended = subprocess.run(  # noqa: S603 (all of it is ours)
                # The script itself may lie anywhere, but this interpreter can surely run it.
                [sys.executable, "-c", "from service.cli import main; main()", *arguments],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=True,
                timeout=COMMAND_SECONDS,
                start_new_session=True,
            )
        except subprocess.TimeoutExpired as late:
            raise ServiceTrouble(f"{named} did not end within {COMMAND_SECONDS} s") from late
        except subprocess.CalledProcessError as failed:
            raise ServiceTrouble(f"{named} failed:\n{_tail(failed.stderr)}") from failed
        return ended.stdout.strip()

    def _with_log(self, said: str) -> str:
        tail = _tail(self.log.read_text(errors="replace")) if self.log.exists() else ""
        return f"{said}; its log ends:\n{tail}" if tail else said

    def _wait(self, seconds: float) -> None:
        """Wait until it has ended, or is too slow at it."""
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)

    def _stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        self._wait(STOP_SECONDS)
        with suppress(ProcessLookupError):  # the workers too, should the master have left them
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def _free_place() -> socket.socket:
    """A socket at the usual port, or at another one if that is taken."""
    try:
        return _place(USUAL_PORT)
    except OSError:
        return _place(0)


def _place(port: int) -> socket.socket:
    place = socket.socket()
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        place.bind((HOST, port))
        place.listen()  # only now is it certain that the port is ours
    except OSError:
        place.close()
        raise
    return place


def _tail(text: str) -> str:
    return "\n".join(text.rstrip().splitlines()[-TAIL_LINES:])
