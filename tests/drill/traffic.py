"""Sends what is planned, as many at once as Telnyx might, and writes down what was answered."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.drill.callback import Callback, Signer
from tests.drill.http import Line, NoAnswer
from tests.drill.plan import Delivery

SENDERS, SENDERS_WHEN_SLOW = 24, 8
SLOW_RATE = 100  # below it so many senders would let their connections idle until the service closes them
ATTEMPTS = 3  # Telnyx's
BACKOFF_SECONDS = 0.2
DRIP_SECONDS = 0.02  # between two bytes of a slow sender
SPARE = 20  # one in so many is held back
SPARING_SECONDS = 0.05
IN_FLIGHT_SECONDS = 0.5  # what was sent so long ago has surely reached the service


@dataclass(frozen=True)
class Sent:
    """One genuine delivery; `status` None: there was no answer, as we gave up or the line broke."""

    at: float  # monotonic
    status: int | None
    seconds: float
    is_broken: bool


@dataclass
class Log:
    """All that was sent in one part of the drill."""

    callbacks: dict[int, Callback] = field(default_factory=dict)  # by identity
    sent: list[Sent] = field(default_factory=list)
    cut_off: list[str] = field(default_factory=list)  # in flight at a SIGTERM, and never answered

    def note(self, callback: Callback) -> None:
        self.callbacks[id(callback)] = callback

    def between(self, begin: float, end: float) -> list[Sent]:
        return [one for one in self.sent if begin <= one.at < end]

    @property
    def genuine(self) -> list[Callback]:
        return [one for one in self.callbacks.values() if not one.is_forged]

    @property
    def forged(self) -> list[Callback]:
        return [one for one in self.callbacks.values() if one.is_forged]


class Traffic:
    """A queue of deliveries and those who send them, `rate` per second at most until `hurry`.

    The last of them are sparingly sent until then, so that something comes as long as something is broken.
    """

    def __init__(self, port: int, signer: Signer, rate: float) -> None:
        self.log = Log()
        self._port = port
        self._signer = signer
        self._queue: deque[Delivery] = deque()
        self._interval = 1 / rate
        self._senders = SENDERS if rate >= SLOW_RATE else SENDERS_WHEN_SLOW
        self._spare = 0
        self._hurries = False
        self._turn_at = 0.0
        self._in_flight: dict[int, float] = {}  # delivery -> since when
        self._watched: set[int] = set()
        self._open = asyncio.Event()
        self._open.set()

    def add(self, deliveries: Iterable[Delivery]) -> None:
        for delivery in deliveries:
            self.log.note(delivery.callback)
            self._queue.append(delivery)
        self._spare = len(self._queue) // SPARE

    @property
    def is_sparing(self) -> bool:
        return len(self._queue) <= self._spare

    def hurry(self) -> None:
        """From now on as fast as it is answered."""
        self._hurries = True

    async def send_all(self, until: float) -> int:
        """Returns when the queue is empty, or at `until` (monotonic). How many were left unsent."""
        self._turn_at = time.monotonic()
        senders = [asyncio.create_task(self._send_many(until)) for _ in range(self._senders)]
        try:
            await asyncio.gather(*senders)
        finally:
            for sender in senders:
                sender.cancel()
            await asyncio.gather(*senders, return_exceptions=True)
        return len(self._queue)

    async def pause(self) -> None:
        """Returns when nothing is in flight; nothing more is sent until `resume`."""
        self._open.clear()
        while self._in_flight:
            await asyncio.sleep(0.01)

    def resume(self) -> None:
        self._open.set()

    def watch_in_flight(self) -> None:
        """From what has been sent a while ago, an answer is now expected, or no answer; not a broken line."""
        now = time.monotonic()
        self._watched = {one for one, since in self._in_flight.items() if now - since > IN_FLIGHT_SECONDS}

    async def drip(self, callback: Callback, *, is_whole: bool) -> None:
        """Send it byte by byte; or stop halfway and hang up."""
        request = self._signer.request(callback, last=True)
        head, split, body = request.partition(b"\r\n\r\n")
        line = Line(self._port)
        self.log.note(callback)
        if is_whole:
            callback.sent += 1
        try:
            async with asyncio.timeout(60):
                reader, writer = await line.open()
                writer.write(head + split)
                for byte in body if is_whole else body[: len(body) // 2]:
                    writer.write(bytes([byte]))
                    await writer.drain()
                    await asyncio.sleep(DRIP_SECONDS)
                if is_whole:
                    answer = await line.read(reader)
                    callback.answer(answer.status, answer.seconds)
        except (OSError, EOFError, ValueError):
            callback.answers.append(None)
        finally:
            line.close()

    async def _send_many(self, until: float) -> None:
        line = Line(self._port)
        try:
            while self._queue and time.monotonic() < until:
                await self._open.wait()
                await self._wait_for_turn()
                if self._queue:
                    await self._deliver(self._queue.popleft(), line)
        finally:
            line.close()

    async def _wait_for_turn(self) -> None:
        now = time.monotonic()
        self._turn_at = max(self._turn_at + self._pace(), now - 1)  # what was missed is not made good at once
        if self._turn_at > now:
            await asyncio.sleep(self._turn_at - now)

    def _pace(self) -> float:
        if self._hurries:
            return 0.0
        return max(self._interval, SPARING_SECONDS) if self.is_sparing else self._interval

    async def _deliver(self, delivery: Delivery, line: Line) -> None:
        """As Telnyx does: once more, signed anew, where there was no answer or 5xx."""
        for attempt in range(ATTEMPTS):
            await self._open.wait()
            status = await self._send(delivery, line)
            if status is not None and status < 500:
                return
            await asyncio.sleep(BACKOFF_SECONDS * 2**attempt)

    async def _send(self, delivery: Delivery, line: Line) -> int | None:
        callback = delivery.callback
        fresh = delivery.on_fresh_connection
        if fresh:
            line.close()
        request = self._signer.request(callback, delivery.skew_seconds, delivery.forgery, last=fresh)
        callback.sent += 1
        began = self._in_flight[id(delivery)] = time.monotonic()
        status, is_broken = None, False
        try:
            answer = await line.ask(request, delivery.patience_seconds)
            status = answer.status
            callback.answer(status, answer.seconds)
        except NoAnswer as trouble:
            callback.answers.append(None)
            is_broken = not trouble.is_late
            if id(delivery) in self._watched and is_broken:
                self.log.cut_off.append(f"the line broke under what was in flight at a SIGTERM: {callback}")
        finally:
            del self._in_flight[id(delivery)]
            self._watched.discard(id(delivery))
        if not callback.is_forged:
            self.log.sent.append(Sent(began, status, time.monotonic() - began, is_broken))
        return status
