"""The callback endpoint: on the event loop, from what came to the status that is answered."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from typing import Final, Protocol

from service import metrics
from service.domain.callback import Callback, Delivery
from service.domain.ids import new_id
from service.ledger.intake import NotDurable
from service.log_lines import fields
from service.telnyx.callback import RejectedCallback, RejectionReason
from service.telnyx.callback_url import PATH
from service.web.asgi import Receive, Scope, Send, answer, header, whole_body
from service.web.pace import RejectionPace
from service.web.request_id import request_id_of
from service.web.thread_pool import Pool, PoolFull

JUDGED_HERE: Final = 64 * 1024  # bytes; a larger body is judged in a thread: its digest takes milliseconds
JUDGES: Final = 2
WAITING_FOR_JUDGES: Final = 64
HEADERS: Final = {
    b"telnyx-timestamp": "telnyx-timestamp",
    b"telnyx-signature-ed25519": "telnyx-signature-ed25519",
    b"user-agent": "user-agent",
    b"content-type": "content-type",
}
STATUSES: Final = {
    RejectionReason.FORGED: HTTPStatus.FORBIDDEN,
    RejectionReason.NOT_ITS_ACCOUNTS: HTTPStatus.FORBIDDEN,
    RejectionReason.UNSIGNED: HTTPStatus.FORBIDDEN,
    RejectionReason.UNKNOWN_TOKEN: HTTPStatus.NOT_FOUND,
    RejectionReason.UNREADABLE_TIMESTAMP: HTTPStatus.FORBIDDEN,
    RejectionReason.GET_WITHOUT_TOKEN: HTTPStatus.NOT_FOUND,
    RejectionReason.GET_NOT_ORDERED: HTTPStatus.FORBIDDEN,
    RejectionReason.GET_WITH_BODY: HTTPStatus.FORBIDDEN,
}
REJECTED: Final = set(STATUSES.values())
NOT_JUDGED: Final = "callback not judged, too many large bodies"

log = logging.getLogger(__name__)


class Intake(Protocol):
    def keep(self, callback: Callback) -> asyncio.Future[None]:
        """Done once it is durable; raises NotDurable, at once if too many wait."""


class Rejected(Protocol):
    def offer(self, delivery: Delivery, reason: str, status: int) -> None:
        """Keep it in its own time, if there is room. Never waits."""


class CallbackEndpoint:
    """Made on the event loop that serves. `read` raises RejectedCallback."""

    def __init__(
        self,
        read: Callable[[Delivery], Callback],
        intake: Intake,
        rejected: Rejected,
        clock: Callable[[], datetime],
        count: Callable[[str], None],
        missed: Callable[[], None],
        answered: Callable[[str], None],
    ) -> None:
        self._read = read
        self._intake = intake
        self._rejected = rejected
        self._clock = clock
        self._count = count  # one more that was refused, and why
        self._missed = missed  # a genuine one that was answered 503
        self._answered = answered  # one that is answered 200, by the delivery's id
        self._judges = Pool("judge", JUDGES, WAITING_FOR_JUDGES)
        self.rejections = RejectionPace()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Takes its path with or without a slash at the end: Telnyx follows no redirect for sure."""
        began = time.monotonic()
        status: int = HTTPStatus.SERVICE_UNAVAILABLE
        try:
            status = await self._status(scope, receive)
            is_paced = status in REJECTED
        except PoolFull:
            self._count(NOT_JUDGED)
            is_paced = True
        metrics.count_answer(status, time.monotonic() - began)  # before a delay that is on purpose
        headers = [
            (b"x-request-id", request_id_of(header(scope, b"x-request-id")).encode()),
            (b"cache-control", b"no-store"),
        ]
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            headers.append((b"allow", b"GET, HEAD, POST"))
        if is_paced and (delay := self.rejections.delay()):
            scope["state"]["postpone"]()
            await asyncio.sleep(delay)
            headers.append((b"connection", b"close"))  # or what else is pipelined would keep it for minutes
        await answer(send, status, headers)

    async def _status(self, scope: Scope, receive: Receive) -> int:
        """Raises PoolFull: it could not be judged."""
        method = scope["method"]
        if method == "HEAD":
            return HTTPStatus.OK  # records nothing
        if method not in {"GET", "POST"}:
            return HTTPStatus.METHOD_NOT_ALLOWED
        if refused := scope["state"].get("refused"):
            return int(refused)
        delivery = Delivery(
            id=new_id(),
            received_at=self._clock(),
            method=method,
            token=scope["path"][len(PATH) + 1 :].removesuffix("/") or None,
            query=scope["query_string"],
            headers={
                HEADERS[name]: value.decode("latin-1") for name, value in scope["headers"] if name in HEADERS
            },
            body=await whole_body(receive),
            peer=scope["client"][0] if scope["client"] else None,
        )
        try:
            await self._intake.keep(await self._judge(delivery))
        except RejectedCallback as rejection:
            return self._reject(delivery, rejection.reason)
        except NotDurable as error:
            self._missed()
            log.error(
                "callback not durable, answered 503", extra=fields(delivery_id=delivery.id, error=error)
            )
            return HTTPStatus.SERVICE_UNAVAILABLE
        self._answered(delivery.id)
        return HTTPStatus.OK

    async def _judge(self, delivery: Delivery) -> Callback:
        if len(delivery.body) > JUDGED_HERE:
            return await self._judges.submit(self._read, delivery)
        return self._read(delivery)

    def _reject(self, delivery: Delivery, reason: RejectionReason) -> int:
        status = STATUSES[reason]
        metrics.count_rejected(metrics.label_of(reason))
        self._rejected.offer(delivery, reason.value, status)
        return status
