"""What the OpenAPI document shows of reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from service.exports.formats import Csv, Format, Ndjson
from service.store.json import canonical_json
from service.store.report_views import Kind, Plain
from service.store.reports import REPORTS
from service.web.examples import (
    ACCEPTED,
    APP,
    CALL_SID,
    ENDED,
    REQUESTED,
    SESSION_ID,
    SIPREC_SID,
    STARTED,
    Json,
)

CSV: Final = "text/csv"
NDJSON: Final = "application/x-ndjson"
CALLBACK_ID: Final = "01a202e4-4b84-7d20-8d0e-1f0a6c1b7e55"
POSITION: Final = 5  # of the feed, when it was exported

_ORDERED: Final[Json] = {
    "session_id": SESSION_ID,
    "account_sid": "account-1",
    "call_sid": CALL_SID,
    "connector_name": "recorder",
    "requested_at": REQUESTED,
}
# Of each report, what is not null or 0 in a row.
_VALUES: Final[Mapping[str, Json]] = {
    "sessions": {
        **_ORDERED,
        "origin": "api",
        "siprec_sid": SIPREC_SID,
        "state": "stopped",
        "accepted_at": ACCEPTED,
        "started_at": STARTED,
        "ended_at": ENDED,
        "updated_at": ENDED,
        "seconds_to_accepted": 0.011318,
        "seconds_to_started": 0.013313,
        "duration_seconds": 0.07323,
        "requested_by": APP,
        "reference": "claim-77",
        "labels": {"team": "fraud"},
        "attempts": 1,
        "callbacks": 2,
        "last_callback_at": ENDED,
    },
    "callbacks": {
        "callback_id": CALLBACK_ID,
        "session_id": SESSION_ID,
        "event": "siprec-started",
        "happened_at": STARTED,
        "received_at": STARTED,
        "last_received_at": STARTED,
        "written_at": STARTED,
        "deliveries": 1,
        "answered": 200,
        "verified_by": "ed25519:0123456789abcdef",
        "call_sid": CALL_SID,
        "siprec_sid": SIPREC_SID,
        "method": "POST",
        "account_sid": "account-1",
    },
    "timeline": {
        "position": 3,
        "session_id": SESSION_ID,
        "account_sid": "account-1",
        "kind": "changed",
        "what": "state",
        "before": "accepted",
        "after": "started",
        "happened_at": STARTED,
        "written_at": STARTED,
        "actor": "telnyx",
        "callback_id": CALLBACK_ID,
        "correction": False,
    },
    "attempts": {
        **_ORDERED,
        "number": 1,
        "asked_at": REQUESTED,
        "asked_by": APP,
        "answer": "accepted",
        "answered_at": ACCEPTED,
        "seconds_to_answer": 0.011318,
        "siprec_sid": SIPREC_SID,
    },
    "rejected": {
        "rejected_id": 7,
        "received_at": STARTED,
        "reason": "signature_wrong",
        "answered": 403,
        "method": "POST",
        "claimed_account_sid": "account-1",
        "claimed_call_sid": CALL_SID,
    },
    "daily": {
        "account_sid": "account-1",
        "connector_name": "recorder",
        "day": REQUESTED[:10],
        "asked": 1,
        "stopped": 1,
        "seconds_recorded": 0.07323,
        "start_1s": 1,
    },
    "failures": {
        "account_sid": "account-1",
        "connector_name": "recorder",
        "day": REQUESTED[:10],
        "cause": "recorder_no_answer",
        "cause_text": None,
        "side": "recorder",
        "sessions": 1,
        "first_requested_at": REQUESTED,
        "last_requested_at": REQUESTED,
        "example_session_id": SESSION_ID,
    },
}


def _row(name: str) -> Json:
    view, values = REPORTS[name].view, _VALUES[name]
    nothing = {Kind.WHOLE: 0, Kind.NUMBER: 0.0} if name == "daily" else {}
    return {column: values.get(column, nothing.get(view.kind(column))) for column in view.columns}


def _file(made: Format, row: Json) -> str:
    plain: list[Plain] = [canonical_json(one) if isinstance(one, dict) else one for one in row.values()]
    return (made.begin() + made.rows([plain]) + made.end(1, POSITION)).decode("utf-8-sig")


_ROWS: Final = {name: _row(name) for name in REPORTS}
# By operation and status.
ANSWERS: Final[Mapping[tuple[str, int], Json]] = {
    (f"report{name.capitalize()}", 200): {"rows": [row], "next_cursor": None} for name, row in _ROWS.items()
}
# By report and media type.
EXPORTS: Final[Mapping[str, Mapping[str, str]]] = {
    name: {CSV: _file(Csv(REPORTS[name].view), row), NDJSON: _file(Ndjson(REPORTS[name].view), row)}
    for name, row in _ROWS.items()
}
