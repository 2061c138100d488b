"""What the callback door refused, judged again: after a wrong key or secret was put right."""

from __future__ import annotations

from dataclasses import dataclass

from service.control import Control
from service.store import refusals
from service.store.engine import Database
from service.store.refusals import Refusal
from service.telnyx.callback import Delivery, DoubtfulCallback, Reader

BATCH = 100


@dataclass(frozen=True)
class Retried:
    """How many callbacks turned out to be genuine and are now in the ledger, and how many did not."""

    kept: int
    refused: int


def retry(database: Database, control: Control, reader: Reader) -> Retried:
    """Judge everything in quarantine again, oldest first. May be broken off and repeated.

    Raises DatabaseTrouble.
    """
    kept = refused = place = 0
    while True:
        with database.read() as db:
            batch = refusals.oldest(db, place, BATCH)
        if not batch:
            return Retried(kept, refused)
        for place, refusal in batch:
            try:
                callback = reader.read(_delivery(refusal))
            except DoubtfulCallback:
                refused += 1
                continue
            control.hear([callback])  # a delivery that is there already is passed over
            with database.begin() as db:
                refusals.let_go(db, place)
            kept += 1


def _delivery(refusal: Refusal) -> Delivery:
    return Delivery(
        id=refusal.delivery_id,
        received_at=refusal.received_at,
        method=refusal.method,
        token=refusal.token,
        query=refusal.query,
        headers=refusal.headers,
        body=refusal.body,
    )
