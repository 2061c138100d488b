"""Everything the sandbox knows: calls, sessions, how to behave, and what has been asked and sent."""

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace
from threading import Lock

from .agenda import Agenda
from .behaviour import Answer, Behaviour
from .callbacks import compose
from .courier import Courier
from .course import Course
from .records import Delivery, Request
from .sessions import Call, Session, now
from .signature import Signer

MOST_RECORDS = 100_000  # of each kind; then the oldest go

Watch = Callable[[Request | Delivery], None]


class UnknownSession(LookupError):
    """No session has this sid."""


class NoStatusCallback(ValueError):
    """The session was started without a StatusCallback, so nothing can be sent about it."""


class Switchboard:
    """One lifetime of the sandbox's knowledge; to forget everything is to take a new one."""

    def __init__(self, signer: Signer, watch: Watch) -> None:
        self.agenda = Agenda()
        self.courier = Courier(self.agenda, signer, self._note_delivery)
        self._watch = watch
        self._lock = Lock()
        self._requests: deque[Request] = deque(maxlen=MOST_RECORDS)
        self._deliveries: deque[Delivery] = deque(maxlen=MOST_RECORDS)
        self._default = Behaviour()
        self._behaviours: dict[str, Behaviour] = {}
        self._answered: Counter[tuple[str, str]] = Counter()
        self._calls: dict[str, Call] = {}
        self._courses: dict[str, Course] = {}

    @property
    def requests(self) -> list[Request]:
        with self._lock:
            return list(self._requests)

    @property
    def deliveries(self) -> list[Delivery]:
        with self._lock:
            return list(self._deliveries)

    @property
    def sessions(self) -> list[Session]:
        with self._lock:
            return [course.session for course in self._courses.values()]

    def note_request(self, request: Request) -> None:
        with self._lock:
            self._requests.append(request)
        self._watch(request)

    def behave(self, behaviour: Behaviour, call_sid: str | None = None) -> None:
        """Behave like this from the next request on. An answer's `times` are counted anew."""
        with self._lock:
            if call_sid is None:
                self._default = behaviour
                kept = {key: count for key, count in self._answered.items() if key[0] in self._behaviours}
            else:
                self._behaviours[call_sid] = behaviour
                kept = {key: count for key, count in self._answered.items() if key[0] != call_sid}
            self._answered = Counter(kept)

    def behaviour(self, call_sid: str | None = None) -> Behaviour:
        with self._lock:
            return self._default if call_sid is None else self._behaviours.get(call_sid, self._default)

    def next_answer(self, answer: Answer, call_sid: str, question: str) -> Answer:
        """`answer`, or once it was given so often as it says, an accepting one."""
        with self._lock:
            self._answered[call_sid, question] += 1
            is_over = answer.times is not None and self._answered[call_sid, question] > answer.times
        return Answer() if is_over else answer

    def call(self, call_sid: str) -> Call:
        with self._lock:
            return self._calls.setdefault(call_sid, Call(call_sid))

    def enter(self, session: Session) -> Course:
        """Take in a session; it does nothing until its course begins."""
        course = Course(session, self.agenda, self.courier)
        with self._lock:
            self._courses[session.sid] = course
        return course

    def begin(self, session: Session) -> Session:
        """Take in a session that nobody asked the API for, and let it begin."""
        self.call(session.call_sid)
        self.enter(session).begin(self.behaviour(session.call_sid))
        return session

    def course(self, sid: str) -> Course:
        """Raises UnknownSession."""
        with self._lock:
            course = self._courses.get(sid)
        if course is None:
            raise UnknownSession(f"there is no session {sid}")
        return course

    def end_call(self, call_sid: str) -> list[Session]:
        """End the call and with it every session that runs on it; these are returned."""
        call = self.call(call_sid)
        with self._lock:
            if call.ended_at is None:
                self._calls[call_sid] = replace(call, ended_at=now())
            courses = [each for each in self._courses.values() if each.session.call_sid == call_sid]
        behaviour = self.behaviour(call_sid)
        return [course.session for course in courses if course.end(behaviour)]

    def send(self, session: Session, event: str, behaviour: Behaviour) -> Delivery:
        """Make one attempt to tell of `event` now. Raises NoStatusCallback."""
        if session.status_callback is None:
            raise NoStatusCallback(f"session {session.sid} has no StatusCallback")
        return self.courier.send(compose(session, event, now(), behaviour))

    def _note_delivery(self, delivery: Delivery) -> None:
        with self._lock:
            self._deliveries.append(delivery)
        self._watch(delivery)
