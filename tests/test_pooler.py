"""The service behind PgBouncer in transaction mode: nobody meets an error, and no callback is lost."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from sqlalchemy import text

from service.sandbox import Behaviour, Sandbox
from tests.bed.pgbouncer import PgBouncer
from tests.bed.postgres import Postgres
from tests.house import House, wait_until

ROUNDS, AT_ONCE = 40, 4
CALLBACKS, SENDERS = 600, 16


@pytest.fixture
def house(postgres: Postgres, postgres_template: str, pooler: PgBouncer, sandbox: Sandbox) -> Iterator[House]:
    url = postgres.create_database(template=postgres_template)
    # Two web processes: what one prepares, the other's connection would run.
    with House(pooler.in_front_of(url), sandbox, 2) as built:
        yield built
    postgres.drop_database(url)


def test_forty_rounds_of_start_poll_and_stop_by_four_at_once(house: House) -> None:
    def live(number: int) -> None:
        for turn in range(ROUNDS // AT_ONCE):
            session = house.start(f"v3:{number}-{turn}")
            assert session.status_code == 201, session.text
            house.wait_for(session.json()["id"], "started")
            stopped = house.post(f"/v1/sessions/{session.json()['id']}/stop")
            assert stopped.status_code == 202, stopped.text
            house.wait_for(session.json()["id"], "stopped")

    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(live, range(AT_ONCE)))
    assert "ERROR" not in house.web.log


def test_no_callback_under_load_is_lost(house: House, sandbox: Sandbox) -> None:
    sandbox.behave(Behaviour(drop=frozenset({"siprec-started", "siprec-stopped"})))
    sessions = [house.start(f"v3:{number}").json() for number in range(8)]
    urls = {session["id"]: house.callback_url(session["call_sid"]) for session in sessions}

    def send(number: int) -> int:
        session = sessions[number % len(sessions)]
        body = sandbox.compose(session["siprec_sid"], "siprec-started", Number=str(number))
        headers = sandbox.sign(body)
        return requests.post(urls[session["id"]], data=body, headers=headers, timeout=10).status_code

    with ThreadPoolExecutor(SENDERS) as threads:
        assert set(threads.map(send, range(CALLBACKS))) == {200}

    def count() -> int:
        with house.database.read() as db:
            return int(db.scalar(text("SELECT count(*) FROM callback")) or 0)

    wait_until(lambda: count() == CALLBACKS, why=lambda: f"{count()} of {CALLBACKS}")
