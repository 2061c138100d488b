"""The door that Telnyx calls back to: from what came to the status that is answered. Flask is its shell."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from service.domain.callback import Delivery
from service.domain.ids import new_id
from service.ledger.intake import Intake, NotDurable
from service.store import rejected
from service.store.engine import Database, DatabaseError
from service.store.rejected import RejectedDelivery
from service.telnyx.callback import Reader, RejectedCallback, RejectionReason

LARGEST_BODY: Final = 1024 * 1024
KEEP_SECONDS: Final = 0.8
STATUSES: Final = {
    RejectionReason.FORGED: 403,
    RejectionReason.UNSIGNED: 403,
    RejectionReason.UNKNOWN_TOKEN: 404,
    RejectionReason.UNREADABLE_TIMESTAMP: 403,
    RejectionReason.GET_WITHOUT_TOKEN: 404,
    RejectionReason.GET_NOT_ORDERED: 403,
    RejectionReason.GET_WITH_BODY: 403,
}

log = logging.getLogger(__name__)


class Door:
    def __init__(
        self, reader: Reader, intake: Intake, database: Database, clock: Callable[[], datetime]
    ) -> None:
        self._reader = reader
        self._intake = intake
        self._database = database
        self._clock = clock

    def receive(
        self,
        method: str,
        token: str | None,
        query: bytes,
        headers: Mapping[str, str],
        body: bytes,
    ) -> int:
        """200 once it is kept; 403 or 404 if it is not Telnyx's; 413 too large; 503 our trouble.

        `headers` have lower-case names, `query` and `body` are as they came.
        """
        if len(body) > LARGEST_BODY:
            return 413
        delivery = Delivery(new_id(), self._clock(), method, token, query, headers, body)
        try:
            callback = self._reader.read(delivery)
        except RejectedCallback as refusal:
            return self._refuse(delivery, refusal.reason)
        try:
            self._intake.keep(callback)
        except NotDurable as trouble:
            log.error("callback not kept: delivery=%s: %s", delivery.id, trouble)
            return 503
        return 200

    def _refuse(self, delivery: Delivery, doubt: RejectionReason) -> int:
        status = STATUSES[doubt]
        log.warning("callback refused: delivery=%s status=%d reason=%s", delivery.id, status, doubt.value)
        try:
            self._keep(
                RejectedDelivery(
                    delivery_id=delivery.id,
                    received_at=delivery.received_at,
                    answered=status,
                    reason=doubt.value,
                    method=delivery.method,
                    token=delivery.token,
                    query=delivery.query,
                    body=delivery.body,
                    headers=delivery.evidence,
                )
            )
        except DatabaseError as trouble:
            log.error("refused callback not kept: delivery=%s: %s", delivery.id, trouble)
            return 503  # one wrong setting refuses everything, so ask for it again
        return status

    def _keep(self, delivery: RejectedDelivery) -> None:
        with self._database.begin(time.monotonic() + KEEP_SECONDS) as db:
            rejected.keep(db, delivery)
