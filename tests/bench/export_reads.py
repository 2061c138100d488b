"""What an export streams, beside csv.writer with the same rows, and how much memory its process takes."""

from __future__ import annotations

import contextlib
import csv
import http.client
import io
import re
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from tests.bench.contestants import Contestant, PinnedPostgres, running
from tests.bench.figures import KINDS, POSTGRESQL
from tests.bench.ledgers import Ours
from tests.bench.machine import LOAD_CORE, on_core
from tests.bench.reads import TIMEOUT_SECONDS, WrongAnswer
from tests.bench.targets import AT_LEAST, AT_MOST, Target

REPORTS: Final = ("sessions", "callbacks", "timeline")
MOST_ROWS: Final = 500_000  # that are read of one
KEPT_BYTES: Final = 64 * 1024 * 1024  # of it, for csv.writer
QUIET: Final = 10  # percent of a core
QUIET_SECONDS: Final = 12.0  # longer than any worker rests
MOST_LOOKS: Final = 20
PIECE: Final = 256 * 1024
ROUNDS: Final = 3
ALONE_SHARE: Final = 0.25
MOST_MEMORY: Final = 150  # MiB
HIGHEST: Final = re.compile(r"VmHWM:\s+(\d+) kB")


@dataclass(frozen=True)
class Export:
    """Rows a second, round by round: of csv.writer `alone`, and as the client has them `streamed`.

    `memory` is the most that its process took, in MiB.
    """

    kind: str
    report: str
    alone: Sequence[float]
    streamed: Sequence[float]
    memory: float

    @property
    def share(self) -> float:
        return statistics.median(
            streamed / alone for streamed, alone in zip(self.streamed, self.alone, strict=True)
        )

    @property
    def targets(self) -> list[Target]:
        named = f"{self.kind}: {self.report}.csv"
        return [
            Target(f"{named}, of csv.writer alone", self.share, AT_LEAST, ALONE_SHARE),
            Target(f"{named}, memory in MiB", self.memory, AT_MOST, MOST_MEMORY),
        ]


def run(folder: Path, sessions: int, rounds: int) -> Iterator[Export]:
    """Where so many sessions are stored."""
    with PinnedPostgres() as server:
        for kind in KINDS:
            url = server.create_database() if kind == POSTGRESQL else f"sqlite:///{folder}/export.sqlite3"
            with closing(Ours(url, 1, stored=sessions)) as ledger, running("ours", ledger=ledger) as ours:
                _wait_until_quiet(ours)
                for report in REPORTS:
                    with on_core(LOAD_CORE):
                        yield _measure(kind, ours, report, ledger.api_key, min(rounds, ROUNDS))
            for file in folder.glob("export.sqlite3*"):
                file.unlink()


def rows(shown: Sequence[Export]) -> list[dict[str, str]]:
    return [
        {
            "export": f"{one.kind}: {one.report}.csv",
            "csv.writer alone, rows/s": f"{statistics.median(one.alone):,.0f}",
            "streamed, rows/s": f"{statistics.median(one.streamed):,.0f}",
            "share": f"{one.share:.2f}",
            "memory, MiB": f"{one.memory:.0f}",
        }
        for one in shown
    ]


def _measure(kind: str, ours: Contestant, report: str, api_key: str, rounds: int) -> Export:
    alone, streamed, memory = list[float](), list[float](), 0.0
    for _ in range(rounds):
        text, rate, taken = _stream(ours, report, api_key)
        streamed.append(rate)
        alone.append(_written_alone(list(csv.reader(io.StringIO(text)))))
        memory = max(memory, taken)
    return Export(kind, report, alone, streamed, memory)


def _written_alone(lines: Sequence[Sequence[str]]) -> float:
    """Rows a second."""
    sink = io.StringIO()
    began = time.perf_counter()
    csv.writer(sink).writerows(lines)
    return len(lines) / (time.perf_counter() - began)


def _wait_until_quiet(ours: Contestant) -> None:
    """Until what was stored all at once has been looked through, by the watch and for alerts."""
    processes = psutil.Process(ours.web.master_pid).children(recursive=True)
    for _ in range(MOST_LOOKS):
        if all(one.cpu_percent(QUIET_SECONDS) < QUIET for one in processes):
            break


def _stream(ours: Contestant, report: str, api_key: str) -> tuple[str, float, float]:
    """Its first lines; rows a second of MOST_ROWS, and the MiB that the exporting process took."""
    with closing(http.client.HTTPConnection(*ours.web.address, timeout=TIMEOUT_SECONDS)) as connection:
        path = f"/v1/reports/{report}?format=csv"
        began = time.perf_counter()
        connection.request("GET", path, headers={"Authorization": f"Bearer {api_key}"})
        answer = connection.getresponse()
        if answer.status != http.HTTPStatus.OK:
            raise WrongAnswer(f"{answer.status} for {path}: {answer.read()[:500]!r}")
        kept, memory = bytearray(answer.read1(PIECE)), _memory(ours)  # a short one is gone at its end
        count = kept.count(b"\n")
        while count < MOST_ROWS and (piece := answer.read1(PIECE)):
            if len(kept) < KEPT_BYTES:
                kept += piece
            count += piece.count(b"\n")
        rate = count / (time.perf_counter() - began)
        whole = kept[: kept.rindex(b"\n") + 1]
        return whole.decode(), rate, max(memory, _memory(ours))


def _memory(ours: Contestant) -> float:
    """Of the process that exports, at its highest so far; 0: it has ended."""
    highest = 0.0
    for process in psutil.Process(ours.web.master_pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError):
            if "service.exports" in process.cmdline():
                found = HIGHEST.search(Path(f"/proc/{process.pid}/status").read_text())
                highest = max(highest, int(found[1]) / 1024 if found else 0.0)
    return highest
