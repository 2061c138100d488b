"""The process of an export, started as the service starts it: an order in, frames out."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

from service.exports.frames import HEAD, FrameKind, read_head
from service.exports.order import ExportOrder, read
from service.store.engine import Database
from service.store.report_wanted import Wanted
from tests.store.any_history import AUTUMN, AnyHistory

SECONDS = 60
Frame = tuple[FrameKind, int, bytes]


def order(url: str) -> ExportOrder:
    wanted = Wanted(since=AUTUMN, labels=(("team", "fraud"),), zone="Europe/Berlin")
    return ExportOrder(url, "sessions", wanted, frozenset({"account-1"}), "csv", after=("x", 1, None))


def started() -> subprocess.Popen[bytes]:
    command = (sys.executable, "-m", "service.exports")
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def run(given: ExportOrder) -> list[Frame]:
    """Its frames; it ends with the last one, though its stdin stays open."""
    with started() as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(given.line())
        process.stdin.flush()
        said = process.stdout.read()
        assert process.wait(SECONDS) == 0
    return frames(said)


def frames(said: bytes) -> list[Frame]:
    found = []
    while said:
        kind, rows, size = read_head(said[: HEAD.size])
        found.append((kind, rows, said[HEAD.size : HEAD.size + size]))
        assert len(found[-1][2]) == size
        said = said[HEAD.size + size :]
    return found


def test_an_order_is_read_as_it_was_written() -> None:
    given = order("sqlite:////nowhere")
    assert read(given.line()) == given
    assert b"nowhere" not in repr(given).encode()


def test_it_writes_whole_rows_and_its_end(database: Database, database_url: str) -> None:
    AnyHistory(1).write(database, 20)
    *rows, end = run(replace(order(database_url), wanted=Wanted(), accounts=None, after=None))
    assert {kind for kind, _, _ in rows} == {FrameKind.ROWS}
    assert rows[0][2].decode().startswith("\ufeffsession_id,")
    count = sum(count for _, count, _ in rows)
    assert (end[0], end[2].decode()) == (FrameKind.END, f'"# rows: {count}, up to position 20"\r\n')
    assert count > 10


def test_it_says_why_it_failed() -> None:
    (only,) = run(order("sqlite:////nowhere/at/all"))
    assert only[0] is FrameKind.FAILED
    assert b"unable to open" in only[2]


def test_it_ends_with_whoever_started_it(database_url: str) -> None:
    process = started()
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(SECONDS) != 0
    assert process.stdout is not None
    process.stdout.close()
