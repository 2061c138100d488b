"""What the OpenAPI document shows: one recorded call, as the API told of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from service.web.cloud_events import BATCH, SessionThen

Json = Mapping[str, Any]

SESSION_ID: Final = "01a202e4-4b67-7762-b907-2d5df1084258"
CALL_SID: Final = "v3:9X2vxPDhtnLZxvK3Ab"
SIPREC_SID: Final = "f33cafa4-ba03-4a05-8246-fe52579da5a5"
REQUESTED: Final = "2026-11-22T10:54:05.671122Z"
ACCEPTED: Final = "2026-11-22T10:54:05.682440Z"
STARTED: Final = "2026-11-22T10:54:05.684435Z"
STARTED_WRITTEN: Final = "2026-11-22T10:54:05.700273Z"
STOP_REQUESTED: Final = "2026-11-22T10:54:05.751438Z"
ENDED: Final = "2026-11-22T10:54:05.757665Z"
ENDED_WRITTEN: Final = "2026-11-22T10:54:05.771006Z"
APP: Final = "claims-app"

NO_ANSWER: Final[Json] = {
    "kind": "no_answer",
    "status": None,
    "code": None,
    "detail": "Telnyx did not answer in time",
}
REQUESTED_SESSION: Final[Json] = {
    "id": SESSION_ID,
    "state": "requested",
    "origin": "api",
    "account_sid": "account-1",
    "call_sid": CALL_SID,
    "siprec_sid": None,
    "callback_siprec_sid": None,
    "connector_name": "recorder",
    "name": None,
    "track": None,
    "include_metadata_custom_headers": None,
    "secure": None,
    "session_timeout_secs": None,
    "sip_transport": None,
    "status_callback_method": "POST",
    "reference": "claim-77",
    "labels": {"team": "fraud"},
    "requested_by": APP,
    "requested_at": REQUESTED,
    "accepted_at": None,
    "started_at": None,
    "ended_at": None,
    "stop_requested_at": None,
    "stop_requested_by": None,
    "updated_at": REQUESTED,
    "attempts": 1,
    "answer": None,
    "error": None,
    "merged_into": None,
    "overdue": None,
    "call": None,
    "presumed": None,
}
UNANSWERED_SESSION: Final[Json] = {
    **REQUESTED_SESSION,
    "state": "unanswered",
    "updated_at": "2026-11-22T10:54:15.683907Z",
    "answer": {
        "outcome": "unanswered",
        "at": "2026-11-22T10:54:15.683907Z",
        "siprec_sid": None,
        "error": NO_ANSWER,
    },
    "error": NO_ANSWER,
}
ACCEPTED_SESSION: Final[Json] = {
    **REQUESTED_SESSION,
    "state": "accepted",
    "siprec_sid": SIPREC_SID,
    "accepted_at": ACCEPTED,
    "updated_at": ACCEPTED,
    "answer": {"outcome": "accepted", "at": ACCEPTED, "siprec_sid": SIPREC_SID, "error": None},
}
STARTED_SESSION: Final[Json] = {
    **ACCEPTED_SESSION,
    "state": "started",
    "started_at": STARTED,
    "stop_requested_at": STOP_REQUESTED,
    "stop_requested_by": APP,
    "updated_at": STOP_REQUESTED,
}
STOPPED_SESSION: Final[Json] = {
    **STARTED_SESSION,
    "state": "stopped",
    "ended_at": ENDED,
    "updated_at": ENDED_WRITTEN,
}


def _event(sequence: int, actor: str, state: str, changes: Json, happened_at: str, written_at: str) -> Json:
    return {
        "sequence": sequence,
        "kind": "created" if sequence == 1 else "changed",
        "actor": actor,
        "correction": False,
        "state": state,
        "changes": changes,
        "happened_at": happened_at,
        "written_at": written_at,
    }


TIMELINE: Final = [
    _event(1, APP, "requested", {"state": [None, "requested"]}, REQUESTED, REQUESTED),
    _event(
        2,
        "telnyx",
        "accepted",
        {
            "state": ["requested", "accepted"],
            "siprec_sid": [None, SIPREC_SID],
            "accepted_at": [None, ACCEPTED],
        },
        ACCEPTED,
        ACCEPTED,
    ),
    _event(
        3,
        "telnyx",
        "started",
        {"state": ["accepted", "started"], "started_at": [None, STARTED]},
        STARTED,
        STARTED_WRITTEN,
    ),
    _event(
        4,
        APP,
        "started",
        {"stop_requested_at": [None, STOP_REQUESTED], "stop_requested_by": [None, APP]},
        STOP_REQUESTED,
        STOP_REQUESTED,
    ),
    _event(
        5,
        "telnyx",
        "stopped",
        {"state": ["started", "stopped"], "ended_at": [None, ENDED]},
        ENDED,
        ENDED_WRITTEN,
    ),
]


def _callback(id: str, event: str, happened_at: str, received_at: str) -> Json:
    said = {
        "AccountSid": "account-1",
        "CallSid": CALL_SID,
        "SiprecSid": SIPREC_SID,
        "SiprecEvent": event,
        "Timestamp": happened_at,
    }
    return {
        "id": id,
        "session_id": SESSION_ID,
        "event": event,
        "happened_at": happened_at,
        "received_at": received_at,
        "last_received_at": received_at,
        "deliveries": 1,
        "verified_by": "ed25519:9fe50ef06e18b24c",
        "problem": None,
        "method": "POST",
        "account_sid": "account-1",
        "call_sid": CALL_SID,
        "siprec_sid": SIPREC_SID,
        "error": None,
        "fields": [[name, text] for name, text in said.items()],
    }


CALLBACKS: Final = [
    _callback(
        "01a202e4-4b78-71ac-8cf7-01251a65dbf9", "siprec-started", STARTED, "2026-11-22T10:54:05.688965Z"
    ),
    _callback("01a202e4-4bc0-7a1f-9d52-6f0c81c6f3aa", "siprec-stopped", ENDED, "2026-11-22T10:54:05.760488Z"),
]
STRANGE_CALLBACK: Final[Json] = {
    **CALLBACKS[1],
    "session_id": None,
    "event": "siprec-paused",
    "problem": "SiprecEvent is unknown",
    "fields": [*CALLBACKS[1]["fields"][:3], ["SiprecEvent", "siprec-paused"], ["Timestamp", ENDED]],
}
READY: Final[Json] = {
    "ready": True,
    "database": {"answers": True, "takes_writes": True, "unavailable_since": None},
    "spool": {"state": "on", "entries": 0, "oldest_seconds": None, "dead_letters": 0},
    "numbering": {"unnumbered": 0, "lag_seconds": 0.113},
    "rejected": 0,
}
NOT_READY: Final[Json] = {
    "ready": False,
    "database": {"answers": False, "takes_writes": False, "unavailable_since": ENDED},
    "spool": {"state": "unusable", "entries": 8123, "oldest_seconds": 61.204, "dead_letters": 0},
    "numbering": {"unnumbered": None, "lag_seconds": None},
    "rejected": None,
}
FOLLOWED: Final[Json] = {
    "specversion": "1.0",
    "id": "811-0b1f6a92",
    "source": "https://ledger.example/v1/events",
    "type": "siprec.session.changed",
    "subject": SESSION_ID,
    "time": ENDED,
    "datacontenttype": "application/json",
    "data": {
        "position": 811,
        "actor": "telnyx",
        "callback_id": CALLBACKS[1]["id"],
        "correction": False,
        "changes": {"state": ["started", "stopped"], "ended_at": [None, ENDED]},
        "written_at": ENDED_WRITTEN,
        "numbered_at": ENDED_WRITTEN,
        "session": {name: STOPPED_SESSION[name] for name in SessionThen.model_fields},
    },
}
# By operation and status.
ANSWERS: Final[Mapping[tuple[str, int], Json]] = {
    ("startSession", 201): ACCEPTED_SESSION,
    ("startSession", 202): UNANSWERED_SESSION,
    ("listSessions", 200): {"sessions": [STOPPED_SESSION], "next_cursor": None},
    ("getSession", 200): {**STOPPED_SESSION, "timeline": TIMELINE, "timeline_next_cursor": None},
    ("explainSession", 200): {
        "session_id": SESSION_ID,
        "state": "stopped",
        "summary": "The recording started and stopped.",
        "side": None,
        "what_to_do": None,
        "sentences": [
            {
                "text": "Telnyx says that it stopped at 10:54:05.757 (line 5).",
                "positions": [5],
                "deadline": None,
            }
        ],
    },
    ("listTimeline", 200): {"timeline": TIMELINE, "next_cursor": None},
    ("listSessionCallbacks", 200): {"callbacks": CALLBACKS, "next_cursor": None},
    ("listCallbacks", 200): {"callbacks": [STRANGE_CALLBACK], "next_cursor": None},
    ("listEvents", 200): {"events": [FOLLOWED], "next": "812-5f0c9ab3"},
    ("stopSession", 202): STARTED_SESSION,
    ("getHealth", 200): {"status": "ok"},
    ("getReadiness", 200): READY,
    ("getReadiness", 503): NOT_READY,
}
# In another media type.
ALTERNATIVES: Final[Mapping[tuple[str, str], Any]] = {("listEvents", BATCH): [FOLLOWED]}
# What is no JSON.
TEXTS: Final[Mapping[str, str]] = {
    "getMetrics": "# HELP siprec_ledger_callbacks_spooled_total Callbacks that were kept on local disk "
    "first, not in the database.\n# TYPE siprec_ledger_callbacks_spooled_total counter\n"
    "siprec_ledger_callbacks_spooled_total 0.0\n"
}
