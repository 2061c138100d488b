"""Clients that never finish: silent, or stuck in the headers or the body, or dripping.

    python -m tests.bench.slow_clients PORT COUNT

Says "there" when all have connected, holds on until its standard input ends, then says how many stood on
average. A connection that the server closes is made again.
"""

from __future__ import annotations

import selectors
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

HEAD = b"POST /callbacks/siprec/slow HTTP/1.1\r\nHost: 127.0.0.1\r\n"
BEGINNINGS = (
    b"",
    HEAD,
    HEAD + b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 200\r\n\r\nAccountSid=",
    HEAD + b"X-Drip: ",
)
DRIPS = 3  # which of them goes on, a byte at a time
TICK_SECONDS = 0.5
CONNECT_SECONDS = 0.5


class Clients:
    """`count` of them, a quarter of each kind."""

    def __init__(self, port: int, count: int) -> None:
        self._address = ("127.0.0.1", port)
        self._selector = selectors.DefaultSelector()
        self._waiting = list(range(count))  # those that have yet to connect
        self._open: dict[socket.socket, int] = {}
        self._connect()

    def run(self, orders: int) -> Iterator[int]:
        """Until `orders` can be read; yields how many stand, at each tick."""
        watch = selectors.DefaultSelector()
        watch.register(orders, selectors.EVENT_READ)
        while not watch.select(0):
            self._wait(TICK_SECONDS)
            yield len(self._open)
            self._drip()
            self._connect()

    def _connect(self) -> None:
        with suppress(OSError):  # it takes no more just now: again at the next tick
            while self._waiting:
                client = socket.create_connection(self._address, timeout=CONNECT_SECONDS)
                number = self._waiting.pop()
                client.sendall(BEGINNINGS[number % len(BEGINNINGS)])
                client.setblocking(False)
                self._open[client] = number
                self._selector.register(client, selectors.EVENT_READ)

    def _wait(self, seconds: float) -> None:
        """And see meanwhile who is thrown out."""
        give_up = time.monotonic() + seconds
        while (left := give_up - time.monotonic()) > 0:
            for key, _ in self._selector.select(left):
                client = key.fileobj
                assert isinstance(client, socket.socket)
                if _is_closed(client):
                    self._selector.unregister(client)
                    self._waiting.append(self._open.pop(client))
                    client.close()

    def _drip(self) -> None:
        for client, number in self._open.items():
            if number % len(BEGINNINGS) == DRIPS:
                with suppress(OSError):  # closed: it will show
                    client.send(b"x")


def _is_closed(client: socket.socket) -> bool:
    try:
        return not client.recv(4096)  # if it is told 408 before, the end comes a moment later
    except BlockingIOError:
        return False
    except OSError:
        return True


def main() -> None:
    clients = Clients(int(sys.argv[1]), int(sys.argv[2]))
    print("there", flush=True)
    stood = list(clients.run(sys.stdin.fileno()))
    print(sum(stood) / len(stood) if stood else 0)


if __name__ == "__main__":
    main()
