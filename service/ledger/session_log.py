"""Facts of sessions, a line of the log each: a start, a stop, what is overdue."""

from __future__ import annotations

import logging

from service.domain.notice import Error, Notice
from service.domain.overdue import Overdue
from service.domain.session import Session
from service.log_lines import fact

log = logging.getLogger(__name__)


def answered(session: Session, answer: Notice) -> None:
    """Of a start: what became of the latest attempt."""
    seconds = (answer.received_at - session.updated_at).total_seconds()
    named = {"attempt": session.attempts, "siprec_sid": answer.siprec_sid, "seconds": round(seconds, 3)}
    log.info("session start %s", answer.kind.label, extra=_of(session, **named, **_of_error(answer.error)))


def stop_answered(session: Session, by: str, error: Error | None) -> None:
    """Of a stop that was asked for by the key of this name. None: Telnyx took it."""
    what = "session stop asked" if error is None else "session stop failed"
    log.info(what, extra=_of(session, key=by, siprec_sid=session.progress.siprec_sid, **_of_error(error)))


def overdue(session_id: str, found: Overdue) -> None:
    """To be called once it is committed."""
    named = fact(session_id=session_id, kind=found.kind, since=found.since, why=found.why)
    log.warning("session overdue", extra=named)


def _of(session: Session, **named: object) -> dict[str, object]:
    order = session.order
    return fact(
        session_id=session.id,
        account_sid=order.account_sid,
        call_sid=order.call_sid,
        connector_name=order.connector_name,
        **named,
    )


def _of_error(error: Error | None) -> dict[str, object]:
    if error is None:
        return {}
    return {"error_kind": error.kind, "status": error.status, "code": error.code, "detail": error.detail}
