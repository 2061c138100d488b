"""The tables of a race, of the reads and of the targets: Markdown, which the terminal shows too."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from tests.bench.figures import FLOOR, Stage
from tests.bench.reads import Read
from tests.bench.targets import Target
from tests.bench.watch import Cost


def stage(shown: Stage) -> str:
    rows = [_row(shown, name) for name in shown.result.readings]
    return f"### {shown.title}\n\n{table(rows)}\n"


def reads(shown: Sequence[Read], sessions: tuple[int, int]) -> str:
    if not shown:
        return ""
    few, many = (f"{count:,} sessions, ms" for count in sessions)
    rows = [
        {
            "read": f"{read.kind}: {read.name}",
            few: f"{statistics.median(read.few):.1f}",
            many: f"{statistics.median(read.many):.1f}",
            "times": f"{read.times:.2f}",
            "rows": str(read.found),
        }
        for read in shown
    ]
    return f"### Reads over HTTP, one at a time\n\n{table(rows)}\n"


def watch(shown: Sequence[Cost]) -> str:
    if not shown:
        return ""
    rows = [
        {
            "the watch by itself": f"{cost.kind}: {cost.what}",
            "": cost.unit,
            "median": f"{cost.median:,.2f}" if cost.median < 100 else f"{cost.median:,.0f}",
            "least to most": f"{min(cost.values):,.2f} to {max(cost.values):,.2f}",
        }
        for cost in shown
    ]
    return f"### The watch\n\n{table(rows)}\n"


def targets(reached: Sequence[Target]) -> str:
    if not reached:
        return ""
    rows = [
        {
            "target": target.what,
            "": target.bound,
            "must": f"{target.must:g}",
            "aim": "" if target.aim is None else f"{target.aim:g}",
            "measured": f"{target.value:.2f}" if target.value % 1 else f"{target.value:g}",
            "reached": ("aim" if target.is_aim_reached else "must") if target.is_reached else "**no**",
        }
        for target in reached
    ]
    return f"### Targets\n\n{table(rows)}\n"


def _row(shown: Stage, name: str) -> dict[str, str]:
    rates = shown.all(name, "rate")
    audit = shown.result.audits.get(name)
    return {
        "contestant": name,
        "callbacks/s": f"{shown.median(name, 'rate'):,.0f}",
        "least to most": f"{min(rates):,.0f} to {max(rates):,.0f}",
        **_ratio(shown, name),
        "p50 ms": f"{shown.median(name, 'p50'):.2f}",
        "p99 ms": f"{shown.median(name, 'p99'):.2f}",
        "slowest ms": f"{max(shown.all(name, 'slowest')):.0f}",
        "CPU µs": f"{shown.median(name, 'cpu'):.0f}",
        "server core": f"{shown.median(name, 'server_core'):.0%}",
        "other core": f"{shown.median(name, 'load_core'):.0%}",
        **_lag(shown, name),
        **_background(shown, name),
        "not 200": f"{shown.failed(name):,}",
        "lost / twice / miscounted": f"{audit.lost} / {audit.twice} / {audit.miscounted}" if audit else "",
    }


def _ratio(shown: Stage, name: str) -> dict[str, str]:
    if not shown.versus:
        return {}
    title = "of the floor" if set(shown.versus.values()) == {FLOOR} else "of without"
    if shown.compared != "rate":
        title = f"{shown.compared}, {title}"
    other = shown.versus.get(name)
    return {title: f"{shown.ratio(name, other, shown.compared):.2f}" if other else ""}


def _lag(shown: Stage, name: str) -> dict[str, str]:
    """A column where anybody's event loop is watched."""
    if not any(shown.is_watched(one) for one in shown.result.readings):
        return {}
    return {"loop p99 ms": f"{shown.median(name, 'lag'):.2f}" if shown.is_watched(name) else ""}


def _background(shown: Stage, name: str) -> dict[str, str]:
    unit = shown.result.background
    return {f"beside, {unit}": f"{shown.median(name, 'background'):,.0f}"} if unit else {}


def table(rows: Sequence[Mapping[str, str]]) -> str:
    """Markdown whose columns also line up where it is not rendered."""
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in lines
    )
