"""Whether the process answers, and whether it can keep callbacks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from service.sandbox import EVENTS, Behaviour, Sandbox
from tests.bed.postgres import Postgres
from tests.bed.web import DidNotStart
from tests.house import House, wait_until
from tests.web.indoors import Indoors

NOBODY = "postgresql://postgres@/ledger?host=/nowhere"


def test_it_is_well(indoors: Indoors) -> None:
    assert indoors.stranger.get("/healthz").json == {"status": "ok"}
    answer = indoors.stranger.get("/readyz")
    assert (answer.status_code, answer.json["ready"]) == (200, True)
    assert answer.json["database"] == {"answers": True, "takes_writes": True, "unavailable_since": None}
    assert answer.json["spool"]["state"] == "off"


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_checks_may_have_a_query(indoors: Indoors, path: str) -> None:
    assert indoors.stranger.get(f"{path}?x=1&x=2").status_code == 200
    assert "parameters" in indoors.stranger.get("/openapi.json").json["paths"][path]["get"]


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_a_database_that_takes_no_writes_is_not_ready_unless_the_spool_takes_callbacks(
    furnish: Callable[..., Indoors], tmp_path: Path
) -> None:
    for settings, status in ({}, 503), ({"SPOOL": "on", "SPOOL_DIR": tmp_path}, 200):
        indoors = furnish(DATABASE_URL=NOBODY, **settings)
        asking = {"Authorization": f"Bearer slk_{'0' * 32}_x"}
        assert indoors.stranger.get("/v1/sessions", headers=asking).status_code == 503
        answer = indoors.stranger.get("/readyz")
        assert (answer.status_code, answer.json["ready"]) == (status, status == 200)
        assert answer.json["database"]["takes_writes"] is False
        assert answer.json["database"]["unavailable_since"] is not None
        assert indoors.stranger.get("/healthz").status_code == 200


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_sqlite_locked_by_somebody_and_a_full_spool_are_not_ready(
    build: Callable[..., House], sandbox: Sandbox
) -> None:
    """Every callback is answered 503 then, so no load balancer may send one here."""
    sandbox.behave(Behaviour(drop=frozenset(EVENTS)))
    house = build(SPOOL_LIMIT_MB="1")
    sid = house.start().json()["siprec_sid"]
    url = house.callback_url()

    def call_back(size: int) -> int:
        body = sandbox.compose(sid, "siprec-started", More="x" * size)
        return requests.post(url, data=body, headers=sandbox.sign(body), timeout=10).status_code

    with house.database.begin():  # nobody else writes
        wait_until(lambda: call_back(400_000) == 503)
        answer = house.get("/readyz")
        assert (answer.status_code, answer.json()["ready"]) == (503, False)
        assert answer.json()["database"]["takes_writes"] is False
        assert answer.json()["spool"]["state"] == "unusable"
    wait_until(lambda: house.get("/readyz").status_code == 200)
    assert call_back(1) == 200


def test_a_deadline_too_short_for_telnyx_is_said_and_nothing_starts(build: Callable[..., House]) -> None:
    with pytest.raises(DidNotStart, match="START_DEADLINE_SECONDS: must be at least"):
        build(START_DEADLINE_SECONDS="5", TELNYX_TIMEOUT_SECONDS="5")


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_it_boots_without_its_database_and_is_ready_once_it_comes(
    build: Callable[..., House], postgres: Postgres
) -> None:
    if not postgres.is_ours:
        pytest.skip("the server is not ours to stop")
    house = build(SPOOL="off")
    assert house.get("/readyz").status_code == 200
    house.database.close()
    postgres.stop()
    try:
        wait_until(lambda: house.get("/v1/sessions").status_code == 503)
        wait_until(lambda: house.get("/readyz").status_code == 503)
        house.web.kill_master()
        house.web.start()
        assert house.get("/healthz").status_code == 200
        wait_until(lambda: house.get("/readyz").json()["database"]["takes_writes"] is False)
    finally:
        postgres.start()
    wait_until(lambda: house.get("/readyz").status_code == 200)
    wait_until(lambda: house.start().status_code == 201)
