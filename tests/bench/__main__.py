"""Runs the bench: prints the figures, and in full length writes them down."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from tests.bench import machine, report
from tests.bench.course import Course, Scale
from tests.bench.figures import targets

FULL = Scale(rounds=5, seconds=2.5, stored=1_000_000)
QUICK = Scale(rounds=2, seconds=0.7, stored=100_000)
MEMORY = Path("/dev/shm")


def main() -> int:
    options = argparse.ArgumentParser(prog="make bench", description=__doc__)
    options.add_argument("--quick", action="store_true", help="a trial of two minutes: writes nothing down")
    is_quick = options.parse_args().quick
    try:
        run(QUICK if is_quick else FULL, None if is_quick else machine.HERE)
    except machine.Missing as missing:
        print(f"The bench needs {missing}", file=sys.stderr)
        return 1
    return 0


def run(scale: Scale, into: Path | None) -> None:
    with _folder() as folder, _folder(MEMORY) as memory:
        course = Course(scale, folder, memory, machine.compile_all(folder))
        facts = machine.describe(folder)
        ceiling = ", ".join(f"{rate:,.0f} with {how}" for how, rate in course.ceiling().items())
        facts["load program"] = f"by itself {ceiling}, requests a second"
        facts["run"] = f"{datetime.now(UTC):%Y-%m-%d}, {scale.rounds} rounds of {scale.seconds:g} s slices"
        print(report.machine(facts), report.METHOD, sep="\n", flush=True)
        stages = []
        for stage in course.stages():
            stages.append(stage)
            print(report.stage(stage), flush=True)
    reached = targets(stages)
    print(report.naive_losses(stages), report.targets(reached), report.warning(stages), sep="\n")
    if into:
        (into / "FIGURES.md").write_text(report.document(facts, stages, reached))
        (into / "figures.json").write_text(report.data(facts, stages, reached))


@contextmanager
def _folder(place: Path | None = None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="bench-", dir=place) as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL may run as somebody else
        yield folder


if __name__ == "__main__":
    sys.exit(main())
