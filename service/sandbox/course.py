"""The course of one session: what happens to it, and in which order callbacks tell of it."""

from dataclasses import replace
from functools import partial
from threading import Lock

from .agenda import Agenda, Entry
from .behaviour import FAILED, STARTED, STOPPED, Behaviour
from .callbacks import Callback, compose
from .courier import Courier, Told
from .sessions import Session, SessionStatus, now


class _Chapter:
    """The beginning or the end of a session: what is told of it, and how far that is."""

    def __init__(self) -> None:
        self.callback: Callback | None = None  # None: it has not happened
        self.listener: Told = lambda: None
        self.is_sent = False
        self.is_told = False


class Course:
    """A session and what becomes of it."""

    def __init__(self, session: Session, agenda: Agenda, courier: Courier) -> None:
        self._session = session
        self._agenda = agenda
        self._courier = courier
        self._lock = Lock()
        self._beginning = _Chapter()
        self._end = _Chapter()
        self._order = "free"
        self._has_begun = False
        self._natural_end: Entry | None = None

    @property
    def session(self) -> Session:
        return self._session

    def begin(self, behaviour: Behaviour, told: Told = lambda: None) -> None:
        """Start the session as `behaviour` says, and call `told` when its first callback is through."""
        self._order = behaviour.order
        self._beginning.listener = told
        self._has_begun = True
        self._agenda.add(behaviour.started_after_seconds, partial(self._start, behaviour))

    def end(self, behaviour: Behaviour) -> bool:
        """Stop the session, whoever asked; False if it was over."""
        with self._lock:
            if self._session.is_over:
                return False
            self._become("stopped")
            if self._natural_end is not None:
                self._agenda.cancel(self._natural_end)
            if self._has_begun:
                self._end.callback = compose(self._session, STOPPED, now(), behaviour)
        self._send_what_may_go()
        return True

    def _start(self, behaviour: Behaviour) -> None:
        has_failed = behaviour.fails is not None
        with self._lock:
            if not self._session.is_over:
                self._become("failed" if has_failed else "running")
            event = FAILED if has_failed else STARTED
            self._beginning.callback = compose(self._session, event, now(), behaviour)
            if behaviour.duration_seconds is not None and not self._session.is_over:
                self._natural_end = self._agenda.add(behaviour.duration_seconds, partial(self.end, behaviour))
        self._send_what_may_go()

    def _become(self, status: SessionStatus) -> None:
        self._session = replace(self._session, status=status, updated_at=now())

    def _send_what_may_go(self) -> None:
        with self._lock:
            ready = [
                (chapter, chapter.callback)
                for chapter in (self._beginning, self._end)
                if chapter.callback is not None and not chapter.is_sent and self._may_go(chapter)
            ]
            for chapter, _ in ready:
                chapter.is_sent = True
        for chapter, callback in ready:
            self._courier.carry(callback, partial(self._was_told, chapter))

    def _may_go(self, chapter: _Chapter) -> bool:
        if self._order == "kept":
            return chapter is self._beginning or self._beginning.is_told
        if self._order == "reversed":
            return chapter is self._end or self._end.is_told
        return True

    def _was_told(self, chapter: _Chapter) -> None:
        chapter.is_told = True
        chapter.listener()
        self._send_what_may_go()
