"""The figures as people and programs read them: Markdown, which the terminal shows too, and JSON."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tests.bench.figures import FLOOR, NO_RESULT, Stage, audit_of, disturbance
from tests.bench.peers import PEERS
from tests.bench.reads import Read
from tests.bench.targets import Target

ALONE = 0.2  # of a core may be busy with something else
METHOD = f"""\
One process each, the ledger and Flask under gunicorn, FastAPI under uvicorn (uvloop, httptools); no access
log; the server on one core, the load program and PostgreSQL on the other. Contestants take turns in short
slices; what is shown are medians over the rounds, and ratios are taken within a round. Differences under
{NO_RESULT:.0%} are no result.

- *floor*: Flask with 32 threads (gthread), the form parsed, the signature verified, nothing stored; then the
  same without Flask.
- *naive*: the handler most people write: Flask and a database session per request, select, insert, update,
  commit; with the worker and number of threads that suit it best, see the first table.
- *FastAPI* and *Fastify*: the signature verified, the callback inserted and its session updated in one
  transaction, in raw SQL. They know no token, no repeats, no timeline, no order of events.
- *ours*: the service as it ships: SQLite with WAL and synchronous=FULL, PostgreSQL with synchronous_commit.

One callback in a hundred is a repeat, sent at the same time as its first. After each slice, what was
answered 200 is looked for in the database. *Lost*: it is not there. *Twice*: it is there more often than it
was sent. *Miscounted*: a count of deliveries is wrong. All but ours keep repeats as new callbacks.
*CPU µs* is what the server's processes used for each callback, the database's not among them.
"""
SUMMARY = {
    "floor": "*floor*: verified, nothing kept",
    "naive, SQLite": "*naive*, SQLite",
    "naive, PostgreSQL": "*naive*, PostgreSQL",
    **{peer.name: peer.name for peer in PEERS},
    "ours, SQLite": "ledger, SQLite",
    "ours, PostgreSQL": "ledger, PostgreSQL",
}


@dataclass(frozen=True)
class Run:
    """All that a run found out."""

    facts: Mapping[str, str]
    stages: Sequence[Stage]
    reads: Sequence[Read]
    targets: Sequence[Target]


def stage(shown: Stage) -> str:
    rows = [_row(shown, name) for name in shown.result.readings]
    return f"### {shown.title}\n\n{_table(rows)}\n"


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
    return f"### Reads over HTTP, one at a time\n\n{_table(rows)}\n"


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
    return f"### Targets\n\n{_table(rows)}\n"


def beside_peers(stages: Sequence[Stage]) -> str:
    """How many times as many callbacks ours keeps as each peer on the same kind of database."""
    at = {one.key: one for one in stages if one.key in _SUMMED}
    rows = [
        {"ours, times as fast as": peer.name}
        | {
            _SUMMED[key]: f"{one.ratio(f'ours, {peer.kind}', peer.name, 'rate'):.2f}"
            for key, one in at.items()
        }
        for peer in PEERS
        if all(peer.name in one.result.readings for one in at.values())
    ]
    return f"{_table(rows)}\n" if at and rows else ""


def naive_losses(stages: Sequence[Stage]) -> str:
    """What the naive handler did wrong, in a sentence."""
    audits = [audit_of(stage, "naive") for stage in stages]
    answered, lost = sum(one.answered for one in audits), sum(one.lost for one in audits)
    if not answered:
        return ""
    miscounted = sum(one.miscounted for one in audits)
    failed = sum(
        many
        for stage in stages
        for name, statuses in stage.result.statuses.items()
        for status, many in statuses.items()
        if name.startswith("naive") and status != 200
    )
    return (
        f"Of {answered:,} callbacks that it answered 200, the naive handler lost {lost:,} and failed to "
        f"count {miscounted:,}; {failed:,} more it did not answer 200.\n"
    )


def warning(stages: Sequence[Stage]) -> str:
    """Empty if the machine was left alone."""
    share = disturbance(stages)
    if share is None or share < ALONE:
        return ""
    return f"**Something else kept {share:.0%} of a core busy: these figures are not to be relied on.**\n"


def machine(facts: Mapping[str, str]) -> str:
    return "".join(f"- {name}: {fact}\n" for name, fact in facts.items())


def summary(figures: Mapping[str, Any]) -> str:
    """The table that the README quotes, from what `data` wrote."""
    stages = figures["stages"]
    rows = [
        {"callbacks/s": label} | {title: _cell(stages[key][name]["rounds"]) for key, title in _SUMMED.items()}
        for name, label in SUMMARY.items()
        if all(name in stages.get(key, {}) for key in _SUMMED)
    ]
    lines = [f"| {' | '.join(row.values())} |" for row in rows]
    return (
        "\n".join([f"| callbacks/s | {' | '.join(_SUMMED.values())} |", "|---|---|---|---|", *lines]) + "\n"
    )


_SUMMED = {"1": "1 at a time", "16": "16", "64": "64"}


def _cell(rounds: Sequence[Mapping[str, float]]) -> str:
    rate, p50 = (statistics.median(one[what] for one in rounds) for what in ("rate", "p50"))
    return f"{rate:,.0f} ({p50:.1f} ms)"


def document(run: Run, sessions: tuple[int, int]) -> str:
    parts = ["# Figures of the callback endpoint\n", "`make bench` wrote this.\n", machine(run.facts), METHOD]
    parts += [f"### In short\n\n{summary(json.loads(data(run)))}", beside_peers(run.stages)]
    parts += [targets(run.targets), warning(run.stages)]
    parts += [stage(one) for one in run.stages]
    parts += [naive_losses(run.stages), reads(run.reads, sessions)]
    return "\n".join(part for part in parts if part)


def data(run: Run) -> str:
    """Everything, each round's readings included."""
    targets = [
        asdict(target) | {"is_reached": target.is_reached, "is_aim_reached": target.is_aim_reached}
        for target in run.targets
    ]
    shown = {
        "machine": dict(run.facts),
        "stages": {
            one.key: {name: _readings(one, name) for name in one.result.readings} for one in run.stages
        },
        "reads": [asdict(read) | {"times": read.times} for read in run.reads],
        "targets": targets,
    }
    return json.dumps(_rounded(shown), indent=1, allow_nan=False) + "\n"


