"""What is counted and measured, under the names that /metrics shows.

Each process counts; where PROMETHEUS_MULTIPROC_DIR is set (service.metrics_folder), what all of them counted
is shown together, those that have ended included.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from itertools import product
from typing import Any, Final, Literal, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

log = logging.getLogger(__name__)

REGISTRY: Final = CollectorRegistry()
OTHER: Final = "other"  # a label's value that is none of the known ones

Labels = Mapping[str, Sequence[str]]  # name -> all its values
Values = tuple[str, ...]
T = TypeVar("T", Counter, Histogram)


@dataclass(frozen=True)
class Described:
    """A metric as it is exported; a counter's name ends in _total."""

    name: str
    type: str
    help: str
    labels: tuple[str, ...] = ()


EXPORTED: Final[list[Described]] = []

disable_created_metrics()  # of one series each would be two


def _name(name: str, kind: str, text: str, labels: Sequence[str] = ()) -> str:
    full = f"siprec_ledger_{name}"
    EXPORTED.append(Described(full, kind, text, tuple(labels)))
    return full


def _counter(name: str, text: str, labels: Labels) -> dict[Values, Counter]:
    full = _name(name, "counter", text, list(labels))
    return _children(Counter(full, text, list(labels), registry=REGISTRY), labels)


def _histogram(
    name: str, text: str, buckets: Sequence[float], labels: Labels | None = None
) -> dict[Values, Histogram]:
    labels = labels or {}
    full = _name(name, "histogram", text, list(labels))
    made = Histogram(full, text, list(labels), registry=REGISTRY, buckets=buckets)
    return _children(made, labels)


def _children(metric: T, labels: Labels) -> dict[Values, T]:
    """All that there can be, made at once: a series that begins at 0 shows its first increase."""
    if not labels:
        return {(): metric}
    return {values: metric.labels(*values) for values in product(*labels.values())}


def _gauge(name: str, text: str, mode: Literal["livesum", "livemin", "livemax"]) -> Gauge:
    """`mode` makes one value of those of several processes that live."""
    full = _name(name, "gauge", text)
    return Gauge(full, text, registry=REGISTRY, multiprocess_mode=mode)


def _from_database(name: str, text: str, *labels: str) -> Described:
    """What /metrics asks the database for."""
    _name(name, "gauge", text, labels)
    return EXPORTED[-1]


START_OUTCOMES: Final = ("accepted", "refused", "unanswered")
OK: Final = "ok"
TELNYX_OUTCOMES: Final = (OK, "rejected", "credentials", "rate_limited", "unreachable", "no_answer")
EVENTS: Final = ("siprec-started", "siprec-stopped", "siprec-failed", OTHER)
LATENESS: Final = ("under_5s", "under_1m", "over_1m", "unknown")
STATUSES: Final = ("200", "403", "404", "405", "413", "503", OTHER)
REASONS: Final = (
    "unsigned",
    "forged",
    "not_its_accounts",
    "unreadable_timestamp",
    "unknown_token",
    "get_without_token",
    "get_not_ordered",
    "get_with_body",
    OTHER,
)
CLOCKS: Final = ("telnyx", "ours")

_starts = _counter(
    "starts_total", "Starts that Telnyx was asked for, by what became of them.", {"outcome": START_OUTCOMES}
)
_accepted_seconds = _histogram(
    "start_accepted_seconds",
    "From an app's request to start a session until Telnyx accepted it.",
    (0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60),
)
_started_seconds = _histogram(
    "request_to_started_seconds",
    "From an app's request until the recording started: by the time that Telnyx's callback gives "
    "(clock telnyx), or until that callback reached us (clock ours).",
    (0.5, 1, 2, 5, 10, 20, 30, 60, 300),
    {"clock": CLOCKS},
)
_callbacks = _counter(
    "callbacks_total",
    "Callbacks that were committed to the database, by what they tell, whether the same was there already "
    "(repeat), and how long after the time that Telnyx gives it was received (lateness).",
    {"event": EVENTS, "repeat": ("false", "true"), "lateness": LATENESS},
)
_answer_seconds = _histogram(
    "callback_answer_seconds",
    "From the head of a callback's request until its answer, by the status that is answered.",
    (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2),
    {"status": STATUSES},
)
_rejected = _counter(
    "callbacks_rejected_total",
    "Requests to the callback endpoint that were not taken for Telnyx's, by why.",
    {"reason": REASONS},
)
_spooled = _counter(
    "callbacks_spooled_total", "Callbacks that were kept on local disk first, not in the database.", {}
)
_batch_callbacks = _histogram(
    "batch_callbacks", "Callbacks in one transaction of those that wait.", (1, 2, 4, 8, 16, 32, 64, 128, 256)
)
_batch_commit_seconds = _histogram(
    "batch_commit_seconds",
    "How long the transaction of a batch of callbacks took, its commit included.",
    (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2),
)
_telnyx_requests = _counter(
    "telnyx_requests_total",
    "Requests to Telnyx's API, each try by itself, by what came of them.",
    {"outcome": TELNYX_OUTCOMES},
)
_telnyx_request_seconds = _histogram(
    "telnyx_request_seconds",
    "How long one request to Telnyx's API took.",
    (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60),
)

