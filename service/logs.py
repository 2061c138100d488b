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
import sys
import threading
import time
from typing import Final

from service.log_flood import Flood
from service.log_lines import LONGEST_LINE, JsonFormatter, TextFormatter
from service.watch_settings import LogFormat

MOST_WAITING: Final = 10_000  # lines
FLUSH_SECONDS: Final = 1.0
AT_ONCE: Final = 2000  # lines, in one write
GATHER_SECONDS: Final = 0.02
COUNTING_SECONDS: Final = 1.0


class Writer:
    """The queue and its thread, which begins with the first line, in each process anew.

    `formatter` makes lines of records, `flood` holds back those that repeat. Each may be replaced.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.formatter: logging.Formatter = TextFormatter()
        self.flood = Flood()
        self._reset()
        os.register_at_fork(after_in_child=self._reset)
        atexit.register(self.end)

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

    @property
    def is_json(self) -> bool:
        return isinstance(self.formatter, JsonFormatter)

    def flush(self) -> None:
        """Returns once all is written, or after FLUSH_SECONDS."""
        if self._thread is not None:
            written = threading.Event()
            self._lines.put(written)
            written.wait(FLUSH_SECONDS)

    def end(self) -> None:
        """What was counted is told now; and `flush`."""
        for record in self.flood.due(at_end=True):
            self.write(self.line(record))
        self.flush()

    def line(self, record: logging.LogRecord) -> str:
        try:
            return self.formatter.format(record)
        except Exception as error:  # it must not end the request that the line is about
            named = {"of": record.name, "error": error}
            return self.formatter.format(_record("a line could not be formatted", **named))

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            taken = self._take()
            lines = [one for one in taken if isinstance(one, str)]
            lines += [self.line(record) for record in self.flood.due()]
            if self._dropped:
                dropped, self._dropped = self._dropped, 0
                lines.append(self.line(_record("log lines dropped", count=dropped)))
            self._write_out(lines)
            for one in taken:
                if isinstance(one, threading.Event):
                    one.set()

    def _take(self) -> list[str | threading.Event]:
        try:
            taken = [self._lines.get(timeout=COUNTING_SECONDS if self.flood.is_counting else None)]
        except queue.Empty:
            return []
        time.sleep(GATHER_SECONDS)  # a thread woken for each line would cost the others more than the line
        while len(taken) < AT_ONCE and not self._lines.empty():
            taken.append(self._lines.get())
        return taken

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
    """Hands records to the writer, but those that repeat."""

    def __init__(self, writer: Writer) -> None:
        super().__init__()
        self._writer = writer

    def handle(self, record: logging.LogRecord) -> bool:
        """Without logging's lock: no thread ever waits for another one's line here."""
        if not self._writer.flood.lets_through(record):
            return False
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        self._writer.write(self._writer.line(record))


def _record(message: str, **named: object) -> logging.LogRecord:
    """A warning of our own."""
    record = logging.LogRecord(__name__, logging.WARNING, __file__, 0, message, None, None)
    record.fields = named
    return record


WRITER: Final = Writer(sys.__stderr__.fileno() if sys.__stderr__ else 2)


def install(log_format: LogFormat, level: int = logging.INFO) -> None:
    """All loggers of this process go this way from now on."""
    write_as(log_format)
    root = logging.getLogger()
    root.setLevel(level)
    root.handlers = [Handler(WRITER)]
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)  # below that it tells its own progress


def write_as(log_format: LogFormat) -> None:
    WRITER.formatter = JsonFormatter() if log_format is LogFormat.JSON else TextFormatter()
