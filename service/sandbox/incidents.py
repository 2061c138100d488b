"""The demo's second part: live calls, three things that go wrong, and what whoever is on duty sees of it."""

import time
from collections.abc import Callable
from typing import Any

import click
import requests

from .calls import Calls, LiveCall
from .console import Line
from .duty import OnDuty, PageFailed, Seen
from .page import DROP, FREEZE, KILL, MEND, Button
from .sessions import now
from .stage import Stage, WentWrong, title

WELL_SECONDS = 30  # after the service has found a whole day that it never looked through
SEEN_SECONDS = 25  # after a button was pressed, Now says so
MENDED_SECONDS = 25
LOOK_SECONDS = 0.5
ANSWER_SECONDS = 15
UNRECORDED = "live and probably not recorded"
OVERRULED = "it was overdue no longer"
LIVE_LABELS = {"demo": "live"}


class Incidents:
    """`page_url` is where the buttons are. Everything raises Ended, ServiceFailed, WentWrong."""

    def __init__(self, stage: Stage, calls: Calls, duty: OnDuty, page_url: str) -> None:
        self._stage = stage
        self._calls = calls
        self._duty = duty
        self._page_url = page_url
        self._said = ""

    def wait_until_well(self) -> None:
        """Let the ledger look through the day of history first: it is behind until then, and Now says so."""
        deadline = time.monotonic() + WELL_SECONDS
        while not (seen := self._look()).is_well:
            if time.monotonic() > deadline:
                raise WentWrong(f"Now should say that all is well after the history; it says: {seen.words}")
            self._stage.show()

    def watch(self) -> None:
        """Let calls come and go, and say in words what Now says whenever that changes. Never returns."""
        look_at = 0.0
        while True:
            self._stage.service.require_running()
            self._calls.tick()
            self._stage.show()
            if time.monotonic() >= look_at:
                try:
                    self._say(self._duty.look().words)
                except PageFailed as failed:  # the log-in has ended, for one
                    self._say(str(failed))
                look_at = time.monotonic() + LOOK_SECONDS

    def play(self) -> None:
        """Press each button, and check what comes of it."""
        self._drop_callbacks()
        self._freeze_database()
        self._kill_recorder()

    def _drop_callbacks(self) -> None:
        title("Callbacks are dropped: a call that is recorded looks as if it were not")
        self._recorded_call()
        before = {call.sid for call in self._calls.live()}
        self._press(DROP)
        call = self._call_other_than(before)
        seen = self._until(
            f"Now should say within {SEEN_SECONDS} s that {call.sid} is {UNRECORDED}",
            SEEN_SECONDS,
            lambda seen: UNRECORDED in seen.verdict and call.sid in seen.overdue.get(_id(call), ""),
        )
        _require(seen, bool(seen.side and seen.what_to_do), "Now should say whose side it is, and what to do")
        self._explain(call)
        self._press(MEND)
        self._until("Now should say that all is well", MENDED_SECONDS, lambda seen: seen.is_well)
        explanation = self._explain(call)
        session = self._stage.service.get(f"/v1/sessions/{call.session_id}")
        words = f"{call.sid} should have started, by a late callback that overruled what was overdue"
        if session["started_at"] is None or session["overdue"] is not None:
            raise WentWrong(f"{words}; it is {session['state']}, overdue: {session['overdue']}")
        for what, text in {
            "explanation": explanation,
            "page": self._duty.read(f"/sessions/{call.session_id}"),
        }.items():
            if OVERRULED not in text or "Telnyx says that it started" not in text:
                raise WentWrong(f"the {what} of {call.sid} should tell both, and says: {text}")

    def _freeze_database(self) -> None:
        title("The database is frozen: callbacks are kept on disk, and written later")
        self._recorded_call()
        self._press(FREEZE)
        seen = self._until(
            "a callback should be answered 200 while the database takes no writes",
            SEEN_SECONDS,
            lambda seen: seen.answered > seen.shown and "takes no writes" in seen.verdict,
        )
        click.echo(f"  answered 200: {seen.answered}, shown: {seen.shown}")
        kept = seen.answered
        self._press(MEND)
        seen = self._until(
            "what was answered 200 should be shown, and all be well",
            MENDED_SECONDS,
            lambda seen: seen.is_well and seen.answered == seen.shown >= kept,
        )
        click.echo(f"  answered 200: {seen.answered}, shown: {seen.shown}")

    def _kill_recorder(self) -> None:
        title("The recorder dies: calls go on, and are not recorded any longer")
        call = self._recorded_call()
        self._press(KILL)
        seen = self._until(
            f"Now should say within {SEEN_SECONDS} s that {call.sid} is {UNRECORDED}",
            SEEN_SECONDS,
            lambda seen: UNRECORDED in seen.verdict and call.sid in seen.overdue.get(_id(call), ""),
        )
        _require(seen, seen.side == "recorder", "Now should say that it is the recorder's side")
        self._explain(call)
        self._press(MEND)
        self._until("the two numbers should agree", MENDED_SECONDS, lambda seen: seen.answered == seen.shown)
        click.echo(
            "  Of a call whose recording broke off, Telnyx is asked once a minute: until then it is shown."
        )

    def _press(self, button: Button) -> None:
        self._stage.console.add(Line(now(), "you", f"press: {button.name}"))
        headers = {"Sec-Fetch-Site": "same-origin"}
        with requests.Session() as http:
            http.trust_env = False
            answer = http.post(f"{self._page_url}/{button.id}", headers=headers, timeout=ANSWER_SECONDS)
        if not answer.ok:
            raise WentWrong(f"the button {button.name} was answered {answer.status_code}")

    def _recorded_call(self) -> LiveCall:
        """One that is in progress, and whose recording has started, as far as the ledger knows."""
        found: list[LiveCall] = []

        def has_started(_: Seen) -> bool:
            live = self._calls.live()
            found.extend(call for call in live if call.session_id and self._state(call) == "started")
            return bool(found)

        self._until("a live call should be recorded", SEEN_SECONDS, has_started)
        return found[-1]

    def _call_other_than(self, sids: set[str]) -> LiveCall:
        found: list[LiveCall] = []

        def is_taken(_: Seen) -> bool:
            found.extend(call for call in self._calls.live() if call.sid not in sids and call.session_id)
            return bool(found)

        self._until("another call should begin", SEEN_SECONDS, is_taken)
        return found[0]

    def _state(self, call: LiveCall) -> Any:
        return self._stage.service.get(f"/v1/sessions/{call.session_id}")["state"]

    def _explain(self, call: LiveCall) -> str:
        explanation = self._stage.service.get(f"/v1/sessions/{call.session_id}/explain")
        self._stage.console.show()
        sentences = [str(sentence["text"]) for sentence in explanation["sentences"]]
        click.secho(f"  Why {call.sid} is in its state:", dim=True)
        for sentence in sentences:
            click.echo(f"    {sentence}")
        return " ".join(sentences)

    def _until(self, what: str, seconds: float, is_so: Callable[[Seen], bool]) -> Seen:
        """What Now says once it is so. Raises WentWrong, saying `what` should have been."""
        deadline, look_at = time.monotonic() + seconds, 0.0
        while True:
            self._calls.tick()
            self._stage.show()
            if time.monotonic() < look_at:
                continue
            seen = self._look()
            self._say(seen.words)
            if is_so(seen):
                self._stage.console.show()
                return seen
            if time.monotonic() > deadline:
                raise WentWrong(f"{what}; Now says: {seen.words}")
            look_at = time.monotonic() + LOOK_SECONDS

    def _look(self) -> Seen:
        try:
            return self._duty.look()
        except PageFailed as failed:
            self._stage.service.require_running()
            raise WentWrong(str(failed)) from failed

    def _say(self, words: str) -> None:
        if words != self._said:
            self._said = words
            self._stage.console.add(Line(now(), "Now", click.style(words, bold=True)))


def asking(stage: Stage) -> Callable[[str], str | None]:
    """How the app asks to record a live call: again with the same key while the ledger says 503.

    What it is refused, it does not ask for again.
    """

    def ask(call_sid: str) -> str | None:
        order = {
            "call_sid": call_sid,
            "connector_name": "recorder",
            "reference": call_sid.removeprefix("v3:"),
            "labels": LIVE_LABELS,
        }
        answer = stage.say("asks to record", call_sid, "/v1/sessions", order, {"Idempotency-Key": call_sid})
        if answer.status_code == 503:
            return None
        return str(answer.json()["id"]) if answer.ok else ""

    return ask


def _id(call: LiveCall) -> str:
    return str(call.session_id)


def _require(seen: Seen, is_so: bool, what: str) -> None:
    if not is_so:
        raise WentWrong(f"{what}; Now says: {seen.words}")
