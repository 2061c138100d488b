"""The counts of a whole gunicorn: of every worker, of killed ones, with nothing configured."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import requests

from service import metrics, metrics_folder
from service.sandbox import EVENTS, Behaviour, Sandbox
from tests.exposition import Shown
from tests.house import House, wait_until

SPOOLED = "siprec_ledger_callbacks_spooled_total"
KEPT = "siprec_ledger_callbacks_total"
ANSWERED = 'siprec_ledger_callback_answer_seconds_count{status="200"}'


def shown(house: House) -> Shown:
    answer = house.get("/metrics")
    assert answer.status_code == 200, answer.text
    return Shown(answer.text)


def bring(house: House, count: int, first: int = 0) -> None:
    """So many callbacks of one session, each on a connection of its own, so that any worker may get it."""
    sandbox, url = house.sandbox, house.callback_url()
    sid = sandbox.sessions[-1].sid
    for n in range(first, first + count):
        body = sandbox.compose(sid, "siprec-started", None, None, Number=str(n))
        headers = {**sandbox.sign(body), "Content-Type": "application/x-www-form-urlencoded"}
        assert requests.post(url, data=body, headers=headers, timeout=30).status_code == 200


def folders() -> set[Path]:
    return {
        folder
        for parent in (Path("/dev/shm"), Path("/tmp"))
        for folder in parent.glob(f"{metrics_folder.PREFIX}*")
    }


@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_two_workers_are_counted_together_and_a_killed_one_still_counts(
    database_url: str, sandbox: Sandbox
) -> None:
    sandbox.behave(Behaviour(drop=frozenset(EVENTS)))
    with House(database_url, sandbox, workers=2) as house:
        assert house.start().status_code == 201
        first = set(house.web.worker_pids())
        sent = 0
        for victim in sorted(first):  # both, so that whichever counted is killed
            bring(house, 20, sent)
            sent += 20
            os.kill(victim, signal.SIGKILL)
            wait_until(
                lambda victim=victim: (  # type: ignore[misc]
                    victim not in (now := house.web.worker_pids()) and len(now) == 2
                )
            )
            wait_until(lambda: shown(house).series["siprec_ledger_web_processes"] == 2)
        assert not first & set(house.web.worker_pids())
        bring(house, 10, sent)
        wait_until(lambda: shown(house).total(KEPT) >= 50)  # on a busy machine some wait in the spool
        found = shown(house)
        assert (found.total(KEPT), found.series[ANSWERED]) == (50, 50)
        assert found.series["siprec_ledger_batch_callbacks_sum"] + found.total(SPOOLED) == 50
        assert found.series['siprec_ledger_callback_answer_seconds_bucket{le="+Inf",status="200"}'] == 50
        assert found.total("siprec_ledger_starts_total", outcome="accepted") == 1
        assert found.series["siprec_ledger_database_takes_writes"] == 1


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_one_process_counts_with_nothing_configured_and_leaves_nothing(house: House) -> None:
    before = folders()
    assert before
    house.sandbox.behave(Behaviour(drop=frozenset(EVENTS)))
    assert house.start().status_code == 201
    bring(house, 5)
    found = shown(house)
    assert (found.total(KEPT), found.series[ANSWERED]) == (5, 5)
    os.kill(house.web.worker_pids()[0], signal.SIGKILL)
    wait_until(lambda: "killed" in house.web.log.lower() or "sigkill" in house.web.log.lower())
    wait_until(lambda: requests.get(f"{house.web.url}/healthz", timeout=30).status_code == 200)
    bring(house, 2, 5)
    found = shown(house)
    assert (found.total(KEPT), found.series[ANSWERED]) == (7, 7)
    house.web.stop()
    assert len(before - folders()) >= 1


def test_files_have_room_for_all_series_and_are_whole_before_they_are_mapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(metrics_folder.VARIABLE, str(tmp_path))
    assert metrics_folder.prepare(7)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        f"{kind}_7.db" for kind in metrics_folder.KINDS
    )
    for path in tmp_path.iterdir():
        assert path.stat().st_blocks * 512 >= metrics_folder.SIZE
    series = sum(len(family.samples) for family in metrics.REGISTRY.collect())
    longest = max(len(one.help) + len(one.name) for one in metrics.EXPORTED) + 120
    assert series * longest < metrics_folder.SIZE


def test_where_no_file_can_be_made_a_process_counts_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(metrics_folder.VARIABLE, str(tmp_path / "removed"))
    assert not metrics_folder.prepare(7)
    assert metrics_folder.current() is None


def test_what_a_killed_gunicorn_left_is_removed_and_what_another_uses_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, used = tmp_path / f"{metrics_folder.PREFIX}left", tmp_path / f"{metrics_folder.PREFIX}used"
    for folder in (left, used):
        folder.mkdir()
        (folder / metrics_folder.OWNED).touch()
    owner = metrics_folder._lock(used / metrics_folder.OWNED)
    metrics_folder._remove_left(tmp_path)
    assert (left.exists(), used.exists()) == (False, True)
    os.close(owner)
