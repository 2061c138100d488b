"""What the OpenAPI document shows of alerts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from service.web.examples import SESSION_ID, Json

OPENED: Final = "2026-11-22T10:54:30.000000Z"
ALERT: Final[Json] = {
    "id": "01a202e4-b260-7f10-9c2b-5d8e0a1f6b3c",
    "cause": "live_unrecorded",
    "words": "The call goes on, and is probably not recorded (connector recorder, account account-1). "
    "1 call is affected now.",
    "side": "recorder",
    "what_to_do": "Check the recorder and its network now. Start the recording again, or end the call.",
    "link": "/sessions?overdue=true&connector_name=recorder&account_sid=account-1",
    "connector_name": "recorder",
    "account_sid": "account-1",
    "opened_at": OPENED,
    "updated_at": OPENED,
    "acknowledged_at": None,
    "acknowledged_by": None,
    "ended_at": None,
    "affected": 1,
    "total": 1,
    "example_session_id": SESSION_ID,
}
ACKNOWLEDGED: Final[Json] = {
    **ALERT,
    "updated_at": "2026-11-22T10:55:10.000000Z",
    "acknowledged_at": "2026-11-22T10:55:10.000000Z",
    "acknowledged_by": "claims-app",
}
# By operation and status.
ANSWERS: Final[Mapping[tuple[str, int], Json]] = {
    ("listAlerts", 200): {"alerts": [ALERT], "next_cursor": None},
    ("acknowledgeAlert", 200): ACKNOWLEDGED,
}
