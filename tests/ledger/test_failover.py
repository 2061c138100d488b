"""A primary and its standby: what was answered is kept and shown, whichever of them we were led to."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from service.domain.callback import Callback
from service.store.engine import Database
from tests.bed.pair import Pair
from tests.house import migrate, wait_until
from tests.ledger.desk import Desk, running

PACE_SECONDS = 0.05


def stored_on(pair: Pair, url: str) -> int:
    """How many callbacks the primary has, asked itself."""
    with psycopg.connect(pair.on(pair.primary, url)) as db:
        found = db.execute("SELECT sum(deliveries) FROM callback").fetchone()
        assert found
        return int(found[0])


@contextmanager
def desk_on(url: str, folder: Path) -> Iterator[Desk]:
    database = Database(migrate(url))
    with running(Desk(database, folder / "spool")) as desk:
        yield desk
    database.close()


def keep_at_a_pace(desk: Desk, callbacks: list[Callback]) -> None:
    """20 a second, whatever becomes of those before. Raises NotDurable."""

    async def come() -> None:
        kept = []
        for callback in callbacks:
            kept.append(desk.intake.keep(callback))
            await asyncio.sleep(PACE_SECONDS)
        await asyncio.gather(*kept)

    desk.run(come())


@pytest.mark.parametrize("is_synchronous", [True])
@pytest.mark.parametrize("cut", [True, False], ids=["connections cut", "connections kept"])
def test_while_the_address_leads_to_a_standby_callbacks_wait_and_are_shown_afterwards(
    pair: Pair, tmp_path: Path, cut: bool
) -> None:
    with desk_on(pair.create_database(), tmp_path) as desk:
        callbacks = desk.callbacks(120)
        for start in range(0, 120, 40):
            pair.lead_to(pair.standby if start == 40 else pair.primary, cut=cut)
            keep_at_a_pace(desk, callbacks[start : start + 40])
        wait_until(desk.is_drained)
        assert desk.deliveries() == {"siprec-started": 120}
        assert desk.depth.dead_letters == 0


@pytest.mark.parametrize("is_synchronous", [False])
def test_an_old_primary_that_wakes_up_gets_nothing_of_the_spool(pair: Pair, tmp_path: Path) -> None:
    """Connections to it are still open, and what it takes nobody will ever see."""
    url = pair.create_database()
    with desk_on(url, tmp_path) as desk:
        callbacks = desk.callbacks(160)
        desk.keep(*callbacks[:20])
        pair.wait_until_caught_up()
        pair.primary.freeze()
        keep_at_a_pace(desk, callbacks[20:60])
        pair.fail_over(cut=False)
        assert pair.old
        pair.old.thaw()
        for start in range(60, 160, 20):
            keep_at_a_pace(desk, callbacks[start : start + 20])
        wait_until(desk.is_drained)
        assert stored_on(pair, url) == 160
        assert desk.depth.dead_letters == 0
