"""The connections of a process: how many, how slow and how large they may be, and how they end."""

from __future__ import annotations

import asyncio
import logging
import resource
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from service.log_lines import fact

RECEIVE_SECONDS: Final = 10.0  # for the headers of a request, and as much again for its body
SEND_SECONDS: Final = 10.0  # for the next LEAST_READ bytes of an answer
END_SECONDS: Final = 1.0  # for requests that are incomplete when the process ends
END_SEND_SECONDS: Final = 5.0  # for answers that are not read by then
SWEEP_SECONDS: Final = 0.25
TURN_SECONDS: Final = 0.003  # for parsing, in one round of the event loop
LOG_SECONDS: Final = 10.0

LEAST_READ: Final = 64 * 1024
MOST_BODIES: Final = 64 * 1024 * 1024  # bytes, received or worked on
MOST_UNREAD: Final = 64 * 1024 * 1024  # bytes of answers
MOST_CONNECTIONS: Final = 4096
SPARE_DESCRIPTORS: Final = 256  # for databases, spool and files

log = logging.getLogger(__name__)


class Peer(Protocol):
    """What the traffic asks of a connection."""

    def time_out(self) -> None:
        """What it sends is not complete in time."""

    def abort(self) -> None:
        """Close it at once, and release what it holds of an incomplete request."""

    def held(self) -> int:
        """Bytes of the body of an incomplete request."""

    def unread(self) -> int:
        """Bytes that wait to be sent."""


