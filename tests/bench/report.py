"""The figures as people read them: Markdown, which the terminal shows too."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from tests.bench import tables
from tests.bench.figures import NO_RESULT, Stage, audit_of, disturbance
from tests.bench.peers import PEERS
from tests.bench.run import Run, as_json

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

PostgreSQL has 2 GiB of WAL files before anything is measured, as a server has that runs for days: a new one
makes each of 16 MiB when it needs it, and meanwhile nobody commits.

One callback in a hundred is a repeat, sent at the same time as its first. After each slice, what was
answered 200 is looked for in the database. *Lost*: it is not there. *Twice*: it is there more often than it
was sent. *Miscounted*: a count of deliveries is wrong. All but ours keep repeats as new callbacks.
*CPU µs* is what the server's processes used for each callback, the database's not among them. *Loop p99 ms*
is how late the ledger's event loop was, of ticks every 5 ms. In an open loop callbacks come at random times,
whether or not those before are answered, and what is compared is the p99.
"""
SUMMARY = {
    "floor": "*floor*: verified, nothing kept",
    "naive, SQLite": "*naive*, SQLite",
    "naive, PostgreSQL": "*naive*, PostgreSQL",
    **{peer.name: peer.name for peer in PEERS},
    "ours, SQLite": "ledger, SQLite",
    "ours, PostgreSQL": "ledger, PostgreSQL",
}


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
    return f"{tables.table(rows)}\n" if at and rows else ""


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
    """The table that the manual quotes, from what `as_json` wrote."""
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
    parts += [f"### In short\n\n{summary(json.loads(as_json(run)))}", beside_peers(run.stages)]
    parts += [tables.targets(run.targets), warning(run.stages)]
    parts += [tables.stage(one) for one in run.stages]
    parts += [naive_losses(run.stages), tables.reads(run.reads, sessions), tables.watch(run.watch)]
    return "\n".join(part for part in parts if part)
