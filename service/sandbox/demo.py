"""The command `demo`: the service and a sandbox on this machine, two calls, and where to look next."""

import shlex
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Event
from typing import Any

import click
from nacl.signing import SigningKey

from .behaviour import FAILED, STARTED, STOPPED, Behaviour
from .program import USUAL_PORT, Program, ServiceTrouble
from .records import Delivery, Request
from .server import Sandbox
from .sessions import now
from .story import Story, short

GLANCE_SECONDS = 0.05
PATIENCE_SECONDS = 20
OVER = {"refused", "stopped", "failed"}
CALL_ONE, CALL_TWO, CALL_THREE = "v3:call-one", "v3:call-two", "v3:call-three"

# Telnyx reaches the recording server first, which takes a moment.
WELL = Behaviour(started_after_seconds=0.4)
BADLY = Behaviour(started_after_seconds=0.4, fails="no-answer")
BRIEFLY = Behaviour(started_after_seconds=0.4, duration_seconds=5)

SQL = "SELECT call_sid, state, started_at, duration_seconds, error_detail FROM report_sessions_v1"


class WentWrong(Exception):
    """Something did not go as it should; the text says what."""


class Ended(Exception):
    """Ctrl-C, or the like."""


@click.command()
@click.option("--once", is_flag=True, help="End by itself, with 0 if both calls went as they should.")
def demo(once: bool) -> None:
    """Try it: the service with a pretended Telnyx, on this machine alone."""
    end = _ending()
    folder = Path(tempfile.mkdtemp(prefix="siprec-ledger-demo-"))
    heard: SimpleQueue[Request | Delivery] = SimpleQueue()
    try:
        with Sandbox(watch=heard.put) as telnyx, Program(folder, telnyx) as service:
            show = Demo(end, telnyx, service, Story(service, heard))
            show.play()
            if not once:
                show.serve()
    except Ended:
        click.echo(f"\nEnded. What the ledger kept stays in {folder}")
        sys.exit(1 if once else 0)
    except (ServiceTrouble, WentWrong) as wrong:
        raise click.ClickException(f"{wrong}\nWhat the ledger kept, and its log, stay in {folder}") from wrong
    shutil.rmtree(folder)
    click.secho("\nAll went as it should.", fg="green")
    click.echo("What it kept is removed. Without --once (make: ONCE=1) it would now serve on.")


def _ending() -> Event:
    """Set by Ctrl-C, by SIGTERM, and when the terminal closes; looked at wherever the demo waits."""
    end = Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup means it
            signal.signal(number, lambda *_: end.set())
    return end


