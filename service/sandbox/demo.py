"""The command `demo`: the service and a sandbox on this machine, two calls, and where to look next."""

import shlex
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from queue import SimpleQueue
from threading import Event
from typing import Any

import click
from nacl.signing import SigningKey

from .behaviour import FAILED, STARTED, STOPPED, Behaviour
from .console import LAG, Console, Line, short
from .program import USUAL_PORT, Program, ServiceFailed
from .server import Sandbox
from .sessions import now
from .traffic import Delivery, Request

GLANCE_SECONDS = 0.05
LONGEST_WAIT_SECONDS = 20
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
    end = Event()  # looked at wherever the demo waits
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup means it
            signal.signal(number, lambda *_: end.set())
    folder = Path(tempfile.mkdtemp(prefix="siprec-ledger-demo-"))
    traffic: SimpleQueue[Request | Delivery] = SimpleQueue()
    try:
        with Sandbox(watch=traffic.put) as telnyx, Program(folder, telnyx) as service:
            show = Demo(end, telnyx, service, Console(service, traffic))
            show.play()
            if not once:
                show.serve()
    except Ended:
        click.echo(f"\nEnded. What the ledger kept stays in {folder}")
        sys.exit(1 if once else 0)
    except (ServiceFailed, WentWrong) as wrong:
        raise click.ClickException(f"{wrong}\nWhat the ledger kept, and its log, stay in {folder}") from wrong
    shutil.rmtree(folder)
    click.secho("\nAll went as it should.", fg="green")
    click.echo("What it kept is removed. Without --once (make: ONCE=1) it would now serve on.")


