"""What /metrics answers: what all processes of this gunicorn counted, and what the database says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from service import metrics, metrics_folder
from service.metrics import Described
from service.store.conditions import Conditions
from service.telnyx.callback import RejectionReason

ALL_DEAD = "deadsum"  # in the name of the file that holds what those counted that have ended
REASONS = {reason.value: metrics.label_of(reason) for reason in RejectionReason}

Samples = Iterable[tuple[tuple[str, ...], float]]  # the labels' values, and the value


def exposition(accept: str, conditions: Conditions | None) -> tuple[str, bytes]:
    """Media type and text, as `accept` has it. `conditions` is None where the database does not answer."""
    registry = CollectorRegistry()
    registry.register(_Asked(conditions))
    encode, media_type = choose_encoder(accept)
    folder = metrics_folder.current()
    if folder is None:
        registry.register(_Own())
        return media_type, encode(registry)
    _bury_together(folder)
    MultiProcessCollector(registry, str(folder))
    with metrics_folder.locked(folder, shared=True):
        return media_type, encode(registry)


def _bury_together(folder: Path) -> None:
    """Add up the files of workers that have ended, or they would be more with each reload."""
    if not any(folder.glob("*_dead[0-9]*.db")):
        return
    with metrics_folder.locked(folder, shared=False):
        for path in sorted(folder.glob("*_dead[0-9]*.db")):
            total = MmapedDict(str(folder / f"{path.name.partition('_')[0]}_{ALL_DEAD}.db"))
            for key, value, _, _ in MmapedDict.read_all_values_from_file(str(path)):
                total.write_value(key, total.read_value(key)[0] + value, 0.0)
            total.close()
            with suppress(FileNotFoundError):
                path.unlink()


class _Own(Collector):
    """Of a process that counts by itself."""

    def collect(self) -> Iterable[Metric]:
        return metrics.REGISTRY.collect()


class _Asked(Collector):
    def __init__(self, conditions: Conditions | None) -> None:
        self._conditions = conditions

    def collect(self) -> Iterator[Metric]:
        yield _family(metrics.BUILD_INFO, [((metrics.RELEASE,), 1)])
        yield _family(metrics.DATABASE_UP, [((), self._conditions is not None)])
        if self._conditions is not None:
            for described, read in ASKED.items():
                yield _family(described, read(self._conditions))


def _family(described: Described, samples: Samples) -> Metric:
    made = GaugeMetricFamily(described.name, described.help, labels=described.labels)
    for labels, value in samples:
        made.add_metric(labels, value)
    return made


def _one(value: float | None) -> Samples:
    return [] if value is None else [((), value)]


def _rejected(conditions: Conditions) -> Samples:
    counts = dict.fromkeys(metrics.REASONS, 0)
    for reason, count in conditions.rejected.items():
        counts[REASONS.get(reason, metrics.OTHER)] += count
    return [((name,), count) for name, count in counts.items()]


def _alerts(conditions: Conditions) -> Samples:
    return [((cause, str(is_so).lower()), n) for (cause, is_so), n in conditions.alerts.items()]


def _processes(conditions: Conditions) -> Samples:
    return [((age,), count) for age, count in conditions.processes.items()]


ASKED: dict[Described, Callable[[Conditions], Samples]] = {
    metrics.OVERDUE: lambda found: found.overdue.items(),
    metrics.ALERTS: _alerts,
    metrics.NOTICES: lambda found: _one(found.notices_waiting),
    metrics.ALL_ENTRIES: lambda found: _one(found.spools.entries),
    metrics.ALL_DEAD_LETTERS: lambda found: _one(found.spools.dead_letters),
    metrics.ALL_OLDEST: lambda found: _one(found.spools.oldest_seconds),
    metrics.SPOOLS_UNSEEN: lambda found: _one(found.spools.unseen),
    metrics.HEARTBEAT: lambda found: _one(found.heartbeat_seconds),
    metrics.PROCESSES: _processes,
    metrics.UNNUMBERED: lambda found: _one(found.unnumbered.count),
    metrics.NUMBERING_LAG: lambda found: _one(found.unnumbered.oldest_seconds),
    metrics.REJECTED_STORED: _rejected,
}
