"""Lines of the log: masked, one per fact, and never in anybody's way."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator

import pytest

from service import logs

MASKED = [
    ("/callbacks/siprec/018f.secret", "/callbacks/***"),
    ("/callbacks/siprec/a b secret", "/callbacks/***"),
    ("/callbacks%2Fsiprec%2Fsecret", "/callbacks/***"),
    ("//callbacks//secret", "//callbacks/***"),
    ("/CALLBACKS/secret", "/CALLBACKS/***"),
    ("GET /callbacks?secret HTTP/1.1", "GET /callbacks/***"),
    ("/callbacks", "/callbacks"),
    ("/v1/sessions/018f/callbacks", "/v1/sessions/018f/callbacks"),
]


@pytest.mark.parametrize(("text", "masked"), MASKED)
def test_what_follows_callbacks_is_masked_to_the_end(text: str, masked: str) -> None:
    assert logs.masked(text) == masked


def test_no_control_character_stands_in_a_line() -> None:
    assert logs.one_line("a\nb\r\x1b[31m\x85\u2028c\td é ☎") == (r"a\x0ab\x0d\x1b[31m\x85\x2028c\x09d é ☎")


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    for end in (reader, writer):
        os.close(end)


def test_lines_are_written_in_their_order_and_a_traceback_is_indented(pipe: tuple[int, int]) -> None:
    writer = logs.Writer(pipe[1])
    handler = logs.Handler(writer)
    logger = logging.getLogger("a.name")
    logger.propagate = False
    logger.addHandler(handler)
    logger.warning("asked for %s", "/callbacks/siprec/secret\n2026-11-22 INFO forged")
    try:
        int("/callbacks/secret\nforged")
    except ValueError:
        logger.exception("it failed")
    writer.flush()
    first, second, *rest = os.read(pipe[0], 65536).decode().splitlines()
    assert first.endswith(" WARNING a.name asked for /callbacks/***\\x0a2026-11-22 INFO forged")
    assert second.endswith(" ERROR a.name it failed")
    assert rest
    assert all(line.startswith("    ") for line in rest)
    assert "secret" not in "".join(rest)


def test_a_reader_that_is_stuck_stops_nobody_and_what_was_dropped_is_counted(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "MOST_WAITING", 100)
    writer = logs.Writer(pipe[1])
    begun = time.monotonic()
    for _ in range(5000):
        writer.write("x" * 1000)
    writer.flush()
    assert time.monotonic() - begun < 5
    read = ""
    while "log lines dropped: count=" not in read:
        read += os.read(pipe[0], 65536).decode()
    assert read.count("x" * 1000) < 500


def test_a_closed_stderr_ends_nothing() -> None:
    reader, end = os.pipe()
    os.close(reader)
    writer = logs.Writer(end)
    writer.write("to nobody")
    writer.flush()
    os.close(end)


def test_a_child_process_writes_too() -> None:
    reader, end = os.pipe()
    writer = logs.Writer(end)
    writer.write("from the parent")
    writer.flush()
    child = os.posix_spawn(  # a fork in this process, with pytest's threads, would not be the test's subject
        sys.executable,
        [sys.executable, "-c", FORKED],
        {"PYTHONPATH": os.pathsep.join(sys.path)},
        file_actions=[(os.POSIX_SPAWN_DUP2, end, 2)],
    )
    os.waitpid(child, 0)
    os.close(end)
    with os.fdopen(reader) as lines:
        assert lines.read().splitlines() == ["from the parent", "from a parent", "from a child", "at the end"]


FORKED = """
import os
from service import logs
logs.WRITER.write("from a parent")
logs.WRITER.flush()
child = os.fork()
if child == 0:
    logs.WRITER.write("from a child")
    raise SystemExit
os.waitpid(child, 0)
logs.WRITER.write("at the end")
"""
