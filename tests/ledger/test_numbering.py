"""Events are numbered 1, 2, 3 … after their commit, and the feed shows nothing behind what was read of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import text

from service.domain.access import Access
from service.store import feed
from service.store.engine import Database
from service.store.feed import START, Wanted
from tests.bed.processes import CHECKOUT, environment
from tests.ledger.lines import everything, number_all

EVENTS = int(os.environ.get("NUMBERING_EVENTS", "2400"))  # the claim is of 50,000
READERS = 3
SECONDS = 20 + EVENTS / 100

# A number that is drawn before the commit, as a sequence would give it.
EARLY = (
    "CREATE SEQUENCE early",
    "ALTER TABLE event ALTER position SET DEFAULT nextval('early')",
)


class Reader:
    """Follows the feed, as an app does: page after page, each after the place where the one before ended."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._place = START
        self.seen: list[feed.Line] = []
        self._thread.start()

    def end(self) -> None:
        """When it has read all that is there."""
        self._ended.set()
        self._thread.join(SECONDS)

    def _run(self) -> None:
        while True:
            is_last = self._ended.is_set()
            while lines := self._page():
                self.seen += lines
            if is_last:
                return
            time.sleep(0.005)

    def _page(self) -> list[feed.Line]:
        with self._database.read() as db:
            place = feed.place(db, self._place)
            found = feed.places(db, Wanted(), Access(), place.position, 500)
            self._place = found.until
            return feed.lines(db, [one.position for one in found.places])


class Writers:
    """Processes that write so many events together, each several at once, and number them."""

    def __init__(self, url: str, processes: int, threads: int) -> None:
        self._url = url
        self._each = EVENTS // processes
        self._threads = threads
        self._begun = 0
        self.running = [self._begin() for _ in range(processes)]
        for one in self.running:
            self._go(one)

    def kill(self, number: int) -> None:
        """With all that it is at; another one takes its place."""
        self.running[number].kill()
        self._end(number)
        self.running[number] = self._begin()
        self._go(self.running[number])

    @contextmanager
    def stopped(self, number: int, seconds: float) -> Iterator[None]:
        self.running[number].send_signal(signal.SIGSTOP)
        yield
        time.sleep(seconds)
        self.running[number].send_signal(signal.SIGCONT)

    def wait(self) -> None:
        deadline = time.monotonic() + SECONDS
        codes = [one.wait(deadline - time.monotonic()) for one in self.running]
        assert set(codes) == {0}

    def close(self) -> None:
        for number in range(len(self.running)):
            self.running[number].kill()
            self._end(number)

    def _begin(self) -> subprocess.Popen[bytes]:
        self._begun += 1
        arguments = [self._url, str(self._each), str(self._begun), str(self._threads)]
        return subprocess.Popen(
            [sys.executable, "-m", "tests.ledger.lines", *arguments],
            cwd=CHECKOUT,
            env=environment({}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    @staticmethod
    def _go(process: subprocess.Popen[bytes]) -> None:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        process.stdin.write(b"go\n")
        process.stdin.flush()

    def _end(self, number: int) -> None:
        process = self.running[number]
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe
            pipe.close()


def run(database: Database, writers: Writers) -> list[Reader]:
    """The readers, when all is written and read; meanwhile processes are killed and stopped."""
    readers = [Reader(database) for _ in range(READERS)]
    try:
        time.sleep(0.3)
        with writers.stopped(0, seconds=0 if database.is_sqlite else 2.5):
            writers.kill(1)
        writers.wait()
    finally:
        writers.close()
    number_all(database)
    for reader in readers:
        reader.end()
    return readers


def missed(database: Database, reader: Reader) -> int:
    """How much of all that is there it did not see."""
    return len(
        {line.position for line in everything(database)} - {line.place.position for line in reader.seen}
    )


@pytest.mark.parametrize("database_kind", ["postgresql", "sqlite"], indirect=True)
def test_readers_miss_nothing_and_see_no_gap_though_processes_are_killed_and_stopped(
    database: Database, database_url: str
) -> None:
    processes, threads = (2, 8) if database.is_sqlite else (8, 2)
    readers = run(database, Writers(database_url, processes, threads))
    written = {line.position: line for line in everything(database)}
    assert len(written) >= EVENTS
    for reader in readers:
        assert missed(database, reader) == 0
        assert [line.place.position for line in reader.seen] == list(range(1, len(written) + 1))
        moments = [line.numbered_at for line in reader.seen]
        assert moments == sorted(moments)
        sequences: defaultdict[str, list[int]] = defaultdict(list)
        for line in reader.seen:
            now = written[line.place.position]  # what it was given once, it has for ever
            assert (line.subject_id, line.numbered_at) == (now.subject_id, now.numbered_at)
            sequences[line.subject_id].append(now.sequence)
        assert all(of_session == sorted(of_session) for of_session in sequences.values())


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_numbers_that_are_given_before_the_commit_are_found_out(
    database: Database, database_url: str
) -> None:
    with database.begin() as db:
        for statement in EARLY:
            db.execute(text(statement))
    readers = run(database, Writers(database_url, 8, 2))
    assert all(missed(database, reader) for reader in readers)
