"""Clients that mean harm or are merely slow, by the hundred."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Address = tuple[str, int]
HEAD = b"POST /callbacks/siprec/x HTTP/1.1\r\nHost: x\r\n"
DRIP_SECONDS = 0.2

# What a client has sent before it falls silent.
SILENT: dict[str, bytes] = {
    "nothing": b"",
    "half a line": b"POST /callb",
    "half the headers": HEAD,
    "no body": HEAD + b"Content-Length: 1000\r\n\r\n",
    "half a body": HEAD + b"Content-Length: 1000\r\n\r\n" + b"x" * 500,
    "half a chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n3e8\r\n" + b"x" * 500,
}


@contextmanager
def connections(address: Address, count: int, sent: bytes = b"") -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as opened:
        yield [_connected(opened, address, sent) for _ in range(count)]


def _connected(opened: contextlib.ExitStack, address: Address, sent: bytes) -> socket.socket:
    connection = opened.enter_context(socket.create_connection(address, timeout=20))
    connection.sendall(sent)
    return connection


@contextmanager
def dripping(address: Address, count: int) -> Iterator[None]:
    """Clients that send a byte each, again and again, of a request that has no end."""
    letters = itertools.cycle(b"abcdef")

    def drip(open_: list[socket.socket], ended: threading.Event) -> None:
        while not ended.wait(DRIP_SECONDS):
            byte = bytes([next(letters)])
            for connection in open_:
                with contextlib.suppress(OSError):
                    connection.send(byte)

    with connections(address, count, HEAD + b"X: ") as opened, _meanwhile(lambda end: drip(opened, end)):
        yield


@contextmanager
def flooding(address: Address, data: bytes, clients: int = 4) -> Iterator[None]:
    """Clients that send `data` as fast as they can, and begin again when they are hung up on."""

    def flood(ended: threading.Event) -> None:
        while not ended.is_set():
            with contextlib.suppress(OSError), socket.create_connection(address, timeout=2) as connection:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536) and not ended.is_set():
                    pass

    with contextlib.ExitStack() as running:
        for _ in range(clients):
            running.enter_context(_meanwhile(flood))
        yield


@contextmanager
def _meanwhile(do: Callable[[threading.Event], None]) -> Iterator[None]:
    ended = threading.Event()
    thread = threading.Thread(target=do, args=[ended], daemon=True)
    thread.start()
    yield
    ended.set()
    thread.join(20)
