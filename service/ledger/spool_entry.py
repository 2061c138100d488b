"""What goes into the spool and comes back: callbacks that are genuine, and Telnyx's answers to starts."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from service.domain.callback import Callback, Delivery
from service.domain.session import Error, ErrorKind, Notice, NoticeKind
from service.telnyx import callback


@dataclass(frozen=True)
class UnsavedAnswer:
    """Telnyx's answer to the `attempt`-th start of a session, which its second commit could not take."""

    session_id: str
    attempt: int
    call_sid: str
    notice: Notice


class UnreadableEntry(ValueError):
    """Not a record of this release, nor of an earlier one."""


def pack(kept: Callback | UnsavedAnswer) -> bytes:
    body = _callback(kept) if isinstance(kept, Callback) else _answer(kept)
    return json.dumps(body, separators=(",", ":")).encode()


def unpack(record: bytes) -> Callback | UnsavedAnswer:
    """Whether a callback is genuine was judged before it was packed, and is not judged again.

    Raises UnreadableEntry.
    """
    try:
        body = json.loads(record)
        return _read_callback(body) if body["kind"] == "callback" else _read_answer(body)
    except (ValueError, KeyError, TypeError, AttributeError) as trouble:
        raise UnreadableEntry(str(trouble)) from trouble


def _callback(told: Callback) -> dict[str, Any]:
    came = told.delivery
    return {
        "kind": "callback",
        "id": came.id,
        "received_at": came.received_at.isoformat(),
        "method": came.method,
        "query": _text(came.query),
        "body": _text(came.body),
        "headers": came.evidence,
        "session_id": told.session_id,
        "verified_by": told.verified_by,
    }


def _read_callback(body: Mapping[str, Any]) -> Callback:
    delivery = Delivery(
        id=body["id"],
        received_at=datetime.fromisoformat(body["received_at"]),
        method=body["method"],
        token=None,
        query=base64.b64decode(body["query"]),
        headers=body["headers"],
        body=base64.b64decode(body["body"]),
    )
    return callback.parse(delivery, body["session_id"], body["verified_by"])


def _answer(owed: UnsavedAnswer) -> dict[str, Any]:
    return {
        "kind": "answer",
        "session_id": owed.session_id,
        "attempt": owed.attempt,
        "call_sid": owed.call_sid,
        "outcome": owed.notice.kind.label,
        "received_at": owed.notice.received_at.isoformat(),
        "siprec_sid": owed.notice.siprec_sid,
        "error": owed.notice.error.facts() if owed.notice.error else None,
    }


def _read_answer(body: Mapping[str, Any]) -> UnsavedAnswer:
    told = body["error"]
    error = Error(ErrorKind(told["kind"]), told["status"], told["code"], told["detail"]) if told else None
    notice = Notice(
        kind=next(kind for kind in NoticeKind if kind.is_answer and kind.label == body["outcome"]),
        received_at=datetime.fromisoformat(body["received_at"]),
        siprec_sid=body["siprec_sid"],
        error=error,
    )
    return UnsavedAnswer(body["session_id"], body["attempt"], body["call_sid"], notice)


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