def _rounded(value: Any) -> Any:
    """Four digits are enough; what is infinite (nothing was answered) is null."""
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    return value


def _readings(shown: Stage, name: str) -> dict[str, Any]:
    result, other = shown.result, shown.versus.get(name)
    return {
        "rounds": [asdict(one) for one in result.readings[name]],
        "statuses": dict(sorted(result.statuses[name].items())),
        "audit": asdict(result.audits[name]) if name in result.audits else None,
        "versus": other,
        "ratio": shown.ratio(name, other, "rate") if other else None,
    }


def _row(shown: Stage, name: str) -> dict[str, str]:
    rates = shown.all(name, "rate")
    statuses, audit = shown.result.statuses[name], shown.result.audits.get(name)
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
        **_background(shown, name),
        "not 200": f"{statuses.total() - statuses[200]:,}",
        "lost / twice / miscounted": f"{audit.lost} / {audit.twice} / {audit.miscounted}" if audit else "",
    }


def _ratio(shown: Stage, name: str) -> dict[str, str]:
    if not shown.versus:
        return {}
    title = "of the floor" if set(shown.versus.values()) == {FLOOR} else "of without"
    other = shown.versus.get(name)
    return {title: f"{shown.ratio(name, other, 'rate'):.2f}" if other else ""}


def _background(shown: Stage, name: str) -> dict[str, str]:
    unit = shown.result.background
    return {f"beside, {unit}": f"{shown.median(name, 'background'):,.0f}"} if unit else {}


def _table(rows: Sequence[Mapping[str, str]]) -> str:
    """Markdown whose columns also line up where it is not rendered."""
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in lines
    )
