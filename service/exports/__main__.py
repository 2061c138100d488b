"""The process of one export: its order on stdin, frames on stdout. It ends when either is closed.

Whoever started it keeps stdin open: so it ends with them, even when they are killed.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import closing, suppress
from typing import Final

from service.exports import order as orders
from service.exports import pages
from service.exports.frames import FrameKind, frame
from service.exports.order import ExportOrder
from service.store.engine import FEWEST_CONNECTIONS, Database, DatabaseError, DatabaseUnusable

NICENESS: Final = 19  # whatever else is to be done comes first, mostly
ENDED: Final = 1


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    os.nice(NICENESS)
    line = sys.stdin.buffer.readline()
    if not line:  # whoever started it has gone
        sys.exit(ENDED)
    order = orders.read(line)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        with closing(Database(order.database_url, FEWEST_CONNECTIONS)) as database:
            _export(order, database)
    except (DatabaseError, DatabaseUnusable) as error:
        _write(frame(FrameKind.FAILED, 0, str(error).encode()))


def _export(order: ExportOrder, database: Database) -> None:
    made, count = order.format, 0
    up_to = pages.position(database)
    begin = made.begin()  # goes with the first rows: until they are there, all may be refused
    for chunk in pages.chunks(database, order.report, order.wanted, order.accounts, order.after, up_to, made):
        if not count:  # not before: until there are rows, who asked waits for an answer
            _take_only_what_is_idle()
        count += chunk.rows
        _write(frame(FrameKind.ROWS, chunk.rows, begin + chunk.content))
        begin = b""
    _write(frame(FrameKind.END, 0, begin + made.end(count, up_to)))


def _take_only_what_is_idle() -> None:
    """Of the processor. A process that is only nice keeps others waiting for milliseconds as they wake up."""
    if sys.platform == "linux":
        with suppress(OSError):  # a sandbox may not let us
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def _write(frame: bytes) -> None:
    left = memoryview(frame)
    while left:
        left = left[os.write(sys.stdout.fileno(), left) :]


def _end_with_parent() -> None:
    with suppress(OSError):
        while os.read(sys.stdin.fileno(), 1024):
            pass
    os._exit(ENDED)


if __name__ == "__main__":
    main()
