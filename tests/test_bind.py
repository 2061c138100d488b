"""Where the inside listens: how it is written, and that its socket is told from every other."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.bind import LONGEST_PATH, Bind

WRONG = [
    "",
    "8001",
    ":8001",
    "127.0.0.1",
    "127.0.0.1:",
    "127.0.0.1:http",
    "127.0.0.1:0",
    "127.0.0.1:65536",
    "127.0.0.1:8001 ",
    "127.0.0.1:-1",
    "127.1:8001",
    "ledger.internal:8001",
    "::1:8001",
    "[::1]",
    "[127.0.0.1]:8001",
    "[fe80::1%eth0]:8001",
    "[]:8001",
    "unix:",
    "unix:run/ledger",
    "unix://run/ledger",
    f"unix:/{'x' * LONGEST_PATH}",
    "/run/ledger",
    "fd://3",
    "http://127.0.0.1:8001",
]


@pytest.mark.parametrize("text", WRONG)
def test_what_names_no_place_to_listen_at_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must "):
        Bind.read(text)


@pytest.mark.parametrize(
    ("text", "bound", "url"),
    [
        ("127.0.0.1:8001", "127.0.0.1:8001", "http://127.0.0.1:8001"),
        ("localhost:8001", "127.0.0.1:8001", "http://127.0.0.1:8001"),
        ("[0:0::1]:8001", "[::1]:8001", "http://[::1]:8001"),
        ("0.0.0.0:8001", "0.0.0.0:8001", "/"),
        ("[::]:8001", "[::]:8001", "/"),
        ("unix:/run/ledger/inside", "unix:/run/ledger/inside", "/"),
    ],
)
def test_it_is_written_for_gunicorn_and_for_apps(text: str, bound: str, url: str) -> None:
    assert (str(Bind.read(text)), Bind.read(text).url) == (bound, url)


@given(st.ip_addresses(v=4), st.ip_addresses(v=4), st.integers(1, 65535), st.integers(1, 65535))
def test_only_the_same_address_and_port_are_its_own(
    mine: object, other: object, port: int, next_to: int
) -> None:
    bind = Bind.read(f"{mine}:{port}")
    assert bind.is_name_of((str(mine), port))
    assert bind.is_name_of((str(other), port)) == (mine == other)
    assert bind.is_name_of((str(mine), next_to)) == (port == next_to)
    assert not bind.is_name_of("/run/ledger")


@given(st.ip_addresses(v=6), st.integers(1, 65535))
def test_an_ipv6_address_is_recognised_in_every_writing(address: object, port: int) -> None:
    bind = Bind.read(f"[{address}]:{port}")
    assert bind.is_name_of((str(address), port, 0, 0))
    assert Bind.read(str(bind)) == bind


def test_real_sockets_are_recognised(tmp_path: Path) -> None:
    path = f"{tmp_path}/s"[-LONGEST_PATH:]
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(path)
        port = tcp.getsockname()[1]
        by_tcp, by_unix = Bind.read(f"localhost:{port}"), Bind.read(f"unix:{path}")
        names = [tcp.getsockname(), unix.getsockname()]
        assert [by_tcp.is_name_of(name) for name in names] == [True, False]
        assert [by_unix.is_name_of(name) for name in names] == [False, True]
        assert not by_unix.is_name_of("")  # of a socket that has no name


@pytest.mark.parametrize(
    ("inside", "host", "port", "overlaps"),
    [
        ("127.0.0.1:8000", "0.0.0.0", 8000, True),
        ("127.0.0.1:8000", "::", 8000, True),
        ("0.0.0.0:8000", "10.0.0.1", 8000, True),
        ("127.0.0.1:8000", "127.0.0.1", 8000, True),
        ("127.0.0.1:8000", "some.host", 8000, True),
        ("127.0.0.1:8000", "10.0.0.1", 8000, False),
        ("127.0.0.1:8001", "127.0.0.1", 8000, False),
        ("[::1]:8000", "127.0.0.1", 8000, False),
        ("unix:/run/ledger", "0.0.0.0", 8000, False),
    ],
)
def test_what_may_be_the_outside_too_is_known(inside: str, host: str, port: int, overlaps: bool) -> None:
    assert Bind.read(inside).overlaps(host, port) is overlaps