answers = _gauge(
    "database_answers", "1 while every process can read from the database, as far as known.", "livemin"
)
takes_writes = _gauge(
    "database_takes_writes", "1 while every process can write to the database, as far as known.", "livemin"
)
spool_entries = _gauge("spool_entries", "Callbacks and answers that wait on this host's disk.", "livemax")
spool_oldest_seconds = _gauge(
    "spool_oldest_seconds", "How long the oldest of them has waited; 0: nothing waits.", "livemax"
)
spool_dead_letters = _gauge(
    "spool_dead_letters", "Entries of this host's spool that the database will never take.", "livemax"
)
waiting_readers = _gauge("waiting_readers", "Requests that wait for an event or a state (wait=…).", "livesum")
web_processes = _gauge("web_processes", "Web processes of this gunicorn that live.", "livesum")

DATABASE_UP: Final = _from_database(
    "database_up", "1 if the database answered what /metrics asked it; if 0, what follows is left out."
)
BUILD_INFO: Final = _from_database("build_info", "1; the label names the release that runs.", "version")
OVERDUE: Final = _from_database(
    "overdue_sessions",
    "Sessions of which something did not come in time, by what (cause), and whether their call goes on by "
    "what Telnyx said last (call: live, over, unknown).",
    "cause",
    "call",
)
ALERTS: Final = _from_database(
    "open_alerts",
    "Alerts that are open, by cause, and whether somebody acknowledged them.",
    "cause",
    "acknowledged",
)
NOTICES: Final = _from_database("alert_notices_waiting", "Notices of alerts that are still to be sent.")
ALL_ENTRIES: Final = _from_database(
    "all_spools_entries", "Callbacks and answers that wait on the disks of all hosts, as they said last."
)
ALL_DEAD_LETTERS: Final = _from_database("all_spools_dead_letters", "Dead letters on the disks of all hosts.")
ALL_OLDEST: Final = _from_database(
    "all_spools_oldest_seconds", "How long the oldest entry on any host's disk has waited; 0: nothing waits."
)
SPOOLS_UNSEEN: Final = _from_database(
    "unseen_spools", "Spools whose host was not heard of for 15 s, and is not retired."
)
HEARTBEAT: Final = _from_database(
    "heartbeat_age_seconds", "How long ago any process last wrote its heartbeat; absent if none ever did."
)
PROCESSES: Final = _from_database(
    "processes",
    "Web processes of all hosts, by how long ago each wrote its heartbeat; ended ones are among the older.",
    "heartbeat",
)
UNNUMBERED: Final = _from_database(
    "unnumbered_events", "Committed events that have no position yet; 10000 may be more."
)
NUMBERING_LAG: Final = _from_database(
    "numbering_lag_seconds", "How long the oldest committed event has waited for its position."
)
REJECTED_STORED: Final = _from_database(
    "rejected_callbacks_stored", "Rejected callbacks that are kept, by why they were rejected.", "reason"
)
RELEASE: Final = version("siprec-ledger")

answers.set(1)
takes_writes.set(1)
web_processes.set(1)


def count_start(outcome: str, seconds: float) -> None:
    """One that Telnyx was asked for: of START_OUTCOMES, so long after the app asked."""
    _starts[outcome,].inc()
    if outcome == "accepted":
        _accepted_seconds[()].observe(seconds)


def count_telnyx_request(outcome: str, seconds: float) -> None:
    _telnyx_requests[outcome,].inc()
    _telnyx_request_seconds[()].observe(seconds)


def count_answer(status: int, seconds: float) -> None:
    """Of a callback."""
    (_answer_seconds.get((str(status),)) or _answer_seconds[OTHER,]).observe(seconds)


def count_rejected(reason: str) -> None:
    (_rejected.get((reason,)) or _rejected[OTHER,]).inc()


def count_spooled(count: int) -> None:
    _spooled[()].inc(count)


@contextmanager
def counting() -> Iterator[None]:
    """For what has to go on, whatever goes wrong with counting it."""
    try:
        yield
    except Exception:
        log.exception("something was not counted")


def count_batch(callbacks: int, seconds: float) -> None:
    _batch_callbacks[()].observe(callbacks)
    _batch_commit_seconds[()].observe(seconds)


def count_callbacks(counts: Mapping[tuple[str, str, str], int]) -> None:
    """By the values of `event`, `repeat` and `lateness`."""
    for values, count in counts.items():
        _callbacks[values].inc(count)


def observe_started(by_telnyx: float, by_us: float) -> None:
    """Seconds since the app's request, by either clock; clocks that differ may make them negative."""
    _started_seconds["telnyx",].observe(max(0.0, by_telnyx))
    _started_seconds["ours",].observe(max(0.0, by_us))


def label_of(reason: Any) -> str:
    """Of a RejectionReason, its name."""
    name = str(reason.name).lower()
    return name if name in REASONS else OTHER
