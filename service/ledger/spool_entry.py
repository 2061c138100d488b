"""What goes into the spool and comes back: callbacks, answers to starts, reasons of dead letters."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from service.domain.callback import Callback, Delivery
from service.domain.notice import ANSWERS, Error, ErrorKind, Notice
from service.telnyx import callback

HOST: Final = socket.gethostname()


@dataclass(frozen=True)
class UnsavedAnswer:
    """Telnyx's answer to the `attempt`-th start of a session, which its second commit could not take."""

    session_id: str
    attempt: int
    call_sid: str
    notice: Notice


@dataclass(frozen=True)
class Reason:
    """Why the entry before it in its file is a dead letter; `failed_at` is UTC."""

    failed_at: datetime
    text: str


Entry = Callback | UnsavedAnswer | Reason


class UnreadableEntry(ValueError):
    """Not an entry of this release, nor of an earlier one."""


def pack(entry: Entry) -> bytes:
    return json.dumps(plain(entry), separators=(",", ":")).encode()


def unpack(packed: bytes) -> Entry:
    """Whether a callback is genuine was judged before it was packed, and is not judged again.

    Raises UnreadableEntry.
    """
    try:
        read = json.loads(packed)
        return _READERS[read["kind"]](read)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnreadableEntry(f"{type(error).__name__}: {error}") from error


def plain(entry: Entry | None) -> dict[str, Any] | None:
    """As JSON has it."""
    if entry is None:
        return None
    if isinstance(entry, Reason):
        return {"kind": "reason", "failed_at": entry.failed_at.isoformat(), "text": entry.text}
    if isinstance(entry, UnsavedAnswer):
        notice = entry.notice
        return {
            "kind": "answer",
            "session_id": entry.session_id,
            "attempt": entry.attempt,
            "call_sid": entry.call_sid,
            "outcome": notice.kind.label,
            "received_at": notice.received_at.isoformat(),
            "siprec_sid": notice.siprec_sid,
            "error": notice.error.facts() if notice.error else None,
        }
    delivery = entry.delivery
    return {
        "kind": "callback",
        "id": delivery.id,
        "received_at": delivery.received_at.isoformat(),
        "method": delivery.method,
        "query": base64.b64encode(delivery.query).decode(),
        "body": base64.b64encode(delivery.body).decode(),
        "headers": delivery.evidence,
        "session_id": entry.session_id,
        "verified_by": entry.verified_by,
        "peer": delivery.peer,
        "answered": delivery.answered,
        "spooled_on": delivery.spooled_on or HOST,
    }


def _read_callback(read: Mapping[str, Any]) -> Callback:
    delivery = Delivery(
        id=read["id"],
        received_at=datetime.fromisoformat(read["received_at"]),
        method=read["method"],
        token=None,
        query=base64.b64decode(read["query"]),
        headers=read["headers"],
        body=base64.b64decode(read["body"]),
        peer=read["peer"],
        answered=read["answered"],
        spooled_on=read["spooled_on"],
    )
    return callback.parse(delivery, read["session_id"], read["verified_by"])


def _read_answer(read: Mapping[str, Any]) -> UnsavedAnswer:
    error = read["error"]
    notice = Notice(
        kind=ANSWERS[read["outcome"]],
        received_at=datetime.fromisoformat(read["received_at"]),
        siprec_sid=read["siprec_sid"],
        error=Error(**{**error, "kind": ErrorKind(error["kind"])}) if error else None,
    )
    return UnsavedAnswer(read["session_id"], read["attempt"], read["call_sid"], notice)


def _read_reason(read: Mapping[str, Any]) -> Reason:
    return Reason(datetime.fromisoformat(read["failed_at"]), read["text"])


_READERS: dict[str, Callable[[Mapping[str, Any]], Entry]] = {
    "callback": _read_callback,
    "answer": _read_answer,
    "reason": _read_reason,
}
