"""An app of somebody who has nothing but the API document. Told our address and a key, it records a call."""

import json
import sys

from siprec_ledger_client import AuthenticatedClient
from siprec_ledger_client.api.sessions import get_session, list_sessions, start_session, stop_session
from siprec_ledger_client.models import (
    ProblemDocument,
    SessionPage,
    SessionResponse,
    SessionWithTimeline,
    StartRequest,
    StartRequestLabels,
    State,
)


def record(client: AuthenticatedClient) -> dict[str, object]:
    labels = StartRequestLabels.from_dict({"team": "fraud"})
    order = StartRequest(call_sid="v3:call-1", labels=labels)
    answer = start_session.sync_detailed(client=client, body=order, idempotency_key="once")
    started = answer.parsed
    assert isinstance(started, SessionResponse), started
    stopped = stop_session.sync(started.id, client=client)
    assert isinstance(stopped, SessionResponse), stopped
    shown = get_session.sync(started.id, client=client)
    assert isinstance(shown, SessionWithTimeline), shown
    listed = list_sessions.sync(client=client, label=["team:fraud"], call_sid="v3:call-1", limit=10)
    assert isinstance(listed, SessionPage), listed
    refused = start_session.sync(client=client, body=StartRequest(call_sid="v3:call-2", reference=""))
    assert isinstance(refused, ProblemDocument), refused
    return {
        "is_accepted": started.state is State.ACCEPTED,
        "location": answer.headers["Location"],
        "stop_requested_by": stopped.stop_requested_by,
        "first": shown.timeline[0].state.value,
        "listed": [str(session.id) for session in listed.sessions],
        "problem": refused.type_,
        "wrong": [field.pointer for field in refused.errors or []],
    }


if __name__ == "__main__":
    with AuthenticatedClient(base_url=sys.argv[1], token=sys.argv[2]) as asking:
        print(json.dumps(record(asking)))
