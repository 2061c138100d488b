"""Alerts of the service itself: without a database, told once, and with one id for all processes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.domain.service_alerts import Condition, alert_id, findings
from service.webhooks.client import Receiver
from service.workers.condition import Increase
from service.workers.service_alerts import ServiceAlerts
from tests.webhooks.receiver import SECRET, AlertReceiver

NOW = datetime(2026, 11, 28, 12, 3, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.fixture
def receiver() -> Iterator[AlertReceiver]:
    one = AlertReceiver()
    yield one
    one.close()


class Process:
    """Its condition is what the test says."""

    def __init__(self, receiver: AlertReceiver, host: str = "host-a") -> None:
        self.condition = Condition()
        told = Receiver(receiver.url, "standard", SECRET, lambda: datetime.now(UTC))
        self._alerts = ServiceAlerts(
            lambda _: self.condition, told, "https://l.example", "https://l.example", host
        )

    def run(self, at: datetime, condition: Condition) -> None:
        self.condition = condition
        self._alerts.run_once(at)


OUT = Condition(unavailable_seconds=12)


def told(receiver: AlertReceiver) -> list[tuple[str, str]]:
    return [(one.id, one.verified()["type"]) for one in receiver.received]


@pytest.mark.parametrize(
    ("condition", "codes"),
    [
        ({}, []),
        ({"unavailable_seconds": 9}, []),
        ({"unavailable_seconds": 10}, ["database_unavailable"]),
        ({"spool_seconds": 9}, []),
        ({"spool_seconds": 10}, ["spool_in_use"]),
        ({"dead_letters": 1}, ["dead_letters"]),
        ({"rejected": 9}, []),
        ({"rejected": 10}, ["rejected_growing"]),
        ({"slow_answers": 2}, []),
        ({"slow_answers": 3}, ["slow_answers"]),
        ({"clock_seconds": [40, 40, 40, 40]}, []),  # too few
        ({"clock_seconds": [40, 40, 40, 0, 0]}, ["clock_off"]),
        ({"clock_seconds": [-40, -40, -40, 0, 0]}, ["clock_off"]),
        ({"clock_seconds": [4000, 4000, 1, 0, 0]}, []),  # replayed
        ({"unnumbered_seconds": 29}, []),
        ({"unnumbered_seconds": 30}, ["numbering_stalled"]),
        ({"watch_seconds": 30}, ["watch_stalled"]),
        (
            {"unavailable_seconds": 60, "watch_seconds": 60, "unnumbered_seconds": 60},
            ["database_unavailable"],
        ),
    ],
)
def test_thresholds(condition: dict[str, Any], codes: list[str]) -> None:
    assert [one.cause.code for one in findings(Condition(**condition))] == codes


def test_an_outage_is_told_once_and_its_end_once_it_is_over_for_a_minute(receiver: AlertReceiver) -> None:
    process = Process(receiver)
    for seconds in range(0, 50, 5):
        process.run(NOW + seconds * SECOND, Condition(unavailable_seconds=12 + seconds))
    (opened,) = told(receiver)
    process.run(NOW + 50 * SECOND, Condition())
    process.run(NOW + 60 * SECOND, Condition(unavailable_seconds=10))  # there again
    process.run(NOW + 70 * SECOND, Condition())
    process.run(NOW + 119 * SECOND, Condition())
    assert told(receiver) == [opened]
    process.run(NOW + 120 * SECOND, Condition())
    process.run(NOW + 180 * SECOND, Condition())
    id = opened[0].partition(".")[0]
    assert told(receiver) == [(f"{id}.1", "alert.opened"), (f"{id}.2", "alert.ended")]


def test_all_processes_of_one_outage_use_one_id(receiver: AlertReceiver) -> None:
    Process(receiver, "host-a").run(NOW, OUT)
    Process(receiver, "host-b").run(NOW + SECOND, Condition(unavailable_seconds=13))
    assert len(receiver.received) == 2
    assert len(set(told(receiver))) == 1


def test_what_is_of_a_host_has_an_id_of_its_own_there(receiver: AlertReceiver) -> None:
    for host in ("host-a", "host-a", "host-b"):
        Process(receiver, host).run(NOW, Condition(dead_letters=1))
    ids = [one.id for one in receiver.received]
    assert ids[0] == ids[1] != ids[2]


def test_another_outage_has_another_id() -> None:
    at = [alert_id("database_unavailable", "s", "h", NOW + minutes * 60 * SECOND) for minutes in (0, 1, 30)]
    assert at[0] == at[1] != at[2]


def test_a_receiver_that_was_down_is_told_later_with_the_same_id(
    receiver: AlertReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.workers.service_alerts.FIRST_BACKOFF_SECONDS", 0.0)
    process = Process(receiver)
    receiver.status = 500
    process.run(NOW, OUT)
    process.run(NOW + 5 * SECOND, OUT)
    receiver.status = 200
    process.run(NOW + 10 * SECOND, OUT)
    process.run(NOW + 15 * SECOND, OUT)
    assert len(receiver.received) == 3
    assert len(set(told(receiver))) == 1


def test_it_is_reminded_hourly(receiver: AlertReceiver) -> None:
    process = Process(receiver)
    for minutes in (0, 59, 60, 61):
        process.run(NOW + minutes * 60 * SECOND, OUT)
    assert [kind for _, kind in told(receiver)] == ["alert.opened", "alert.reminded"]


def test_a_counter_is_looked_at_over_ten_minutes() -> None:
    grown = Increase()
    counts = [(0, 5), (60, 8), (599, 20), (661, 20), (1300, 20)]
    assert [grown.of(count, NOW + at * SECOND) for at, count in counts] == [0, 3, 15, 0, 0]
