"""All that a run found out, and how programs read it: JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tests.bench.figures import Stage
from tests.bench.reads import Read
from tests.bench.targets import Target
from tests.bench.watch import Cost


@dataclass(frozen=True)
class Run:
    """All that a run found out."""

    facts: Mapping[str, str]
    stages: Sequence[Stage]
    reads: Sequence[Read]
    targets: Sequence[Target]
    watch: Sequence[Cost] = ()


def as_json(run: Run) -> str:
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
        "watch": [asdict(cost) for cost in run.watch],
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
        "compared": shown.compared if other else None,
        "ratio": shown.ratio(name, other, shown.compared) if other else None,
    }
