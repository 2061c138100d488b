"""The service with one rule broken on purpose, so that the drill can be seen to find it out.

Each function is an app for gunicorn, as service.app.web is.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

from service import app
from service.domain import progress
from service.domain.callback import Callback
from service.domain.notice import Notice
from service.domain.progress import Call
from service.domain.session import Progress
from service.ledger.intake import Intake, NotDurable
from service.store import postgresql

LATE_SECONDS = 0.3
REFUSALS = {"25", "42"}  # read-only, no table or grant


def answers_before_it_is_durable() -> app.Web:
    keep = Intake.keep

    def keep_later(self: Intake, callback: Callback) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()

        def keep_now() -> None:
            with contextlib.suppress(NotDurable):
                keep(self, callback).add_done_callback(lambda kept: kept.exception())

        loop.call_later(LATE_SECONDS, keep_now)
        answered = loop.create_future()
        answered.set_result(None)
        return answered

    Intake.keep = keep_later  # type: ignore[method-assign]
    return app.web()


def buries_instead_of_waiting() -> app.Web:
    """What a database refuses that takes no writes now becomes a dead letter, as if it were to blame."""
    postgresql.GUILTY_CLASSES |= REFUSALS  # type: ignore[misc]
    return app.web()


def takes_the_earliest_sid() -> app.Web:
    """Of several SiprecSids the one with the earliest Timestamp is believed, and no other."""
    fold = progress.fold

    def fold_one(call: Call, notices: Iterable[Notice]) -> Progress:
        notices = list(notices)
        naming = [one for one in notices if one.kind.is_callback and one.siprec_sid]
        first = min(naming, key=lambda one: one.precedence, default=None)
        sid = first.siprec_sid if first else None
        return fold(call, [one for one in notices if one not in naming or one.siprec_sid == sid])

    progress.fold = fold_one
    return app.web()
