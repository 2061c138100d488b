"""The demo's first part: two calls, a repeat and a forgery, what the ledger kept, and where to look next."""

import shlex
import sys
import time
from typing import Any

import click
from nacl.signing import SigningKey

from .behaviour import FAILED, STARTED, STOPPED, Behaviour
from .console import Line, short
from .sessions import now
from .stage import LONGEST_WAIT_SECONDS, Stage, WentWrong, title

CALL_ONE, CALL_TWO, CALL_THREE = "v3:call-one", "v3:call-two", "v3:call-three"

# Telnyx reaches the recording server first, which takes a moment.
WELL = Behaviour(started_after_seconds=0.4)
BADLY = Behaviour(started_after_seconds=0.4, fails="no-answer")
BRIEFLY = Behaviour(started_after_seconds=0.4, duration_seconds=5, call_status="completed")

SQL = "SELECT call_sid, state, started_at, duration_seconds, error_detail FROM report_sessions_v1"


class Tour:
    """Everything raises Ended, ServiceFailed, WentWrong."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._telnyx = stage.telnyx
        self._service = stage.service

    def play(self) -> None:
        title("Call one: from start to stopped")
        session_id = self._start(CALL_ONE, WELL, "recorder")
        self._wait_for(session_id, "started")
        self._stage.post("asks to stop", CALL_ONE, f"/v1/sessions/{session_id}/stop")
        stopped = self._wait_for(session_id, "stopped")
        self._repeat_and_forge(stopped)
        title("Call two: the recording server does not answer")
        failed = self._wait_for(self._start(CALL_TWO, BADLY, "recorder-2"), "failed")
        if failed["error"]["detail"] != BADLY.fails:
            raise WentWrong(f"{CALL_TWO} should have failed with {BADLY.fails}, not {failed['error']}")
        self._show_callbacks(stopped, failed)
        self._telnyx.behave(BRIEFLY, CALL_THREE)
        self._show_where_to_look(stopped["id"])

    def _repeat_and_forge(self, session: dict[str, Any]) -> None:
        """Deliver the session's last callback again, and then one that Telnyx did not sign."""
        title("What else may come: a repeat, and a forgery")
        last, sid = self._telnyx.deliveries[-1], session["siprec_sid"]
        repeat = self._telnyx.send(sid, STOPPED, Timestamp=last.fields["Timestamp"])
        body, at = self._telnyx.compose(sid, FAILED), now()
        headers = {**self._telnyx.sign(body, key=SigningKey.generate()), "Authorization": None}
        path = last.url.removeprefix(self._service.url)
        forged = self._service.ask("POST", path, data=body, headers=headers).status_code
        self._stage.console.add(Line(at, "forger", f"tells {FAILED} of {CALL_ONE}: answered {forged}"))
        self._stage.show_rest()
        state = self._service.get(f"/v1/sessions/{session['id']}")["state"]
        if (repeat.status, forged, state) != (200, 403, "stopped"):
            raise WentWrong(
                f"{CALL_ONE} should be stopped, a repeat be answered 200, a forgery 403; "
                f"it is {state}, and they were answered {repeat.status} and {forged}"
            )
        click.echo(f"  {short(session['id'])} is stopped as before; the repeat is counted, see below")

    def _show_callbacks(self, *sessions: dict[str, Any]) -> None:
        title("The callbacks that the ledger keeps")
        click.secho(f"  {'session':10}{'event':16}{'deliveries':12}verified by", dim=True)
        deliveries: dict[str, int] = {}
        for session in sessions:
            for callback in self._service.get(f"/v1/sessions/{session['id']}/callbacks")["callbacks"]:
                event, count = callback["event"], callback["deliveries"]
                click.echo(f"  {short(session['id']):10}{event:16}{count:<12}{callback['verified_by']}")
                deliveries[event] = count
        if list(deliveries) != [STARTED, STOPPED, FAILED] or deliveries[STOPPED] < 2:
            raise WentWrong("there should be three callbacks, and the second should have come twice")

    def _show_where_to_look(self, session_id: str) -> None:
        url, python = self._service.url, shlex.quote(sys.executable)
        ask = f"curl -w '\\n' -H 'Authorization: Bearer {self._service.key}'"
        start = f"-H 'Content-Type: application/json' -d '{{\"call_sid\": \"{CALL_THREE}\"}}'"
        fail = f"""-X PUT -d '{{"fails": "busy"}}' {self._telnyx.control_url}/behaviour"""
        connect = f"sqlite3.connect('{self._service.database.as_uri()}?mode=ro', uri=True)"
        select = f"import sqlite3; print(*{connect}.execute('{SQL}'), sep='\\n')"
        title("Where to look next")
        for what, how in {
            "The API, to read and to try (Authorize takes the key)": f"{url}/docs",
            "Whether callbacks can be kept": f"{url}/readyz",
            "All sessions, newest first": f"{ask} {url}/v1/sessions",
            "Call one and its timeline": f"{ask} {url}/v1/sessions/{session_id}",
            "Why call one is in its state, in sentences": f"{ask} {url}/v1/sessions/{session_id}/explain",
            "A third call, which ends by itself after 5 s": f"{ask} {start} {url}/v1/sessions",
            "Let all further calls fail": f"curl -w '\\n' {fail}",
            "The reports, in SQL": f'{python} -c "{select}"',
            "The service's log": f"tail -f {shlex.quote(str(self._service.log))}",
        }.items():
            click.echo(f"\n  {click.style(f'# {what}', dim=True)}\n  {how}")

    def _start(self, call_sid: str, behaviour: Behaviour, connector_name: str) -> str:
        """The id of the session."""
        self._telnyx.behave(behaviour, call_sid)
        order = {"call_sid": call_sid, "connector_name": connector_name}
        return str(self._stage.post("asks to record", call_sid, "/v1/sessions", order)["id"])

    def _wait_for(self, session_id: str, state: str) -> dict[str, Any]:
        """The session once it is in `state`, and all that was said about it is shown."""
        deadline = time.monotonic() + LONGEST_WAIT_SECONDS
        while (session := self._service.get(f"/v1/sessions/{session_id}"))["state"] != state:
            if session["state"] in ("refused", "stopped", "failed") or time.monotonic() > deadline:
                self._stage.show_rest()
                actual = f"{session['state']} ({session['error']})"
                raise WentWrong(f"{session['call_sid']} should be {state} by now, and is {actual}")
            self._stage.show()
        self._stage.show_rest()
        return dict(session)
