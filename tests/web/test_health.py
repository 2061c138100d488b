"""Whether the process answers, and whether it can keep callbacks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import text

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
    assert answer.json["numbering"] == {"unnumbered": None, "lag_seconds": None}  # nobody has looked yet


def numbering(house: House) -> dict[str, Any]:
    shown: dict[str, Any] = house.get("/readyz").json()["numbering"]
    return shown


def has_unnumbered(house: House) -> bool:
    with house.database.read() as db:
        return bool(db.scalar(text("SELECT count(*) FROM event WHERE position IS NULL")))


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_it_tells_how_far_the_numbering_of_events_is_behind(house: House) -> None:
    house.start()
    wait_until(lambda: not has_unnumbered(house) and numbering(house)["unnumbered"] == 0)
    assert numbering(house)["lag_seconds"] < 2
    with house.database.begin() as db:
        db.execute(text("SELECT id FROM numbering FOR UPDATE"))  # nobody else numbers
        house.start("v3:call-2")
        wait_until(lambda: numbering(house)["unnumbered"] > 0)
        wait_until(lambda: numbering(house)["lag_seconds"] > 1)
        assert has_unnumbered(house)
    wait_until(lambda: numbering(house)["unnumbered"] == 0 and numbering(house)["lag_seconds"] < 1)
    wait_until(lambda: not has_unnumbered(house))


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_on_sqlite_too_what_has_no_position_gets_one(house: House) -> None:
    house.start()
    assert not has_unnumbered(house)  # at any time
    with house.database.begin() as db:  # as an earlier release wrote them
        db.execute(text("UPDATE event SET position = NULL, numbered_at = NULL"))
    wait_until(lambda: not has_unnumbered(house))
    wait_until(lambda: numbering(house)["unnumbered"] == 0)


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
        wait_until(lambda: house.get("/readyz").status_code == 503, 5)  # what is short is only a conflict
        answer = house.get("/readyz")
        assert (answer.status_code, answer.json()["ready"]) == (503, False)
        assert answer.json()["database"]["takes_writes"] is False
        assert answer.json()["spool"]["state"] == "unusable"
    wait_until(lambda: house.get("/readyz").status_code == 200)
    assert call_back(1) == 200


def test_a_deadline_too_short_for_telnyx_is_said_and_nothing_starts(build: Callable[..., House]) -> None:
    with pytest.raises(DidNotStart, match="START_DEADLINE_SECONDS: must be at least"):
        build(START_DEADLINE_SECONDS="5", TELNYX_TIMEOUT_SECONDS="5")


def test_a_database_of_0_1_is_refused_by_name(build: Callable[..., House]) -> None:
    house = build()
    house.web.stop()
    with house.database.begin() as db:
        db.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    with pytest.raises(DidNotStart, match=r"the database cannot be used: .*version 0\.1"):
        house.web.start()


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
