"""Lines of the log: masked, one per fact, and never in anybody's way."""

from __future__ import annotations

import json
import logging
import os
import select
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from service import log_lines, logs
from service.log_flood import MINUTE, Flood
from service.log_lines import JsonFormatter, fact, fields

MASKED = [
    ("/callbacks/siprec/018f.secret", "/callbacks/***"),
    ("/callbacks/siprec/a b secret", "/callbacks/***"),
    ("/callbacks%2Fsiprec%2Fsecret", "/callbacks/***"),
    ("//callbacks//secret", "//callbacks/***"),
    ("/CALLBACKS/secret", "/CALLBACKS/***"),
    ("GET /callbacks?secret HTTP/1.1", "GET /callbacks/***"),
    ("/callbacks", "/callbacks"),
    ("/v1/sessions/018f/callbacks", "/v1/sessions/018f/callbacks"),
    ("key slk_0123_abc-d is", "key slk_*** is"),
    ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
    ("postgresql://ledger:secret@db/ledger", "postgresql://ledger:***@db/ledger"),
    ("whsec_abc/+d= it is", "whsec_*** it is"),
    ("call of +4930123456 failed", "call of ***56 failed"),
    ("+1 (415) 555-0100", "***00"),
    ("%2B4930123456", "***56"),
    ("sip:14155550100@example.com", "***00@example.com"),
    ("number 14155550100.", "number ***00."),
    ("018f3c1e-1234-7890-1234-123456789012", "018f3c1e-1234-7890-1234-123456789012"),
    ("v3:12345678901", "v3:12345678901"),
    ("2026-11-28T10:54:05.682123Z", "2026-11-28T10:54:05.682123Z"),
    ("took 0.1234567890123 s", "took 0.1234567890123 s"),
]


@pytest.mark.parametrize(("text", "masked"), MASKED)
def test_secrets_and_phone_numbers_are_masked_and_ids_are_not(text: str, masked: str) -> None:
    assert log_lines.masked(text) == masked


def test_no_control_character_stands_in_a_line() -> None:
    assert log_lines.one_line("a\nb\r\x1b[31m\x85\u2028c\td é ☎") == (
        r"a\x0ab\x0d\x1b[31m\x85\x2028c\x09d é ☎"
    )


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
    while "log lines dropped count=" not in read:
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
from service import log_lines, logs
from service.log_flood import MINUTE, Flood
from service.log_lines import JsonFormatter, fact, fields
logs.WRITER.write("from a parent")
logs.WRITER.flush()
child = os.fork()
if child == 0:
    logs.WRITER.write("from a child")
    raise SystemExit
