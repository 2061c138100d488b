"""A session as a row of its table, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from service.domain.session import (
    CallbackMethod,
    Error,
    ErrorKind,
    LockedSession,
    Notice,
    NoticeKind,
    Order,
    Origin,
    Progress,
    Session,
    SipTransport,
    State,
    Track,
)

Row = Mapping[Any, Any]

_ORDER_COLUMNS = [field.name for field in fields(Order)]

LOCKED = (
    *("id", "origin", "account_sid", "call_sid", "attempts", "deadline_at", "merged_into"),
    *("answer", "answered_at", "answer_siprec_sid"),
    *("answer_error_kind", "answer_status", "answer_code", "answer_detail"),
    *(
        "state",
        "callback_siprec_sid",
        "accepted_at",
        "started_at",
        "ended_at",
        "stop_requested_at",
        "failure_detail",
    ),
)


def of_new(new: Session) -> dict[str, Any]:
    asked = {name: getattr(new.order, name) for name in _ORDER_COLUMNS} | {"labels": dict(new.order.labels)}
    times = {"requested_at": new.requested_at, "updated_at": new.updated_at}
    kept = {"id": new.id, "origin": new.origin, **times}
    return {**asked, **of_changed(new), **kept}


def of_changed(changed: Session | LockedSession) -> dict[str, Any]:
    answer = changed.answer
    error = answer.error if answer else None
    return {
        **of_heard(changed.progress),
        "attempts": changed.attempts,
        "deadline_at": changed.deadline_at,
        "answer": answer.kind.label if answer else None,
        "answered_at": answer.received_at if answer else None,
        "answer_siprec_sid": changed.progress.answer_siprec_sid,
        "accepted_at": changed.progress.accepted_at,
        "answer_error_kind": error.kind if error else None,
        "answer_status": error.status if error else None,
        "answer_code": error.code if error else None,
        "answer_detail": error.detail if error else None,
        "merged_into": changed.merged_into,
    }


def of_heard(progress: Progress) -> dict[str, Any]:
    return {
        "state": progress.state,
        "callback_siprec_sid": progress.callback_siprec_sid,
        "started_at": progress.started_at,
        "ended_at": progress.ended_at,
        "stop_requested_at": progress.stop_requested_at,
        "failure_detail": progress.failure.detail if progress.failure else None,
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
    )


def _order(row: Row) -> Order:
    asked = {name: row[name] for name in _ORDER_COLUMNS}
    asked["track"] = Track(asked["track"]) if asked["track"] else None
    asked["sip_transport"] = SipTransport(asked["sip_transport"]) if asked["sip_transport"] else None
    asked["status_callback_method"] = CallbackMethod(asked["status_callback_method"])
    return Order(**asked)


def _answer(row: Row) -> Notice | None:
    if row["answer"] is None:
        return None
    answer = next(kind for kind in NoticeKind if kind.label == row["answer"])
    kind, told = row["answer_error_kind"], (row["answer_status"], row["answer_code"], row["answer_detail"])
    error = Error(ErrorKind(kind), *told) if kind else None
    return Notice(answer, received_at=row["answered_at"], siprec_sid=row["answer_siprec_sid"], error=error)


def _progress(row: Row, answer: Notice | None) -> Progress:
    state = State(row["state"])
    failure = Error(ErrorKind.SIPREC_FAILED, detail=row["failure_detail"]) if state is State.FAILED else None
    kept = (
        "answer_siprec_sid",
        "callback_siprec_sid",
        "accepted_at",
        "started_at",
        "ended_at",
        "stop_requested_at",
    )
    return Progress(
        state=state,
        refusal=answer.error if answer else None,
        failure=failure,
        **{name: row[name] for name in kept},
    )
