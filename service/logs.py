"""Log lines of a web process: masked, one line per fact, and never in anybody's way.

A line goes into a bounded queue, which a thread of its own writes to stderr. So a stderr that nobody reads
stops neither the event loop nor a request nor gunicorn's master: what finds the queue full is counted, and
the count is logged once there is room again.
"""

from __future__ import annotations

import atexit
import logging
import os
import queue
import re
import sys
import threading
import time
from typing import Final

MOST_WAITING: Final = 10_000  # lines
LONGEST_LINE: Final = 16 * 1024
FLUSH_SECONDS: Final = 1.0
AT_ONCE: Final = 2000  # lines, in one write
GATHER_SECONDS: Final = 0.02
FORMAT: Final = "%(asctime)s %(levelname)s %(name)s %(message)s"

CALLBACKS: Final = "/callbacks"
LOG_IN: Final = "/log-in"  # a link of the pages holds a secret after it
# Callback URLs hold a secret, and a GET's query holds the callback. A decoded path may hold blanks and
# anything else, so all that follows is masked, not only the next word.
_SECRET_REST = re.compile(rf"({CALLBACKS}|{LOG_IN})(?:[/?%]|\\x)[^\n]*", re.IGNORECASE)
# What a terminal or a reader of lines could take for something else than text.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def one_line(text: str) -> str:
    """The same without control characters: they could forge further lines, or speak to a terminal."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def masked(text: str) -> str:
    """The same without what follows /callbacks or /log-in in a path."""
    return _SECRET_REST.sub(r"\1/***", text)


class Writer:
    """The queue and its thread, which begins with the first line, in each process anew."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._reset()
        os.register_at_fork(after_in_child=self._reset)
        atexit.register(self.flush)

    def _reset(self) -> None:
        self._lines: queue.SimpleQueue[str | threading.Event] = queue.SimpleQueue()
        self._dropped = 0
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def write(self, line: str) -> None:
        if self._lines.qsize() >= MOST_WAITING:
            self._dropped += 1
            return
        self._lines.put(line[:LONGEST_LINE])
        if self._thread is None:
            self._start()

    def flush(self) -> None:
        """Returns once all is written, or after FLUSH_SECONDS."""
        if self._thread is not None:
            written = threading.Event()
            self._lines.put(written)
            written.wait(FLUSH_SECONDS)

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            taken = [self._lines.get()]
            time.sleep(
                GATHER_SECONDS
            )  # a thread woken for each line would cost the others more than the line
            while len(taken) < AT_ONCE and not self._lines.empty():
                taken.append(self._lines.get())
            lines = [one for one in taken if isinstance(one, str)]
            if self._dropped:
                dropped, self._dropped = self._dropped, 0
                lines.append(f"log lines dropped: count={dropped}")
            self._write_out(lines)
            for one in taken:
                if isinstance(one, threading.Event):
                    one.set()

    def _write_out(self, lines: list[str]) -> None:
        rest = memoryview("".join(f"{line}\n" for line in lines).encode("utf-8", "replace"))
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:  # somebody made our stderr non-blocking
                time.sleep(0.05)
            except OSError:  # it is closed: there is nowhere left to say so
                return


class Handler(logging.Handler):
    """Hands records to the writer. Continued lines, as of a traceback, are indented: none looks like ours."""

    def __init__(self, writer: Writer) -> None:
        super().__init__()
        self._writer = writer
        self.setFormatter(_Formatter(FORMAT))

    def handle(self, record: logging.LogRecord) -> bool:
        """Without logging's lock: no thread ever waits for another one here."""
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception as error:  # it must not end the request that the line is about
            line = f"a line of {record.name} could not be formatted: {error!r}"
        self._writer.write(line)


class _Formatter(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        record.message = one_line(masked(record.message))
        return super().formatMessage(record)

    def formatException(self, ei: object) -> str:  # noqa: N802 (logging's name)
        lines = masked(super().formatException(ei)).split("\n")  # type: ignore[arg-type]
        return "\n".join(f"    {one_line(line)}" for line in lines)


WRITER: Final = Writer(sys.__stderr__.fileno() if sys.__stderr__ else 2)


def install() -> None:
    """All loggers of this process go this way from now on."""
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    root.handlers = [Handler(WRITER)]
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)  # below that it tells its own progress
