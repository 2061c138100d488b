"""A session as a row of its table, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from service.domain.notice import ANSWERS, Error, ErrorKind, Notice
from service.domain.session import LockedSession, Origin, Progress, Session
from service.domain.start import CallbackMethod, Order, SipTransport, Track
from service.domain.state import State
from service.store import watched

Row = Mapping[Any, Any]

_ORDER_COLUMNS = [field.name for field in fields(Order)]
_OF_PROGRESS = (
    *("answer_siprec_sid", "callback_siprec_sid", "accepted_at", "started_at", "ended_at"),
    *("stop_requested_at", "stop_requested_by"),
)

LOCKED = (
    *("id", "origin", "account_sid", "call_sid", "attempts", "deadline_at", "merged_into"),
    *("answer", "answered_at", "answer_error_kind", "answer_status", "answer_code", "answer_detail"),
    *("state", *_OF_PROGRESS, "failure_detail", "callbacks", "last_callback_at"),
)


def of_new(new: Session) -> dict[str, Any]:
    order = {name: getattr(new.order, name) for name in _ORDER_COLUMNS} | {"labels": dict(new.order.labels)}
    times = {"requested_at": new.requested_at, "updated_at": new.updated_at}
    return {**order, **of_changed(new), "id": new.id, "origin": new.origin, **times}


def of_changed(changed: Session | LockedSession) -> dict[str, Any]:
    """Everything that can change of a session."""
    order = changed.order if isinstance(changed, Session) else changed
    return {
        **of_ingested(changed),
        **of_answer(changed.answer),
        "account_sid": order.account_sid,
        "attempts": changed.attempts,
        "deadline_at": changed.deadline_at,
        "answer_siprec_sid": changed.progress.answer_siprec_sid,
        "accepted_at": changed.progress.accepted_at,
        "merged_into": changed.merged_into,
    }


def of_answer(answer: Notice | None) -> dict[str, Any]:
    error = answer.error if answer else None
    return {
        "answer": answer.kind.label if answer else None,
        "answered_at": answer.received_at if answer else None,
        "answer_error_kind": error.kind if error else None,
        "answer_status": error.status if error else None,
        "answer_code": error.code if error else None,
        "answer_detail": error.detail if error else None,
    }


def of_ingested(changed: Session | LockedSession) -> dict[str, Any]:
    """What callbacks, and wishes to stop, can change of a session."""
    progress = changed.progress
    return {
        "state": progress.state,
        "callback_siprec_sid": progress.callback_siprec_sid,
        "started_at": progress.started_at,
        "ended_at": progress.ended_at,
        "stop_requested_at": progress.stop_requested_at,
        "stop_requested_by": progress.stop_requested_by,
        "failure_detail": progress.failure.detail if progress.failure else None,
        "callbacks": changed.callbacks,
        "last_callback_at": changed.last_callback_at,
    }


def session(row: Row) -> Session:
    answer = _answer(row)
    return Session(
        id=row["id"],
        origin=Origin(row["origin"]),
        order=_order(row),
        requested_at=row["requested_at"],
        updated_at=row["updated_at"],
        progress=_progress(row, answer),
        requested_by=row["requested_by"],
        attempts=row["attempts"],
        deadline_at=row["deadline_at"],
        answer=answer,
        merged_into=row["merged_into"],
        callbacks=row["callbacks"],
        last_callback_at=row["last_callback_at"],
        watched=watched.read(row),
    )


def locked_session(row: Row) -> LockedSession:
    answer = _answer(row)
    return LockedSession(
        id=row["id"],
        origin=Origin(row["origin"]),
        account_sid=row["account_sid"],
        call_sid=row["call_sid"],
        progress=_progress(row, answer),
        attempts=row["attempts"],
        deadline_at=row["deadline_at"],
        answer=answer,
        merged_into=row["merged_into"],
        callbacks=row["callbacks"],
        last_callback_at=row["last_callback_at"],
    )


def _order(row: Row) -> Order:
    order = {name: row[name] for name in _ORDER_COLUMNS}
    order["track"] = Track(order["track"]) if order["track"] else None
    order["sip_transport"] = SipTransport(order["sip_transport"]) if order["sip_transport"] else None
    order["status_callback_method"] = CallbackMethod(order["status_callback_method"])
    return Order(**order)


def _answer(row: Row) -> Notice | None:
    if row["answer"] is None:
        return None
    kind = row["answer_error_kind"]
    words = (row["answer_status"], row["answer_code"], row["answer_detail"])
    error = Error(ErrorKind(kind), *words) if kind else None
    outcome, siprec_sid = ANSWERS[row["answer"]], row["answer_siprec_sid"]
    return Notice(outcome, received_at=row["answered_at"], siprec_sid=siprec_sid, error=error)


def _progress(row: Row, answer: Notice | None) -> Progress:
    state = State(row["state"])
    failure = Error(ErrorKind.SIPREC_FAILED, detail=row["failure_detail"]) if state is State.FAILED else None
    return Progress(
        state=state,
        refusal=answer.error if answer else None,
        failure=failure,
        **{name: row[name] for name in _OF_PROGRESS},
    )