os.waitpid(child, 0)
logs.WRITER.write("at the end")
"""


Pipe = tuple[int, int]


@pytest.fixture
def logger(pipe: Pipe) -> logging.Logger:
    """Writes to the pipe."""
    found = logging.getLogger(f"test.{time.time_ns()}")
    found.setLevel(logging.INFO)
    found.propagate = False
    found.addHandler(logs.Handler(logs.Writer(pipe[1])))
    return found


def writer_of(logger: logging.Logger) -> logs.Writer:
    (handler,) = (one for one in logger.handlers if isinstance(one, logs.Handler))  # pytest has its own
    return handler._writer


def read(logger: logging.Logger, pipe: Pipe) -> list[str]:
    writer_of(logger).flush()
    assert select.select([pipe[0]], [], [], 5)[0]
    return os.read(pipe[0], 1 << 16).decode().splitlines()


def test_what_an_app_gives_for_an_id_is_masked_but_not_an_id(logger: logging.Logger, pipe: Pipe) -> None:
    key = "slk_0a1b_secret"
    given = (key, f"Bearer {key}", "sip:+4930123456@x", "/log-in/secret", "491701234567", "v3:abc-1")
    for one in given:
        logger.info("it is so", extra=fact(call_sid=one, request_id=one))
    lines = read(logger, pipe)
    shown = [line.partition("call_sid=")[2].partition(" request_id=")[0].strip('"') for line in lines]
    assert shown == ["slk_***", "Bearer ***", "***56@x", "/log-in/***", "491701234567", "v3:abc-1"]
    assert not any("secret" in line for line in lines)


def test_fields_stand_behind_the_text_by_their_names(logger: logging.Logger, pipe: Pipe) -> None:
    named = fields(session_id="12345678901", count=3, detail='no "way"\n', connector_name=None)
    logger.info("it %s", "is so", extra=named)
    (line,) = read(logger, pipe)
    assert line.endswith(r' it is so session_id=12345678901 count=3 detail="no \"way\"\\x0a"')


def test_json_is_an_object_per_line_with_the_fields_beside_the_text(
    logger: logging.Logger, pipe: Pipe
) -> None:
    writer_of(logger).formatter = JsonFormatter()
    named = fields(session_id="id-1", count=3, is_late=True, detail="of +4930123456\u2028", message="mine")
    logger.warning("asked for %s", "/callbacks/siprec/secret", extra=named)
    try:
        int("/callbacks/secret")
    except ValueError as error:
        logger.exception("it failed", extra=fields(error=error))
    first, second = map(json.loads, read(logger, pipe))
    written = datetime.fromisoformat(first.pop("time"))
    assert abs((datetime.now(UTC) - written).total_seconds()) < 60
    assert first == {
        "level": "WARNING",
        "logger": logger.name,
        "message": "asked for /callbacks/***",
        "session_id": "id-1",
        "count": 3,
        "is_late": True,
        "detail": "of ***56\\x2028",
    }
    assert second["error"].startswith("ValueError: invalid literal")
    assert second["traceback"].startswith("Traceback")
    assert "secret" not in json.dumps(second)


def test_a_json_line_is_whole_however_long_its_values_are(logger: logging.Logger, pipe: Pipe) -> None:
    writer_of(logger).formatter = JsonFormatter()
    logger.info('"' * 100_000, extra=fields(**{f"field_{n}": "\\" * 5000 for n in range(9)}))
    (line,) = read(logger, pipe)
    assert json.loads(line)["field_8"].startswith("\\")
    assert len(line) <= log_lines.LONGEST_LINE


def test_what_cannot_be_formatted_is_said_and_raises_nothing(logger: logging.Logger, pipe: Pipe) -> None:
    record = logger.makeRecord(logger.name, logging.INFO, "", 0, "count=%d", ("three",), None)
    logs.Handler(writer_of(logger)).handle(record)
    (line,) = read(logger, pipe)
    assert "a line could not be formatted" in line
    assert f"of={logger.name}" in line


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_failure_that_repeats_is_written_once_and_then_counted_each_minute(
    logger: logging.Logger, pipe: Pipe
) -> None:
    clock, writer = Clock(), writer_of(logger)
    writer.flood = Flood(clock)
    for n in range(1000):
        logger.error("callback not durable", extra=fields(delivery_id=n, error=OSError("full")))
    logger.error("callback not durable", extra=fields(delivery_id=1000, error=ValueError("another kind")))
    logger.error("something else")
    lines = read(logger, pipe)
    assert [line.split(logger.name)[1] for line in lines] == [
        ' callback not durable delivery_id=0 error="OSError: full"',
        ' callback not durable delivery_id=1000 error="ValueError: another kind"',
        " something else",
    ]
    clock.now = MINUTE
    (summary,) = read(logger, pipe)
    assert "callback not durable (999 times more in the last minute) delivery_id=999" in summary
    clock.now = 2 * MINUTE
    assert writer.flood.due() == []
    logger.error("callback not durable", extra=fields(delivery_id=1, error=OSError("full")))
    assert len(read(logger, pipe)) == 1  # after a minute of peace it is news again


def test_what_was_counted_is_told_when_the_process_ends(logger: logging.Logger, pipe: Pipe) -> None:
    for _ in range(3):
        logger.error("it failed")
    writer_of(logger).end()
    first, last = read(logger, pipe)
    assert first.endswith("it failed")
    assert last.endswith("it failed (2 times more in the last minute)")


def test_facts_of_sessions_are_never_counted_instead_of_written(logger: logging.Logger, pipe: Pipe) -> None:
    for n in range(50):
        logger.info("session start accepted", extra=fact(session_id=n))
        logger.warning("session overdue", extra=fact(session_id=n))
    assert len(read(logger, pipe)) == 100


def test_of_many_threads_each_failure_is_written_or_counted_once(logger: logging.Logger) -> None:
    clock = Clock()
    flood = Flood(clock)
    through: list[bool] = []

    def fail() -> None:
        for _ in range(500):
            record = logger.makeRecord("a", logging.ERROR, "", 0, "it failed", (), None)
            through.append(flood.lets_through(record))

    threads = [threading.Thread(target=fail) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    clock.now = MINUTE
    (summary,) = flood.due()
    assert through.count(True) == 1
    assert summary.getMessage() == "it failed (3999 times more in the last minute)"