class Traffic:
    """Made on the event loop that serves; everything is called there.

    A connection is in `receiving` while a request of it is incomplete, in `idle` while it has been answered
    and kept alive, with the time since when; in neither while we work, and in `postponed` while we answer
    later than we could, or wait for it to read why it is hung up on. Those that have waited longest come
    first, because a dict keeps the order of insertion.
    """

    def __init__(self, most_connections: int | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._most = most_connections or _most_connections()
        self._count = 0
        self._receiving: dict[Peer, float] = {}
        self._idle: dict[Peer, float] = {}
        self._postponed: dict[Peer, None] = {}  # whose answer or end is delayed on purpose
        self._bodies = 0
        self._sending: dict[Peer, tuple[float, int]] = {}  # since when, and how much was unread then
        self._unread = 0
        self._refused: Counter[str] = Counter()  # why, since it was last logged
        self._logged_at = self._loop.time() - LOG_SECONDS
        self._ended_at: float | None = None
        self._endings: list[Callable[[], None]] = []
        self._turn_until: float | None = None
        self._turns: deque[Callable[[], None]] = deque()
        self._loop.call_later(SWEEP_SECONDS, self._sweep)

    @property
    def is_ending(self) -> bool:
        """Nothing new is accepted, and every answer closes its connection."""
        return self._ended_at is not None

    @property
    def most_waiting(self) -> int:
        """Requests that may wait for what is not there yet; the other connections are for everybody else."""
        return self._most // 2

    def when_ending(self, do: Callable[[], None]) -> None:
        self._endings.append(do)

    def end(self) -> None:
        if self._ended_at is None:
            self._ended_at = self._loop.time()
            for do in self._endings:
                do()

    def opened(self, peer: Peer) -> None:
        self._count += 1
        self.receives(peer)
        if self._count > self._most:
            self._make_room()

    def closed(self, peer: Peer) -> None:
        self._count -= 1
        self.received(peer)
        self.reads(peer)
        self._postponed.pop(peer, None)

    def receives(self, peer: Peer) -> None:
        """Its next RECEIVE_SECONDS begin."""
        self._idle.pop(peer, None)
        self._receiving.pop(peer, None)
        self._receiving[peer] = self._loop.time()

    def received(self, peer: Peer) -> None:
        """Nothing of it is incomplete."""
        self._idle.pop(peer, None)
        self._receiving.pop(peer, None)

    def rests(self, peer: Peer) -> None:
        """It is answered, and may ask again."""
        self._idle[peer] = self._loop.time()

    def postpones(self, peer: Peer) -> None:
        """It is answered or closed later than it could be, and closed at once if its room is needed."""
        self._postponed[peer] = None

    def hold(self, peer: Peer, size: int) -> bool:
        """Whether so many bytes more of its request fit. Those that are incomplete for longest make room."""
        if self._bodies + size > MOST_BODIES:
            for other in [other for other in self._receiving if other is not peer and other.held()]:
                self._drop(other, "too much at once")
                if self._bodies + size <= MOST_BODIES:
                    break
            else:
                self.count("too much at once")
                return False
        self._bodies += size
        return True

    def release(self, size: int) -> None:
        self._bodies -= size

    def is_stuck(self, peer: Peer) -> None:
        """Its peer does not read as fast as we send."""
        self._sending[peer] = self._loop.time(), peer.unread()
        self._unread += self._sending[peer][1]
        while self._unread > MOST_UNREAD and len(self._sending) > 1:
            self._drop(next(iter(self._sending)), "too much unread")

    def reads(self, peer: Peer) -> None:
        _, size = self._sending.pop(peer, (0, 0))
        self._unread -= size

    def has_time(self) -> bool:
        """Whether another piece may be parsed in this round of the loop. If not, ask for a `turn`."""
        now = time.monotonic()
        if self._turn_until is None:
            self._turn_until = now + TURN_SECONDS
            self._loop.call_soon(self._next_round)
        return now < self._turn_until

    def turn(self, parse: Callable[[], None]) -> None:
        """Call it when it has time, after those that asked before."""
        self._turns.append(parse)

    def _next_round(self) -> None:
        self._turn_until = None
        while self._turns and self.has_time():
            self._turns.popleft()()

    def count(self, reason: str) -> None:
        """One more was closed or refused. They are told together: a flood must not flood the log."""
        self._refused[reason] += 1

    def _make_room(self) -> None:
        """Close whose answer or end is postponed, or who kept us waiting longest; nobody whom we work for."""
        if self._postponed:
            self._drop(next(iter(self._postponed)), "too many connections")
            return
        oldest = [next(iter(where.items())) for where in (self._idle, self._receiving) if where]
        if oldest:
            peer, _ = min(oldest, key=lambda waiting: waiting[1])
            self._drop(peer, "too many connections")

    def _drop(self, peer: Peer, reason: str) -> None:
        self.received(peer)
        self.reads(peer)
        self._postponed.pop(peer, None)
        self.count(reason)
        peer.abort()

    def _sweep(self) -> None:
        self._loop.call_later(SWEEP_SECONDS, self._sweep)  # first, or an error here would end all time limits
        now = self._loop.time()
        self._end_waiting(self._receiving, now - RECEIVE_SECONDS, "too slow a request")
        self._end_sending(now)
        if self._ended_at is not None and now > self._ended_at + END_SECONDS:
            self._end_waiting(self._receiving, now, "incomplete at the end")
            self._end_waiting(self._idle, now, "idle at the end")
        if self._refused and now > self._logged_at + LOG_SECONDS:
            self._logged_at = now
            self.tell()

    def _end_waiting(self, waiting: dict[Peer, float], limit: float, reason: str) -> None:
        while waiting:
            peer, since = next(iter(waiting.items()))
            if since > limit:
                return
            self.received(peer)
            self.count(reason)
            with _sparing_others():
                peer.time_out()

    def _end_sending(self, now: float) -> None:
        is_late = self._ended_at is not None and now > self._ended_at + END_SEND_SECONDS
        for peer, (since, size) in list(self._sending.items()):
            if since > now - SEND_SECONDS and not is_late:
                return
            with _sparing_others():
                self._end_slow(peer, size, is_late=is_late)

    def _end_slow(self, peer: Peer, size: int, *, is_late: bool) -> None:
        if is_late:
            self._drop(peer, "unread at the end")
        elif peer.unread() > size - LEAST_READ:
            self._drop(peer, "too slow a reader")
        else:
            self.reads(peer)
            self.is_stuck(peer)

    def tell(self) -> None:
        """Log what was closed or refused since the last time."""
        if self._refused:
            counts = ", ".join(f"{reason}: {count}" for reason, count in sorted(self._refused.items()))
            log.warning("connections closed or refused: %s", counts, extra=fact())  # it counts already
            self._refused.clear()


@contextmanager
def _sparing_others() -> Iterator[None]:
    """An error of one peer must not keep the others from being swept."""
    try:
        yield
    except Exception:
        log.exception("connection could not be closed, going on with the others")


def _most_connections() -> int:
    """As many as there are descriptors for, after asking for more of them."""
    wanted = MOST_CONNECTIONS + SPARE_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return MOST_CONNECTIONS
    soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(SPARE_DESCRIPTORS, soft - SPARE_DESCRIPTORS)