@dataclass
class Demo:
    """What is shown, chapter by chapter. Everything raises Ended, ServiceTrouble, WentWrong."""

    end: Event
    telnyx: Sandbox
    service: Program
    story: Story

    def play(self) -> None:
        self._set_up()
        recorded = self._record()
        self._disturb(recorded)
        failed = self._fail()
        self._show_callbacks(recorded, failed)
        self._show_where_to_look(recorded)

    def serve(self) -> None:
        """Show what happens until the end."""
        self.telnyx.behave(BRIEFLY)
        _title("Serving until Ctrl-C, and showing what happens")
        while True:
            self.service.require_running()
            self.story.go_on()
            self._pause()

    def _set_up(self) -> None:
        _title("Setting up")
        _fact("sandbox", f"{self.telnyx.url}, which plays Telnyx")
        _fact("database", f"{self.service.database}, {self.service.upgrade()}")
        self._pause()
        self.service.create_key("demo")
        _fact("API key", self.service.key)
        self._pause()
        self.service.start(self._pause)
        taken = "" if self.service.port == USUAL_PORT else f", as port {USUAL_PORT} is taken"
        _fact("service", f"{self.service.url}{taken}")
        click.echo("\nBelow, an id is cut to its last 8 characters, and times are UTC.")

    def _record(self) -> dict[str, Any]:
        _title("Call one: from start to stopped")
        session_id = self._start(CALL_ONE, WELL)
        self._wait_for(session_id, "started")
        self._ask("asks to stop", CALL_ONE, f"/v1/sessions/{session_id}/stop")
        stopped = self._wait_for(session_id, "stopped")
        self._settle()
        return stopped

    def _disturb(self, recorded: dict[str, Any]) -> None:
        """Deliver call one's last callback again, and then one that Telnyx did not sign."""
        _title("What else may come: a repeat, and a forgery")
        last = self.telnyx.deliveries[-1]
        again = self.telnyx.send(recorded["siprec_sid"], STOPPED, Timestamp=last.fields["Timestamp"])
        forged = self._forge(recorded["siprec_sid"], last.url)
        self._settle()
        state = self.service.get(f"/v1/sessions/{recorded['id']}")["state"]
        if (again.status, forged, state) != (200, 403, "stopped"):
            raise WentWrong(
                f"{CALL_ONE} should be stopped, a repeat be answered 200, a forgery 403; "
                f"it is {state}, and they were answered {again.status} and {forged}"
            )
        click.echo(f"  {short(recorded['id'])} is stopped as before; the repeat is counted, see below")

    def _forge(self, sid: str, url: str) -> int:
        body, at = self.telnyx.compose(sid, FAILED), now()
        headers = {**self.telnyx.sign(body, key=SigningKey.generate()), "Authorization": None}
        answer = self.service.post(url.removeprefix(self.service.url), data=body, headers=headers)
        self.story.add("forger", f"tells {FAILED} of {CALL_ONE}: answered {answer.status_code}", at)
        return answer.status_code

    def _fail(self) -> dict[str, Any]:
        _title("Call two: the recording server does not answer")
        failed = self._wait_for(self._start(CALL_TWO, BADLY), "failed")
        self._settle()
        if failed["error"]["detail"] != BADLY.fails:
            raise WentWrong(f"{CALL_TWO} should have failed with {BADLY.fails}{_reason(failed)}")
        return failed

    def _show_callbacks(self, *sessions: dict[str, Any]) -> None:
        _title("The callbacks that the ledger keeps")
        click.secho(f"  {'session':10}{'event':16}{'deliveries':12}verified by", dim=True)
        deliveries: dict[str, int] = {}
        for session in sessions:
            for kept in self.service.get(f"/v1/sessions/{session['id']}/callbacks")["callbacks"]:
                columns = f"{kept['event']:16}{kept['deliveries']:<12}{kept['verified_by']}"
                click.echo(f"  {short(session['id']):10}{columns}")
                deliveries[kept["event"]] = kept["deliveries"]
        if list(deliveries) != [STARTED, STOPPED, FAILED] or deliveries[STOPPED] < 2:
            raise WentWrong("there should be three callbacks, and the second should have come twice")

    def _show_where_to_look(self, session: dict[str, Any]) -> None:
        url, python = self.service.url, shlex.quote(sys.executable)
        ask = f"curl -w '\\n' -H 'Authorization: Bearer {self.service.key}'"
        start = f"-H 'Content-Type: application/json' -d '{{\"call_sid\": \"{CALL_THREE}\"}}'"
        fail = f"""-X PUT -d '{{"fails": "busy"}}' {self.telnyx.control_url}/behaviour"""
        connect = f"sqlite3.connect('{self.service.database.as_uri()}?mode=ro', uri=True)"
        select = f"import sqlite3; print(*{connect}.execute('{SQL}'), sep='\\n')"
        _title("Where to look next")
        _try("The API, to read and to try (Authorize takes the key)", f"{url}/docs")
        _try("Whether callbacks can be kept", f"{url}/readyz")
        _try("All sessions, newest first", f"{ask} {url}/v1/sessions")
        _try("Call one and its timeline", f"{ask} {url}/v1/sessions/{session['id']}")
        _try("A third call, which stops by itself after 5 s", f"{ask} {start} {url}/v1/sessions")
        _try("Let all further calls fail", f"curl -w '\\n' {fail}")
        _try("The reports, in SQL", f'{python} -c "{select}"')
        _try("The service's log", f"tail -f {shlex.quote(str(self.service.log))}")

    def _start(self, call_sid: str, behaviour: Behaviour) -> str:
        """The id of the session."""
        self.telnyx.behave(behaviour, call_sid)
        order = {"call_sid": call_sid, "connector_name": "recorder"}
        return str(self._ask("asks to record", call_sid, "/v1/sessions", order)["id"])

    def _ask(self, what: str, call_sid: str, path: str, json: Any = None) -> dict[str, Any]:
        at = now()
        answer = self.service.post(path, json=json)
        self.story.add("app", f"{what} {call_sid}: answered {answer.status_code}", at, call_sid)
        if not answer.ok:
            self._settle()
            raise WentWrong(f"{call_sid}: POST {path} was answered {answer.status_code} {answer.text}")
        return dict(answer.json())

    def _wait_for(self, session_id: str, state: str) -> dict[str, Any]:
        """The session once it is in `state`, while the story goes on."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (session := self.service.get(f"/v1/sessions/{session_id}"))["state"] != state:
            if session["state"] in OVER or time.monotonic() > deadline:
                self._settle()
                raise WentWrong(f"{session['call_sid']} should be {state} by now{_reason(session)}")
            self.story.go_on()
            self._pause()
        return dict(session)

    def _settle(self) -> None:
        """Let Telnyx finish telling, and show the rest of it."""
        self.telnyx.settle(PATIENCE_SECONDS)
        self.story.catch_up()

    def _pause(self) -> None:
        if self.end.wait(GLANCE_SECONDS):
            raise Ended


def _reason(session: dict[str, Any]) -> str:
    error = session["error"] or {}
    return f", and is {session['state']} ({error.get('detail') or error.get('kind') or 'no error'})"


def _title(text: str) -> None:
    click.echo(f"\n{click.style(text, bold=True)}")


def _fact(name: str, text: str) -> None:
    click.echo(f"  {name:10}{text}")


def _try(what: str, how: str) -> None:
    click.echo(f"\n  {click.style(f'# {what}', dim=True)}\n  {how}")
