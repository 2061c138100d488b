"""Whether the process answers, and whether it can keep callbacks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.bed.postgres import Postgres
from tests.house import House, wait_until
from tests.web.indoors import Indoors

NOBODY = "postgresql://postgres@/ledger?host=/nowhere"


def test_it_is_well(indoors: Indoors) -> None:
    assert indoors.stranger.get("/healthz").json == {"status": "ok"}
    answer = indoors.stranger.get("/readyz")
    assert (answer.status_code, answer.json["ready"]) == (200, True)
    assert answer.json["database"] == {"reachable": True, "schema_age": "current"}
    assert answer.json["refused"] == 0


def test_a_probe_may_ask_with_any_query(indoors: Indoors) -> None:
    assert indoors.stranger.get("/healthz?x=1").status_code == 200
    assert indoors.stranger.post("/healthz").status_code == 405


def test_without_a_schema_it_is_not_ready(furnish: Callable[..., Indoors], tmp_path: Path) -> None:
    indoors = furnish(DATABASE_URL=f"sqlite:///{tmp_path}/empty.sqlite3")
    answer = indoors.stranger.get("/readyz")
    assert (answer.status_code, answer.json["ready"]) == (503, False)
    assert answer.json["database"] == {"reachable": True, "schema_age": "missing"}
    assert indoors.stranger.get("/healthz").status_code == 200


def test_a_schema_that_is_newer_than_the_code_is_ready(indoors: Indoors) -> None:
    with indoors.parts.database.begin() as db:
        db.execute(text("UPDATE alembic_version SET version_num = 'of-a-later-release'"))
    answer = indoors.stranger.get("/readyz")
    assert (answer.status_code, answer.json["ready"]) == (200, True)
    assert answer.json["database"]["schema_age"] == "newer"


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_without_a_database_it_is_not_ready_unless_the_spool_takes_callbacks(
    furnish: Callable[..., Indoors], tmp_path: Path
) -> None:
    away = {"reachable": False, "schema_age": None}
    without = furnish(DATABASE_URL=NOBODY).stranger.get("/readyz")
    assert (without.status_code, without.json["database"]) == (503, away)
    spooling = furnish(DATABASE_URL=NOBODY, SPOOL="on", SPOOL_DIR=tmp_path).stranger.get("/readyz")
    assert (spooling.status_code, spooling.json["database"]) == (200, away)
    assert spooling.json["spool"]["state"] == "on"


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
        assert house.get("/readyz").status_code == 503
        assert house.get("/v1/sessions").status_code == 503
        house.web.kill_master()
        house.web.start()
        assert house.get("/healthz").status_code == 200
        assert house.get("/readyz").json()["database"]["reachable"] is False
    finally:
        postgres.start()
    wait_until(lambda: house.get("/readyz").status_code == 200)
    wait_until(lambda: house.start().status_code == 201)


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_it_says_so_when_the_database_does_not_know_it(
    furnish: Callable[..., Indoors], database_url: str
) -> None:
    """A wrong name of the database is as good as none."""
    missing = database_url.replace("/bed_", "/nobody_has_this_")
    assert furnish(DATABASE_URL=missing).stranger.get("/readyz").status_code == 503
