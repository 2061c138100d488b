"""/metrics: who may read it, what it counts, and that it answers while the database does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse
from sqlalchemy import Connection, insert

from service import metrics
from service.domain.access import Scope
from service.domain.notice import ErrorKind, NoticeKind
from service.metrics import EXPORTED
from service.sandbox import Answer
from service.store import processes
from service.store.errors import Outage
from service.store.tables import process
from service.store.watch_tables import alert, session_watch, spool
from service.telnyx.callback import RejectionReason
from service.web import recent_conditions
from service.web.exposition import ASKED
from tests.exposition import Shown
from tests.web.indoors import FORM, Indoors

NOW = datetime.now(UTC)
TOKEN = "a token for metrics alone"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent_conditions, "KEPT_SECONDS", 0.0)


def shown(indoors: Indoors) -> Shown:
    answer = indoors.client.get("/metrics")
    assert answer.status_code == 200, answer.text
    return Shown(answer.text)


def test_a_key_needs_reports_read(indoors: Indoors) -> None:
    assert indoors.limited(Scope.REPORTS).get("/metrics").status_code == 200
    assert indoors.limited(*(set(Scope) - {Scope.REPORTS})).get("/metrics").status_code == 403
    assert indoors.stranger.get("/metrics").status_code == 401


def test_the_token_opens_it_and_nothing_else(furnish: Callable[..., Indoors]) -> None:
    indoors = furnish(METRICS_TOKEN=TOKEN)
    assert indoors.bearing(TOKEN).get("/metrics").status_code == 200
    assert indoors.bearing(TOKEN).get("/v1/sessions").status_code == 401
    for wrong in (TOKEN[:-1], f"{TOKEN}x", "", "\xfc"):
        assert indoors.bearing(wrong).get("/metrics").status_code == 401, wrong
    assert indoors.client.get("/metrics").status_code == 200


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_it_answers_in_the_format_that_is_asked_for(indoors: Indoors) -> None:
    plain = indoors.client.get("/metrics")
    assert plain.headers["Content-Type"].startswith("text/plain; version=")
    assert list(parse(plain.text))
    accepted = indoors.client.get("/metrics", headers={"Accept": OPENMETRICS})
    assert accepted.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert list(parse_openmetrics(accepted.text))


def test_all_that_is_documented_is_exported_with_its_type_and_labels(indoors: Indoors) -> None:
    found = {family.name: family for family in parse(indoors.client.get("/metrics").text)}
    for described in EXPORTED:
        family = found.pop(
            described.name.removesuffix("_total") if described.type == "counter" else described.name
        )
        assert (family.type, family.documentation) == (described.type, described.help)
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(described.labels), sample
    assert set(found) == set()


def test_names_and_labels_are_as_prometheus_wants_them() -> None:
    for one in EXPORTED:
        assert one.name.startswith("siprec_ledger_")
        assert one.name.endswith("_total") == (one.type == "counter"), one.name
        assert one.help.endswith(".") or one is metrics.BUILD_INFO
        assert not {"session_id", "call_sid", "account", "account_sid", "connector", "host"} & set(one.labels)


def test_what_happens_to_a_session_is_counted(indoors: Indoors) -> None:
    before = shown(indoors)
    indoors.started()
    body = indoors.sandbox.compose(indoors.sid(), "siprec-started", None, None)
    for _ in range(2):
        signed = indoors.sandbox.sign(body)
        indoors.stranger.post(indoors.callback_path(), data=body, headers=signed, content_type=FORM)
    indoors.stranger.post("/callbacks/siprec", data=b"SiprecEvent=siprec-started")
    after = shown(indoors)
    grown = after.grown_since(before)
    assert grown['siprec_ledger_starts_total{outcome="accepted"}'] == 1
    assert grown["siprec_ledger_start_accepted_seconds_count"] == 1
    assert grown['siprec_ledger_telnyx_requests_total{outcome="ok"}'] == 1
    assert grown['siprec_ledger_request_to_started_seconds_count{clock="telnyx"}'] == 1
    assert grown['siprec_ledger_request_to_started_seconds_count{clock="ours"}'] == 1
    assert grown['siprec_ledger_callback_answer_seconds_count{status="200"}'] == 2
    assert grown['siprec_ledger_callback_answer_seconds_count{status="403"}'] == 1
    assert grown['siprec_ledger_callbacks_rejected_total{reason="unsigned"}'] == 1
    assert grown["siprec_ledger_batch_callbacks_sum"] == 2
    assert grown["siprec_ledger_batch_commit_seconds_count"] == grown["siprec_ledger_batch_callbacks_count"]
    assert after.total(
        "siprec_ledger_callbacks_total", repeat="false", event="siprec-started"
    ) == 1 + before.total("siprec_ledger_callbacks_total", repeat="false", event="siprec-started")
    assert after.total("siprec_ledger_callbacks_total", repeat="true") == 1 + before.total(
        "siprec_ledger_callbacks_total", repeat="true"
    )
    assert after.total("siprec_ledger_callbacks_total") == 2 + before.total("siprec_ledger_callbacks_total")


def test_what_telnyx_refuses_is_counted(indoors: Indoors) -> None:
    before = shown(indoors)
    indoors.answers(Answer("error", status=422))
    assert indoors.start().status_code == 422
    grown = shown(indoors).grown_since(before)
    assert grown['siprec_ledger_starts_total{outcome="refused"}'] == 1
    assert grown['siprec_ledger_telnyx_requests_total{outcome="rejected"}'] == 1
    assert "siprec_ledger_start_accepted_seconds_count" not in grown


@contextmanager
def unavailable(indoors: Indoors) -> Iterator[None]:
    """The database does not answer, and a second caller finds that out."""
    breaker = indoors.context.database.breaker
    indoors.stop_draining()
    breaker.failed(Outage.ALL, "for a test")
    yield
    assert not breaker.answers


def test_the_database_being_unavailable_does_not_fail_the_scrape(furnish: Callable[..., Indoors]) -> None:
    indoors = furnish(METRICS_TOKEN=TOKEN)
    asked, key = {one.name for one in ASKED}, indoors.key
    found = Shown(indoors.bearing(TOKEN).get("/metrics").text)
    assert found.series["siprec_ledger_database_up"] == 1
    assert "siprec_ledger_numbering_lag_seconds" in found.series
    with unavailable(indoors):
        answer = indoors.bearing(TOKEN).get("/metrics")
    found = Shown(answer.text)
    assert (answer.status_code, found.series["siprec_ledger_database_up"]) == (200, 0)
    assert not {one.name for one in found.samples} & asked
    assert found.series["siprec_ledger_database_answers"] == 0
    assert 'siprec_ledger_starts_total{outcome="accepted"}' in found.series
    assert indoors.bearing(key).get("/metrics").status_code == 503  # it cannot be looked up


def test_the_database_is_asked_once_in_a_while(indoors: Indoors, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent_conditions, "KEPT_SECONDS", 1000.0)
    before = shown(indoors)
    session_id = indoors.started()
    with indoors.context.database.begin() as db:
        overdue(db, session_id, "not_started", "in-progress")
    assert shown(indoors).total("siprec_ledger_overdue_sessions") == before.total(
        "siprec_ledger_overdue_sessions"
    )
    monkeypatch.setattr(recent_conditions, "KEPT_SECONDS", 0.0)
    assert shown(indoors).total("siprec_ledger_overdue_sessions") == 1


def overdue(db: Connection, session_id: str, kind: str | None, call_status: str | None) -> None:
    db.execute(
        insert(session_watch).values(
            session_id=session_id,
            requested_at=NOW,
            overdue_kind=kind,
            overdue_since=NOW,
            overdue_why="",
            call_status=call_status,
        )
    )


def test_what_is_overdue_is_told_by_cause_and_whether_its_call_goes_on(indoors: Indoors) -> None:
    ids = [indoors.started(f"v3:call-{n}") for n in range(5)]
    with indoors.context.database.begin() as db:
        overdue(db, ids[0], "not_started", "in-progress")
        overdue(db, ids[1], "not_started", "ringing")
        overdue(db, ids[2], "not_started", "completed")
        overdue(db, ids[3], "stopped_early", None)
        overdue(db, ids[4], None, "in-progress")
    found = shown(indoors)
    told = {name: n for name, n in found.series.items() if name.startswith("siprec_ledger_overdue") and n}
    assert told == {
        'siprec_ledger_overdue_sessions{call="live",cause="not_started"}': 2,
        'siprec_ledger_overdue_sessions{call="over",cause="not_started"}': 1,
        'siprec_ledger_overdue_sessions{call="unknown",cause="stopped_early"}': 1,
    }
    assert len([one for one in found.samples if one.name == "siprec_ledger_overdue_sessions"]) == 15


def test_alerts_spools_and_heartbeats_are_told(indoors: Indoors) -> None:
    with indoors.context.database.begin() as db:
        now = processes.now_of(db)
        for n, (ended, acknowledged, notice) in enumerate(
            [(None, None, now), (None, now, None), (now, None, None)]
        ):
            times = {"opened_at": now, "updated_at": now, "ended_at": ended, "acknowledged_at": acknowledged}
            counts = {"affected": 1, "total": 1, "notice": 1, "notice_sent": 0, "notice_tries": 0}
            named = {"id": str(n), "cause": "not_started", "connector_name": str(n), "account_sid": ""}
            notice_columns = {"notice_kind": "opened", "noticed_affected": 1, "noticed_at": now}
            db.execute(insert(alert).values(**named, **times, **counts, **notice_columns, notice_at=notice))
        minute, hour = timedelta(minutes=1), timedelta(hours=1)
        for n, (seen, oldest, retired) in enumerate(
            [(now, now - minute, None), (now - minute, None, None), (now - hour, now - hour, now)]
        ):
            counts = {"entries": 10**n, "dead_letters": n}
            db.execute(
                insert(spool).values(
                    id=str(n), host="a", seen_at=seen, oldest_at=oldest, retired_at=retired, **counts
                )
            )
        for n, age in enumerate([minute / 2, 2 * hour, 3 * hour]):
            db.execute(insert(process).values(id=str(n), host="a", started_at=now - age, alive_at=now - age))
    found = shown(indoors).series
    assert found['siprec_ledger_open_alerts{acknowledged="false",cause="not_started"}'] == 1
    assert found['siprec_ledger_open_alerts{acknowledged="true",cause="not_started"}'] == 1
    assert found["siprec_ledger_alert_notices_waiting"] == 1
    assert found["siprec_ledger_all_spools_entries"] == 11
    assert found["siprec_ledger_all_spools_dead_letters"] == 1
    assert 60 <= found["siprec_ledger_all_spools_oldest_seconds"] < 3600
    assert found["siprec_ledger_unseen_spools"] == 1
    assert 30 <= found["siprec_ledger_heartbeat_age_seconds"] < 3600
    assert found['siprec_ledger_processes{heartbeat="older"}'] == 2
    assert found['siprec_ledger_processes{heartbeat="under_15s"}'] == 0


def test_rejected_callbacks_that_are_kept_are_told_by_reason(indoors: Indoors) -> None:
    for _ in range(2):
        indoors.stranger.post("/callbacks/siprec", data=b"SiprecEvent=siprec-started")
    indoors.stranger.get("/callbacks/siprec/none-of-ours?SiprecEvent=siprec-started")
    indoors.settle()
    found = shown(indoors)
    assert found.series['siprec_ledger_rejected_callbacks_stored{reason="unsigned"}'] == 2
    assert found.total("siprec_ledger_rejected_callbacks_stored") == 3


def test_every_reason_to_reject_has_a_label() -> None:
    assert {metrics.label_of(reason) for reason in RejectionReason} == set(metrics.REASONS) - {metrics.OTHER}
    assert {kind.value for kind in ErrorKind} - {ErrorKind.SIPREC_FAILED} == set(metrics.TELNYX_OUTCOMES) - {
        metrics.OK
    }
    assert {one.label for one in NoticeKind if one.is_callback} == set(metrics.EVENTS)
    assert {one.label for one in NoticeKind if one.is_answer} == set(metrics.START_OUTCOMES)
