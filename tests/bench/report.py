"""The figures as people and programs read them: Markdown, which the terminal shows too, and JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tests.bench.figures import FLOOR, NO_RESULT, Stage, Target, audit_of, disturbance

ALONE = 0.2  # of a core may be busy with something else
METHOD = f"""\
One gunicorn worker, with 32 threads but for the naive handler, no access log; the server on one core, the
load program and PostgreSQL on the other. Contestants take turns in short slices; what is shown are medians
over the rounds, and ratios are taken within a round. Differences under {NO_RESULT:.0%} are no result.

- *floor*: Flask, the form parsed, the signature verified, nothing stored; then the same without Flask.
- *naive*: the handler most people write: a database session per request, select, insert, update, commit;
  with the worker and number of threads that suit it best, see the first table.
- *direct*: the ledger's own work without its intake: each request commits its callback itself.
- *ours*: the service as it ships: SQLite with WAL and synchronous=FULL, PostgreSQL with synchronous_commit.

One callback in a hundred is a repeat, sent at the same time as its first. After each slice, what was
answered 200 is looked for in the database. *Lost*: it is not there. *Twice*: it is there more often than it
was sent. *Miscounted*: a count of deliveries is wrong. The naive handler keeps repeats as new callbacks.
"""


def stage(shown: Stage) -> str:
    rows = [_row(shown, name) for name in shown.result.readings]
    return f"### {shown.title}\n\n{_table(rows)}\n"


def targets(reached: Sequence[Target]) -> str:
    rows = [
        {
            "target": target.what,
            "": target.bound,
            "limit": f"{target.limit:g}",
            "measured": f"{target.value:.2f}" if target.value % 1 else f"{target.value:g}",
            "reached": "yes" if target.is_reached else "**no**",
        }
        for target in reached
    ]
    return f"### Targets\n\n{_table(rows)}\n"


def naive_losses(stages: Sequence[Stage]) -> str:
    """What the naive handler did wrong, in a sentence."""
    audits = [audit_of(stage, "naive") for stage in stages]
    answered, lost = sum(one.answered for one in audits), sum(one.lost for one in audits)
    miscounted = sum(one.miscounted for one in audits)
    refused = sum(
        many
        for stage in stages
        for name, statuses in stage.result.statuses.items()
        for status, many in statuses.items()
        if name.startswith("naive") and status != 200
    )
    return (
        f"Of {answered:,} callbacks that it answered 200, the naive handler lost {lost:,} and failed to "
        f"count {miscounted:,}; {refused:,} more it did not answer 200.\n"
    )


def warning(stages: Sequence[Stage]) -> str:
    """Empty if the machine was left alone."""
    share = disturbance(stages)
    if share < ALONE:
        return ""
    return f"**Something else kept {share:.0%} of a core busy: these figures are not to be relied on.**\n"


def machine(facts: Mapping[str, str]) -> str:
    return "".join(f"- {name}: {fact}\n" for name, fact in facts.items())


def document(facts: Mapping[str, str], stages: Sequence[Stage], reached: Sequence[Target]) -> str:
    parts = ["# Figures of the callback door\n", "`make bench` wrote this.\n", machine(facts), METHOD]
    parts += [stage(one) for one in stages] + [naive_losses(stages), targets(reached), warning(stages)]
    return "\n".join(part for part in parts if part)


def data(facts: Mapping[str, str], stages: Sequence[Stage], reached: Sequence[Target]) -> str:
    """Everything, each round's readings included."""
    shown = {
        "machine": dict(facts),
        "stages": {one.key: {name: _readings(one, name) for name in one.result.readings} for one in stages},
        "targets": [asdict(target) | {"is_reached": target.is_reached} for target in reached],
    }
    return json.dumps(shown, indent=1) + "\n"


def _readings(shown: Stage, name: str) -> dict[str, Any]:
    result, other = shown.result, shown.versus.get(name)
    rounds = [asdict(one) for one in result.readings[name]]
    return {
        "rounds": [{key: round(value, 4) for key, value in one.items()} for one in rounds],
        "statuses": dict(sorted(result.statuses[name].items())),
        "audit": asdict(result.audits[name]) if name in result.audits else None,
        "versus": other,
        "ratio": round(shown.ratio(name, other, "rate"), 4) if other else None,
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
        "server core": f"{shown.median(name, 'server_core'):.0%}",
        "other core": f"{shown.median(name, 'load_core'):.0%}",
        "not 200": f"{statuses.total() - statuses[200]:,}",
        "lost / twice / miscounted": f"{audit.lost} / {audit.twice} / {audit.miscounted}" if audit else "",
    }


def _ratio(shown: Stage, name: str) -> dict[str, str]:
    if not shown.versus:
        return {}
    title = "of the floor" if FLOOR in shown.versus.values() else "of without"
    other = shown.versus.get(name)
    return {title: f"{shown.ratio(name, other, 'rate'):.2f}" if other else ""}


def _table(rows: Sequence[Mapping[str, str]]) -> str:
    """Markdown whose columns also line up where it is not rendered."""
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in lines
    )
