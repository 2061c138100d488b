"""Everything the sandbox knows: calls, sessions, how to behave, and what was asked and sent."""

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from threading import Lock

from nacl.signing import SigningKey

from .behaviour import Answer, Behaviour
from .callbacks import Callback, compose
from .dispatcher import Dispatcher
from .scheduler import Scheduler
from .session_run import SessionRun
from .sessions import Call, CallbackMethod, Session, now
from .signature import Account, Signer
from .traffic import Delivery, Request

LONGEST_HISTORY = 100_000  # of each kind; then the oldest go


class UnknownSession(LookupError):
    """No session has this sid."""


class NoStatusCallback(ValueError):
    """The session was started without a StatusCallback, so nothing can be sent about it."""


class State:
    """What does not need a server. `watch` is called with all traffic, on the thread it happens on."""

    def __init__(
        self,
        signer: Signer,
        accounts: Mapping[str, Account],
        ca_file: Path | None,
        watch: Callable[[Request | Delivery], object],
    ) -> None:
        self._signer = signer
        self._own_signers = {sid: Signer(account.signing_seed) for sid, account in accounts.items()}
        self._ca_file = ca_file
        self._watch = watch
        self._lock = Lock()
        self.scheduler = Scheduler()
        self.forget()

    def forget(self) -> None:
        """Forget all sessions, calls, behaviours and traffic, and drop the callbacks that wait."""
        self.scheduler.close()
        self.scheduler = Scheduler()
        self._requests: deque[Request] = deque(maxlen=LONGEST_HISTORY)
        self._deliveries: deque[Delivery] = deque(maxlen=LONGEST_HISTORY)
        # What is in flight still goes to the old ones.
        reports = (self._deliveries.append, self._watch)
        self._dispatcher = Dispatcher(self.scheduler, self._signer_of, self._ca_file, reports)
        # Each with the answers given since it was put in force; None is for calls without one of their own.
        self._behaviours: dict[str | None, tuple[Behaviour, Counter[tuple[str, str | None]]]] = {}
        self._calls: dict[str, Call] = {}
        self.runs: dict[str, SessionRun] = {}
        self.behave(Behaviour())

    @property
    def public_key(self) -> str:
        """Base64 of the 32 raw bytes, for TELNYX_PUBLIC_KEY."""
        return self._signer.public_key

    def public_key_of(self, account_sid: str) -> str:
        """What this account's callbacks are signed with."""
        return self._signer_of(account_sid).public_key

    def _signer_of(self, account_sid: str | None) -> Signer:
        return self._own_signers.get(account_sid or "", self._signer)

    @property
    def requests(self) -> list[Request]:
        """Every API request so far, those that were refused too; the control API's are none."""
        return list(self._requests)

    @property
    def deliveries(self) -> list[Delivery]:
        """Every attempt so far to deliver a callback."""
        return list(self._deliveries)

    @property
    def sessions(self) -> list[Session]:
        """Every session so far, as it stands now."""
        return [run.session for run in list(self.runs.values())]

    def note(self, request: Request) -> None:
        self._requests.append(request)
        self._watch(request)

    def behave(self, behaviour: Behaviour, call_sid: str | None = None) -> None:
        """Behave like this from the next request on: for one call, or for all that have none of their own."""
        self._behaviours[call_sid] = (behaviour, Counter())

    def behaviour(self, call_sid: str | None = None) -> Behaviour:
        return self._in_force(call_sid)[0]

    def next_answer(self, member: str, call_sid: str | None = None) -> Answer:
        """The answer that is a behaviour's `member`, or once it was given so often as it says, a good one."""
        behaviour, given = self._in_force(call_sid)
        answer: Answer = getattr(behaviour, member)
        with self._lock:
            given[member, call_sid] += 1
            is_over = answer.times is not None and given[member, call_sid] > answer.times
        return Answer() if is_over else answer

    @property
    def is_holding(self) -> bool:
        return not self._dispatcher.is_open.is_set()

    def hold(self) -> None:
        """Deliver no callback of a session from now on; each waits until `release`, or is forgotten."""
        self._dispatcher.is_open.clear()

    def release(self) -> None:
        """Deliver what was held, late, and whatever comes as ever."""
        self._dispatcher.is_open.set()

    def remember(self, call: Call) -> None:
        """Know a call that was before."""
        self._calls[call.sid] = call

    def call(self, call_sid: str) -> Call:
        return self._calls.setdefault(call_sid, Call(call_sid))

    def enter(self, session: Session) -> SessionRun:
        """Take in a session; it does nothing until its run begins."""
        self.call(session.call_sid)
        run = self.runs[session.sid] = SessionRun(session, self.scheduler, self._dispatcher)
        return run

    def begin(
        self, account_sid: str, call_sid: str, status_callback: str | None, method: CallbackMethod = "POST"
    ) -> Session:
        """Begin a session without an API request, as a TeXML document would."""
        session = Session(
            account_sid, call_sid, status_callback=status_callback, status_callback_method=method
        )
        self.enter(session).begin(self.behaviour(call_sid))
        return session

    def end_call(self, call_sid: str) -> list[Session]:
        """Let the call complete: every session that runs on it stops, and is returned."""
        call = self.call(call_sid)
        if call.ended_at is None:
            self._calls[call_sid] = replace(call, ended_at=now())
        return self.break_off(call_sid)

    def break_off(self, call_sid: str) -> list[Session]:
        """Stop every session on the call, which nobody asked for, and return them; the call goes on."""
        runs = [run for run in list(self.runs.values()) if run.session.call_sid == call_sid]
        behaviour = self.behaviour(call_sid)
        return [run.session for run in runs if run.end(behaviour)]

    def send(
        self, session: Session | str, event: str, behaviour: Behaviour | None = None, /, **fields: str | None
    ) -> Delivery:
        """Send one callback now, in this thread, once; the session itself stays as it is.

        `session` is a sid, or a Session of one's own. `event` may be one that Telnyx does not know.
        `fields` replace those of the callback: `Timestamp="nonsense"`, `AccountSid=None`.
        Raises UnknownSession, NoStatusCallback.
        """
        callback = self._compose(session, event, now(), behaviour, fields)
        if callback.url is None:
            raise NoStatusCallback("the session has no StatusCallback")
        return self._dispatcher.send(callback)

    def compose(
        self,
        session: Session | str,
        event: str,
        at: datetime | None = None,
        behaviour: Behaviour | None = None,
        **fields: str | None,
    ) -> bytes:
        """The form that `send` would send, for an event that happened at `at` (default: now)."""
        return self._compose(session, event, at or now(), behaviour, fields).form

    def sign(self, body: bytes, at: datetime | None = None, key: SigningKey | None = None) -> dict[str, str]:
        """The two signature headers for a POST of `body` sent at `at` (default: now)."""
        return self._signer.sign(body, at, key)

    def wait_until_idle(self, timeout_seconds: float) -> bool:
        """Wait until no callback is waiting or in flight; False if that took too long.

        A stop that is due by `duration_seconds` is waiting; a siprec-started held back by the order is not.
        """
        return self.scheduler.wait_until_idle(timeout_seconds)

    def _in_force(self, call_sid: str | None) -> tuple[Behaviour, Counter[tuple[str, str | None]]]:
        return self._behaviours.get(call_sid) or self._behaviours[None]

    def _compose(
        self,
        session: Session | str,
        event: str,
        at: datetime,
        behaviour: Behaviour | None,
        fields: Mapping[str, str | None],
    ) -> Callback:
        if isinstance(session, str):
            if session not in self.runs:
                raise UnknownSession(f"there is no session {session}")
            session = self.runs[session].session
        behaviour = behaviour or self.behaviour(session.call_sid)
        return compose(session, event, at, behaviour.with_fields(fields))