class Demo:
    """What is shown, part by part. Everything raises Ended, ServiceFailed, WentWrong."""

    def __init__(self, end: Event, telnyx: Sandbox, service: Program, console: Console) -> None:
        self.end = end
        self.telnyx = telnyx
        self.service = service
        self.console = console

    def play(self) -> None:
        self._set_up()
        _title("Call one: from start to stopped")
        session_id = self._start(CALL_ONE, WELL)
        self._wait_for(session_id, "started")
        self._post("asks to stop", CALL_ONE, f"/v1/sessions/{session_id}/stop")
        stopped = self._wait_for(session_id, "stopped")
        self._repeat_and_forge(stopped)
        _title("Call two: the recording server does not answer")
        failed = self._wait_for(self._start(CALL_TWO, BADLY), "failed")
        if failed["error"]["detail"] != BADLY.fails:
            raise WentWrong(f"{CALL_TWO} should have failed with {BADLY.fails}, not {failed['error']}")
        self._show_callbacks(stopped, failed)
        self._show_where_to_look(stopped["id"])

    def serve(self) -> None:
        """Show what happens until the end."""
        self.telnyx.behave(BRIEFLY)
        _title("The page: whoever opens this link first is logged in (it is good for 10 minutes)")
        click.secho(f"  {self.service.log_in()}", fg="green")
        _title("Serving until Ctrl-C, and showing what happens")
        while True:
            self.service.require_running()
            self.console.show(LAG)
            self._pause()

    def _set_up(self) -> None:
        _title("Setting up")
        click.echo(f"  sandbox   {self.telnyx.url}, which plays Telnyx")
        click.echo(f"  database  {self.service.database}, {self.service.upgrade()}")
        self._pause()
        self.service.create_key("demo")
        click.echo(f"  API key   {self.service.key}")
        self._pause()
        self.service.start(self._pause)
        taken = "" if self.service.port == USUAL_PORT else f", as port {USUAL_PORT} is taken"
        click.echo(f"  service   {self.service.url}{taken}")
        click.echo("\nBelow, an id is cut to its last 8 characters, and times are UTC.")

    def _repeat_and_forge(self, session: dict[str, Any]) -> None:
        """Deliver the session's last callback again, and then one that Telnyx did not sign."""
        _title("What else may come: a repeat, and a forgery")
        last, sid = self.telnyx.deliveries[-1], session["siprec_sid"]
        repeat = self.telnyx.send(sid, STOPPED, Timestamp=last.fields["Timestamp"])
        body, at = self.telnyx.compose(sid, FAILED), now()
        headers = {**self.telnyx.sign(body, key=SigningKey.generate()), "Authorization": None}
        path = last.url.removeprefix(self.service.url)
        forged = self.service.ask("POST", path, data=body, headers=headers).status_code
        self.console.add(Line(at, "forger", f"tells {FAILED} of {CALL_ONE}: answered {forged}"))
        self._show_rest()
        state = self.service.get(f"/v1/sessions/{session['id']}")["state"]
        if (repeat.status, forged, state) != (200, 403, "stopped"):
            raise WentWrong(
                f"{CALL_ONE} should be stopped, a repeat be answered 200, a forgery 403; "
                f"it is {state}, and they were answered {repeat.status} and {forged}"
            )
        click.echo(f"  {short(session['id'])} is stopped as before; the repeat is counted, see below")

    def _show_callbacks(self, *sessions: dict[str, Any]) -> None:
        _title("The callbacks that the ledger keeps")
        click.secho(f"  {'session':10}{'event':16}{'deliveries':12}verified by", dim=True)
        deliveries: dict[str, int] = {}
        for session in sessions:
            for callback in self.service.get(f"/v1/sessions/{session['id']}/callbacks")["callbacks"]:
                event, count = callback["event"], callback["deliveries"]
                click.echo(f"  {short(session['id']):10}{event:16}{count:<12}{callback['verified_by']}")
                deliveries[event] = count
        if list(deliveries) != [STARTED, STOPPED, FAILED] or deliveries[STOPPED] < 2:
            raise WentWrong("there should be three callbacks, and the second should have come twice")

    def _show_where_to_look(self, session_id: str) -> None:
        url, python = self.service.url, shlex.quote(sys.executable)
        ask = f"curl -w '\\n' -H 'Authorization: Bearer {self.service.key}'"
        start = f"-H 'Content-Type: application/json' -d '{{\"call_sid\": \"{CALL_THREE}\"}}'"
        fail = f"""-X PUT -d '{{"fails": "busy"}}' {self.telnyx.control_url}/behaviour"""
        connect = f"sqlite3.connect('{self.service.database.as_uri()}?mode=ro', uri=True)"
        select = f"import sqlite3; print(*{connect}.execute('{SQL}'), sep='\\n')"
        _title("Where to look next")
        for what, how in {
            "The page, for whoever is on duty (it takes the key)": f"{url}/",
            "The API, to read and to try (Authorize takes the key)": f"{url}/docs",
            "Whether callbacks can be kept": f"{url}/readyz",
            "All sessions, newest first": f"{ask} {url}/v1/sessions",
            "Call one and its timeline": f"{ask} {url}/v1/sessions/{session_id}",
            "A third call, which stops by itself after 5 s": f"{ask} {start} {url}/v1/sessions",
            "Let all further calls fail": f"curl -w '\\n' {fail}",
            "The reports, in SQL": f'{python} -c "{select}"',
            "The service's log": f"tail -f {shlex.quote(str(self.service.log))}",
        }.items():
            click.echo(f"\n  {click.style(f'# {what}', dim=True)}\n  {how}")

    def _start(self, call_sid: str, behaviour: Behaviour) -> str:
        """The id of the session."""
        self.telnyx.behave(behaviour, call_sid)
        order = {"call_sid": call_sid, "connector_name": "recorder"}
        return str(self._post("asks to record", call_sid, "/v1/sessions", order)["id"])

    def _post(self, what: str, call_sid: str, path: str, json: Any = None) -> dict[str, Any]:
        at = now()
        answer = self.service.ask("POST", path, json=json)
        self.console.add(Line(at, "app", f"{what} {call_sid}: answered {answer.status_code}", call_sid))
        if not answer.ok:
            self._show_rest()
            raise WentWrong(f"{call_sid}: POST {path} was answered {answer.status_code} {answer.text}")
        return dict(answer.json())

    def _wait_for(self, session_id: str, state: str) -> dict[str, Any]:
        """The session once it is in `state`, and all that was said about it is shown."""
        deadline = time.monotonic() + LONGEST_WAIT_SECONDS
        while (session := self.service.get(f"/v1/sessions/{session_id}"))["state"] != state:
            if session["state"] in ("refused", "stopped", "failed") or time.monotonic() > deadline:
                self._show_rest()
                actual = f"{session['state']} ({session['error']})"
                raise WentWrong(f"{session['call_sid']} should be {state} by now, and is {actual}")
            self.console.show(LAG)
            self._pause()
        self._show_rest()
        return dict(session)

    def _show_rest(self) -> None:
        """Let Telnyx finish telling, and show the rest of it."""
        self.telnyx.wait_until_idle(LONGEST_WAIT_SECONDS)
        self.console.show()

    def _pause(self) -> None:
        if self.end.wait(GLANCE_SECONDS):
            raise Ended


def _title(text: str) -> None:
    click.echo(f"\n{click.style(text, bold=True)}")
