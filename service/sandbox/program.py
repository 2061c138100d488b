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
from typing import Any, Self

import requests

from .server import Sandbox

HOST = "127.0.0.1"
USUAL_PORT = 8000
COMMAND_SECONDS = 60
START_SECONDS = 30
STOP_SECONDS = 10
LAST_WORDS_SECONDS = 5
ANSWER_SECONDS = 15  # the service itself waits up to 10 s for Telnyx
TAIL_LINES = 15
GUNICORN = [sys.executable, "-m", "gunicorn", "-c", "python:service.gunicorn_conf"]
# The script itself may lie anywhere, but this interpreter can surely run it.
SIPREC_LEDGER = [sys.executable, "-c", "from service.cli import main; main()"]

# All that the environment may say: settings for another ledger, or proxies, would lead the demo astray.
INHERITED = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ")

# Nobody waits for long in a demo; half a second is what its Telnyx takes.
DEADLINES = {"OVERDUE_START_SECONDS": "6", "OVERDUE_ANSWER_SECONDS": "10", "OVERDUE_STOP_SECONDS": "15"}


class ServiceFailed(Exception):
    """The service did not do what it was asked. Carries what it said last."""


class Program:
    """The service under gunicorn at `url`, on SQLite, with `folder` for all that it keeps.

    First `upgrade`, `make_up` and `create_key`, then `start`. Whatever runs ends with the `with` block.
    """

    def __init__(self, folder: Path, telnyx: Sandbox) -> None:
        self.database = folder / "ledger.sqlite3"
        self.log = folder / "service.log"
        self.key = self._key_name = ""
        self._http = requests.Session()
        self._http.trust_env = False
        self._listener = _listen()  # handed on, so that nobody else comes between
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://{HOST}:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        environment = {name: os.environ[name] for name in INHERITED if name in os.environ} | {
            "PYTHONPATH": str(Path(__file__).parents[2]),  # the very service that this sandbox came with
            "PUBLIC_URL": self.url,
            "SECRET_KEY": secrets.token_urlsafe(32),
            "DATABASE_URL": f"sqlite:///{self.database}",
            "SPOOL_DIR": str(folder / "spool"),
            "TELNYX_BASE_URL": telnyx.url,
            "TELNYX_API_KEY": telnyx.api_key,
            "TELNYX_PUBLIC_KEY": telnyx.public_key,
            "TELNYX_ACCOUNT_SID": "demo-account",
            **DEADLINES,
        }
        self._surroundings: dict[str, Any] = {
            "cwd": folder,
            "env": environment,
            "start_new_session": True,  # Ctrl-C is for the demo, which then ends what it has started
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()  # gunicorn would wait for it
        self._listener.close()
        if self._process is not None:
            self._process.terminate()
            self._wait(STOP_SECONDS)
            with suppress(ProcessLookupError):  # the workers too, should the master have left them
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def upgrade(self) -> str:
        """Make the database; returns what the command printed. Raises ServiceFailed."""
        return self._command("db", "upgrade")

    def make_up(self, history: str) -> str:
        """Play lines into the ledger, before anything else is in it. Raises ServiceFailed."""
        return self._command("demo-history", words=history)

    def log_in(self) -> str:
        """A link that logs in to the page, once. Raises ServiceFailed."""
        return self._command("login", "--key", self._key_name)

    def create_key(self, name: str) -> None:
        """Make the key that is used from now on. Raises ServiceFailed."""
        self._key_name = name
        self.key = self._command("keys", "create", name)
        self._http.headers["Authorization"] = f"Bearer {self.key}"

    def start(self, pause: Callable[[], None]) -> None:
        """Returns when /healthz answers. `pause` waits a moment, and may raise to end the wait."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 (all of it is ours)
                [*GUNICORN, "--bind", f"fd://{self._listener.fileno()}", "service.app:web()"],
                **self._surroundings,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[self._listener.fileno()],
            )
        self._listener.close()
        deadline = time.monotonic() + START_SECONDS
        while not self._is_well():
            self.require_running()
            if time.monotonic() > deadline:
                raise self._failed(f"/healthz did not answer within {START_SECONDS} s")
            pause()

    def require_running(self) -> None:
        """Raises ServiceFailed if gunicorn has ended."""
        if self._process is None or self._process.poll() is not None:
            raise self._failed("gunicorn has ended by itself")

    def get(self, path: str, **query: str) -> Any:
        """The JSON that is there. Raises ServiceFailed."""
        answer = self.ask("GET", path, params=query)
        if not answer.ok:
            raise self._failed(f"GET {path} was answered {answer.status_code}")
        return answer.json()

    def ask(self, method: str, path: str, **more: Any) -> requests.Response:
        """Raises ServiceFailed if there is no answer."""
        try:
            return self._http.request(method, self.url + path, timeout=ANSWER_SECONDS, **more)
        except requests.RequestException as error:
            self._wait(LAST_WORDS_SECONDS)  # a broken connection may be the first sign of its end
            self.require_running()
            raise self._failed(f"{method} {path} was not answered: {type(error).__name__}") from error

    def _is_well(self) -> bool:
        with suppress(requests.RequestException):
            return self._http.get(f"{self.url}/healthz", timeout=2).ok
        return False

    def _command(self, *arguments: str, words: str = "") -> str:
        """What `siprec-ledger …` prints; it reads `words`. Raises ServiceFailed."""
        named = f"siprec-ledger {' '.join(arguments)}"
        try:
            done: subprocess.CompletedProcess[str] = subprocess.run(  # noqa: S603 (all of it is ours)
                [*SIPREC_LEDGER, *arguments],
                **self._surroundings,
                input=words,
                capture_output=True,
                text=True,
                timeout=COMMAND_SECONDS,
            )
        except subprocess.TimeoutExpired as late:
            raise ServiceFailed(f"{named} did not end within {COMMAND_SECONDS} s") from late
        if done.returncode != 0:
            raise ServiceFailed(f"{named} failed:\n{_tail(done.stderr)}")
        return done.stdout.strip()

    def _failed(self, what: str) -> ServiceFailed:
        log = self.log.read_text(errors="replace") if self.log.exists() else ""
        return ServiceFailed(f"{what}; its log ends:\n{_tail(log)}")

    def _wait(self, seconds: float) -> None:
        """Wait until it has ended, or is too slow at it."""
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)


def _listen() -> socket.socket:
    """At the usual port, or at another one if that is taken."""
    with suppress(OSError):
        return socket.create_server((HOST, USUAL_PORT))
    return socket.create_server((HOST, 0))


def _tail(text: str) -> str:
    return "\n".join(text.rstrip().splitlines()[-TAIL_LINES:])
