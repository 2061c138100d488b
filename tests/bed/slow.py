"""Clients that keep a server waiting: they say nothing, half of a request, or a byte now and then."""

import contextlib
import resource
import socket
import threading
import time
from collections.abc import Iterator

SPARE_FILES = 200  # that are open for other reasons
CONNECT_SECONDS = 10
REQUEST = (
    b"POST /callbacks/siprec HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nAccountSid=account-1&"
)


class SlowClients:
    """Connections to one server. Raises OSError where one cannot be made."""

    def __init__(self, address: tuple[str, int], count: int) -> None:
        _allow_files(count)
        self._sockets: list[socket.socket] = []
        try:
            for _ in range(count):
                self._sockets.append(socket.create_connection(address, CONNECT_SECONDS))
        except OSError:
            self.close()
            raise
        for one in self._sockets:
            one.setblocking(False)

    def say(self, text: bytes) -> None:
        """On each, whether or not anybody reads it, or it is still open."""
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.send(text)

    def count_open(self) -> int:
        """How many the server has not closed."""
        return sum(_is_open(one) for one in self._sockets)

    def wait_until_closed(self, seconds: float) -> int:
        """How many are still open after so long, or as soon as none is."""
        give_up = time.monotonic() + seconds
        while (left := self.count_open()) and time.monotonic() < give_up:
            time.sleep(0.05)
        return left

    def answers(self) -> list[bytes]:
        """What the server has said so far, on those where it has said something."""
        said = []
        for one in self._sockets:
            with contextlib.suppress(OSError):
                said.append(one.recv(65536))
        return [text for text in said if text]

    def close(self) -> None:
        for one in self._sockets:
            one.close()


@contextlib.contextmanager
def silent(address: tuple[str, int], count: int) -> Iterator[SlowClients]:
    """They connect, and say nothing."""
    with contextlib.closing(SlowClients(address, count)) as clients:
        yield clients


@contextlib.contextmanager
def half_sent(address: tuple[str, int], count: int, begun: bytes = REQUEST) -> Iterator[SlowClients]:
    """They send `begun`, a request that is not whole, and then nothing."""
    with silent(address, count) as clients:
        clients.say(begun)
        yield clients


@contextlib.contextmanager
def dripping(
    address: tuple[str, int], count: int, request: bytes = REQUEST, every_seconds: float = 0.5
) -> Iterator[SlowClients]:
    """They send `request` byte by byte, all at the same time, and after its end nothing."""
    ended = threading.Event()

    def drip() -> None:
        for byte in request:
            clients.say(bytes([byte]))
            if ended.wait(every_seconds):
                return

    with silent(address, count) as clients:
        dripper = threading.Thread(target=drip)
        dripper.start()
        try:
            yield clients
        finally:
            ended.set()
            dripper.join()


def _is_open(client: socket.socket) -> bool:
    try:
        return client.recv(1, socket.MSG_PEEK) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def _allow_files(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, count + SPARE_FILES) if hard != resource.RLIM_INFINITY else count + SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
