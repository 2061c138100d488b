"""Runs the bench: prints the figures, and in full length writes them down."""

from __future__ import annotations

import argparse
import logging
import resource
import sys
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from tests.bench import (
    export_reads,
    feed_reads,
    machine,
    page_reads,
    peers,
    reads,
    report,
    report_reads,
    tables,
    targets,
    watch,
)
from tests.bench.course import EXPORTED, RACES, WATCH, Course, Scale
from tests.bench.peers import Peer
from tests.bench.reads import Read
from tests.bench.run import Run, as_json

FULL = Scale(rounds=5, seconds=2.5, stored=1_000_000, sessions=(10_000, 1_000_000))
QUICK = Scale(rounds=1, seconds=0.7, stored=20_000, sessions=(1_000, 20_000))
MEMORY = Path("/dev/shm")
READS = "reads"
FEED = "feed"  # a part of the reads
PAGES = "pages"


def main() -> int:
    options = argparse.ArgumentParser(prog="make bench", description=__doc__)
    options.add_argument("--quick", action="store_true", help="a trial of a few minutes: writes nothing down")
    options.add_argument(
        "--only",
        choices=[*RACES, READS, FEED, PAGES, report_reads.NAME],
        action="append",
        default=[],
        help="this part, in full length unless --quick (may be repeated): writes nothing down",
    )
    asked = options.parse_args()
    logging.getLogger("service").setLevel(logging.ERROR)  # or each overdue session is told
    into = None if asked.quick or asked.only else machine.HERE
    try:
        run(QUICK if asked.quick else FULL, asked.only or [*RACES, READS], into)
    except machine.Missing as missing:
        print(f"The bench needs {missing}", file=sys.stderr)
        return 1
    return 0


def run(scale: Scale, parts: Collection[str], into: Path | None) -> None:
    # For a thousand slow clients beside the load: who runs it in earnest allows as many.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    peers.install()
    installed, left_out = peers.installed()
    with _folder() as folder, _folder(MEMORY) as memory:
        course = Course(scale, folder, memory, machine.compile_all(folder), installed)
        facts = _facts(folder, course, scale, installed) | {
            f"left out: {name}": why for name, why in left_out.items()
        }
        print(report.machine(facts), report.METHOD, sep="\n", flush=True)
        stages, taken, costs = [], list[Read](), []
        for stage in course.stages(parts):
            stages.append(stage)
            print(tables.stage(stage), flush=True)
        for of_a_kind in _reads(folder, scale, parts):
            print(tables.reads(of_a_kind, scale.sessions), flush=True)
            taken += of_a_kind
        if WATCH in parts:
            costs = list(watch.run(folder, scale.sessions, scale.rounds))
            print(tables.watch(costs), flush=True)
        if report_reads.NAME in parts:
            compared = list(report_reads.run(folder, scale.sessions, scale.rounds))
            print(tables.table(report_reads.rows(compared)), flush=True)
            print(tables.targets([one.target for one in compared]), flush=True)
        if EXPORTED in parts:
            exports = list(export_reads.run(folder, scale.sessions[1], scale.rounds))
            print(tables.table(export_reads.rows(exports)), flush=True)
            print(tables.targets([target for one in exports for target in one.targets]), flush=True)
    found = Run(facts, stages, taken, targets.targets(stages, taken, costs), costs)
    print(report.naive_losses(stages), report.beside_peers(stages), sep="\n")
    print(tables.targets(found.targets), report.warning(stages), sep="\n")
    if into:
        (into / "FIGURES.md").write_text(report.document(found, scale.sessions))
        (into / "figures.json").write_text(as_json(found))
        print("FIGURES.md and figures.json are written; docs/operators.md quotes the table *In short*.")


def _reads(folder: Path, scale: Scale, parts: Collection[str]) -> Iterator[list[Read]]:
    if READS in parts or FEED in parts:
        first = "" if READS in parts else feed_reads.NAME
        yield list(
            reads.run(folder, scale.sessions, scale.rounds, lambda name: name.startswith(first), reads.app)
        )
    if PAGES in parts:
        yield list(reads.run(folder, scale.sessions, scale.rounds, lambda _: True, page_reads.browser))


def _facts(folder: Path, course: Course, scale: Scale, installed: Sequence[Peer]) -> dict[str, str]:
    ceiling = ", ".join(f"{rate:,.0f} with {how}" for how, rate in course.ceiling().items())
    versions = {package: version for peer in installed for package, version in peer.versions().items()}
    return machine.describe(folder) | {
        "peers": ", ".join(f"{package} {version}" for package, version in versions.items()) or "none",
        "load program": f"by itself {ceiling}, requests a second",
        "run": f"{datetime.now(UTC):%Y-%m-%d}, {scale.rounds} rounds of {scale.seconds:g} s slices",
    }


@contextmanager
def _folder(place: Path | None = None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="bench-", dir=place) as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL may run as somebody else
        yield folder


if __name__ == "__main__":
    sys.exit(main())
