"""Ports of 127.0.0.1 that stay ours, whether or not somebody listens there."""

import contextlib
import random
import socket


class NoPort(Exception):
    """A hundred ports were taken."""


def some() -> socket.socket:
    """A socket on a free port below those that the kernel gives to outgoing connections.

    Never listened to, it only keeps others off the port. One of these connections could take the port while
    nobody listens there, and then whoever shall listen could not come back.
    """
    for port in random.sample(range(20_000, 32_000), 100):
        with contextlib.suppress(OSError):
            return at(("127.0.0.1", port))
    raise NoPort


def at(address: tuple[str, int]) -> socket.socket:
    """Raises OSError while another socket listens there."""
    place = socket.socket()
    try:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        place.bind(address)
    except OSError:
        place.close()
        raise
    return place
