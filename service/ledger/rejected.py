"""What the callback door refused, judged again: after a wrong key or secret was put right."""

from __future__ import annotations

from dataclasses import dataclass

from service.domain.callback import Delivery
from service.ledger.ingest import Ingest
from service.store import rejected
from service.store.engine import Database
from service.store.rejected import RejectedDelivery
from service.telnyx.callback import Reader, RejectedCallback

BATCH = 100


@dataclass(frozen=True)
class Retried:
    """How many callbacks turned out to be genuine and are now in the ledger, and how many did not."""

    kept: int
    refused: int


def retry(database: Database, ingest: Ingest, reader: Reader) -> Retried:
    """Judge everything in quarantine again, oldest first. May be broken off and repeated.

    Raises DatabaseError.
    """
    kept = refused = place = 0
    while True:
        with database.read() as db:
            batch = rejected.oldest(db, place, BATCH)
        if not batch:
            return Retried(kept, refused)
        for place, refusal in batch:
            try:
                callback = reader.read(_delivery(refusal))
            except RejectedCallback:
                refused += 1
                continue
            ingest.write([callback])  # a delivery that is there already is passed over
            with database.begin() as db:
                rejected.let_go(db, place)
            kept += 1


def _delivery(refusal: RejectedDelivery) -> Delivery:
    return Delivery(
        id=refusal.delivery_id,
        received_at=refusal.received_at,
        method=refusal.method,
        token=refusal.token,
        query=refusal.query,
        headers=refusal.headers,
        body=refusal.body,
    )
