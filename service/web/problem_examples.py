"""What the OpenAPI document shows of problems, where it is more than their title."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from service.web.examples import SESSION_ID
from service.web.problems import Problem, TelnyxError, wrong_field

ASK_AGAIN: Final = "Nothing was done; ask again"
PROBLEMS: Final[Mapping[str, Problem]] = {
    "invalid-json": Problem("invalid-json", "Invalid JSON: EOF while parsing an object at line 1 column 1"),
    "key-missing": Problem("key-missing", "Send Authorization: Bearer <key>"),
    "key-unknown": Problem("key-unknown", "siprec-ledger keys list shows which are in force"),
    "unknown-session": Problem("unknown-session", "No session has this id"),
    "still-starting": Problem(
        "still-starting",
        "The first request with this Idempotency-Key still waits for Telnyx",
        session_id=SESSION_ID,
    ),
    "session-over": Problem(
        "session-over", "It cannot be stopped: it is over: stopped", session_id=SESSION_ID
    ),
    "session-merged": Problem(
        "session-merged",
        "It cannot be stopped: it was merged into session 01a202e4-4a11-7c35-a4b5-93c02a8d4e10",
        session_id=SESSION_ID,
    ),
    "session-without-sid": Problem(
        "session-without-sid",
        "It cannot be stopped: Telnyx has not given it a sid yet: unanswered",
        session_id=SESSION_ID,
    ),
    "ledger-restored": Problem(
        "ledger-restored",
        "The ledger ends at 812-5f0c9ab3 now, and has no event of this cursor. "
        "Go on after start, after a time before the restore, or there; events may come again",
    ),
    "not-json": Problem("not-json", "Send Content-Type: application/json"),
    "invalid-request": Problem("invalid-request", errors=[wrong_field("query", "/colour", "no such field")]),
    "key-reused": Problem(
        "key-reused",
        "This Idempotency-Key came with another body before",
        errors=[wrong_field("header", "/Idempotency-Key", "a key of its own for every request")],
        session_id=SESSION_ID,
    ),
    "account-without-key": Problem(
        "account-without-key",
        "Nothing was done; operators can add one to TELNYX_API_KEY and TELNYX_PUBLIC_KEY",
    ),
    "telnyx-refused": Problem(
        "telnyx-refused",
        "Call is not answered",
        session_id=SESSION_ID,
        telnyx=TelnyxError(status=422, code="90034", detail="Call is not answered"),
    ),
    "telnyx-credentials": Problem(
        "telnyx-credentials",
        "The operators of this service have to set another TELNYX_API_KEY",
        session_id=SESSION_ID,
        telnyx=TelnyxError(status=401, code="10009", detail="Authentication failed"),
    ),
    "telnyx-rate-limit": Problem(
        "telnyx-rate-limit",
        "Too many requests",
        session_id=SESSION_ID,
        telnyx=TelnyxError(status=429, code="10011", detail="Too many requests"),
    ),
    "telnyx-unreachable": Problem(
        "telnyx-unreachable",
        "Telnyx could not be reached",
        session_id=SESSION_ID,
        telnyx=TelnyxError(detail="Telnyx could not be reached"),
    ),
    "telnyx-no-answer": Problem(
        "telnyx-no-answer",
        "Telnyx did not answer in time",
        session_id=SESSION_ID,
        telnyx=TelnyxError(detail="Telnyx did not answer in time"),
    ),
    "too-many-in-flight": Problem("too-many-in-flight", ASK_AGAIN),
    "database-unavailable": Problem("database-unavailable", ASK_AGAIN),
    "database-busy": Problem("database-busy", ASK_AGAIN),
    "evidence-not-recorded": Problem(
        "evidence-not-recorded",
        "Who reads it is written down first, which failed; ask again, or with fields=false",
    ),
}
