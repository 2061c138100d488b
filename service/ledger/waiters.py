"""Readers that wait for events, on the event loop: none of them holds a thread or a connection."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from service.domain.access import Access
from service.store.feed import Head, Wanted

GATHER_SECONDS: Final = 0.25  # between two wakings of who waits for more than one session

Woken = asyncio.Future[bool]  # True: something came; False: nothing will


class TooManyWait(Exception):
    """As many as may wait already."""


class ReaderLeft(Exception):
    """Its connection is gone."""


@dataclass(frozen=True)
class Interest:
    """What a reader waits for: an event that fits and that it may see, after what it has seen."""

    wanted: Wanted
    access: Access
    after: int  # position


class Waiters:
    """Belongs to the loop; whoever reads the events (`workers.tail`) asks for `told`, and calls `tell` there.

    Those that wait for one session are woken when it changes, at once. The others, whom any event may
    concern, are woken together, and not more often than every GATHER_SECONDS.
    """

    def __init__(self) -> None:
        self._most = 0
        self._count = 0
        self._of_session: dict[str, set[Woken]] = {}
        self._others: dict[tuple[Wanted, Access], set[Woken]] = {}
        self._due: set[Woken] = set()
        self._is_gathering = False
        self._woke_at = 0.0  # monotonic; when the others were woken last
        self._has_ended = False
        self.told: int | None = None  # the position up to which all are told; None: nobody waits

    def open(self, most: int) -> None:
        """From now on so many may wait."""
        self._most = most

    async def wait(self, interest: Interest, seconds: float, leave: Callable[[], Awaitable[object]]) -> bool:
        """Whether something has come of what it waits for: then it is to look again.

        It may have come between its last look and now. Raises TooManyWait, and ReaderLeft if `leave` ends.
        """
        if self._has_ended or seconds <= 0:
            return False
        if self.told is None:
            self.told = interest.after
        elif interest.after < self.told:
            return True
        if self._count >= self._most:
            raise TooManyWait
        woken: Woken = asyncio.get_running_loop().create_future()
        left = asyncio.ensure_future(leave())
        left.add_done_callback(lambda _: _give_up(woken))
        self._add(interest, woken)
        try:
            async with asyncio.timeout(seconds):
                return await woken
        except TimeoutError:
            return False
        finally:
            left.cancel()
            self._remove(interest, woken)

    def tell(self, after: int, heads: Sequence[Head]) -> None:
        """All that was numbered after that position, in order."""
        if self.told is None or after > self.told:  # asked for by others, who are gone
            return
        new = [head for head in heads if head.position > self.told]
        if not new:
            return
        self.told = new[-1].position
        for session_id in {head.subject_id for head in new if head.is_of_session}:
            _wake(self._of_session.get(session_id, ()))
        for (wanted, access), waiting in self._others.items():
            if any(wanted.lets_through(head, access) for head in new):
                self._due |= waiting
        if self._due and not self._is_gathering:
            self._is_gathering = True
            seconds = self._woke_at + GATHER_SECONDS - time.monotonic()
            asyncio.get_running_loop().call_later(max(0.0, seconds), self._wake_due)

    def end(self) -> None:
        """Everybody is answered what there is, and nobody waits any more."""
        self._has_ended = True
        for waiting in (*self._of_session.values(), *self._others.values()):
            _wake(waiting, something=False)

    def _wake_due(self) -> None:
        self._is_gathering, self._woke_at = False, time.monotonic()
        due, self._due = self._due, set()
        _wake(due)

    def _add(self, interest: Interest, woken: Woken) -> None:
        self._count += 1
        groups, key = self._groups(interest)
        groups.setdefault(key, set()).add(woken)

    def _remove(self, interest: Interest, woken: Woken) -> None:
        self._count -= 1
        self._due.discard(woken)
        groups, key = self._groups(interest)
        groups[key].discard(woken)
        if not groups[key]:
            del groups[key]
        if self._count == 0:
            self.told = None

    def _groups(self, interest: Interest) -> tuple[dict[Any, set[Woken]], Any]:
        """Where it waits, and under which key."""
        session_id = interest.wanted.session_id
        if session_id is not None:
            return self._of_session, session_id
        return self._others, (interest.wanted, interest.access)


def _wake(waiting: Iterable[Woken], *, something: bool = True) -> None:
    for woken in waiting:
        if not woken.done():
            woken.set_result(something)


def _give_up(woken: Woken) -> None:
    if not woken.done():
        woken.set_exception(ReaderLeft())
