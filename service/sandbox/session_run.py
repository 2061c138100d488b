"""The run of one session: what happens to it, and in which order callbacks tell of it."""

from dataclasses import replace
from functools import partial
from threading import Lock, Timer

from .behaviour import FAILED, STARTED, STOPPED, Behaviour, CallbackOrder
from .callbacks import Callback, compose
from .dispatcher import Dispatcher
from .scheduler import Scheduler
from .sessions import Session, SessionStatus, now

BEGINNING, END = "beginning", "end"
# Whose callback has to be through before another's is sent.
BLOCKED_BY: dict[CallbackOrder, dict[str, str]] = {
    "kept": {END: BEGINNING},
    "reversed": {BEGINNING: END},
    "free": {},
}


class SessionRun:
    """A session and what becomes of it."""

    def __init__(self, session: Session, scheduler: Scheduler, dispatcher: Dispatcher) -> None:
        self.session = session
        self._scheduler = scheduler
        self._dispatcher = dispatcher
        self._lock = Lock()
        self._order: CallbackOrder | None = None  # None: it never begins
        self._unsent: dict[str, Callback] = {}
        self._sent: set[str] = set()
        self._natural_end: Timer | None = None

    @property
    def is_announced(self) -> bool:
        """Whether the callback of its beginning was delivered, dropped or given up."""
        return BEGINNING in self._sent

    def begin(self, behaviour: Behaviour) -> None:
        """Let the session start as `behaviour` says."""
        self._order = behaviour.order
        if behaviour.started_after_seconds == 0:
            self._start(behaviour)
        else:
            self._scheduler.add(behaviour.started_after_seconds, partial(self._start, behaviour))

    def end(self, behaviour: Behaviour) -> bool:
        """Stop the session, whoever asked; False if it was over."""
        with self._lock:
            if self.session.is_over:
                return False
            self._become("stopped")
            if self._order is not None:
                self._unsent[END] = compose(self.session, STOPPED, now(), behaviour)
        self._send()
        if self._natural_end is not None:
            self._scheduler.cancel(self._natural_end)
        return True

    def _start(self, behaviour: Behaviour) -> None:
        event = STARTED if behaviour.fails is None else FAILED
        with self._lock:
            if not self.session.is_over:
                self._become("running" if event == STARTED else "failed")
            self._unsent[BEGINNING] = compose(self.session, event, now(), behaviour)
            if behaviour.duration_seconds is not None and not self.session.is_over:
                self._natural_end = self._scheduler.add(
                    behaviour.duration_seconds, partial(self.end, behaviour)
                )
        self._send()

    def _become(self, status: SessionStatus) -> None:
        self.session = replace(self.session, status=status, updated_at=now())

    def _send(self) -> None:
        """Send what nothing blocks."""
        with self._lock:
            blocked_by = BLOCKED_BY[self._order or "free"]
            free = [each for each in self._unsent if blocked_by.get(each) in (None, *self._sent)]
            callbacks = {each: self._unsent.pop(each) for each in free}
        for each, callback in callbacks.items():
            if callback.url is None or callback.event in callback.behaviour.drop:
                self._note_sent(each)
            else:
                self._scheduler.add(0, partial(self._deliver, each, callback))

    def _deliver(self, which: str, callback: Callback) -> None:
        self._dispatcher.deliver(callback)
        self._note_sent(which)

    def _note_sent(self, which: str) -> None:
        with self._lock:
            self._sent.add(which)
        self._send()
