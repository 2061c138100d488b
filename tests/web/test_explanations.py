"""A session is explained over HTTP, by the lines that it has."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from service.domain.access import Scope
from service.ledger.numbering import number
from service.sandbox import Answer
from service.store.tables import event
from tests.web.indoors import Caller, Indoors


def explained(indoors: Indoors, session_id: str, client: Caller | None = None) -> dict[str, Any]:
    number(indoors.context.database)
    answer = (client or indoors.client).get(f"/v1/sessions/{session_id}/explain")
    assert answer.status_code == 200, answer.text
    found = dict(answer.json)
    assert found["session_id"] == session_id
    query = select(event.c.position).where(event.c.subject_id == session_id)
    with indoors.context.database.read() as db:
        positions = set(db.scalars(query))
    assert {position for one in found["sentences"] for position in one["positions"]} <= positions
    return found


def texts(found: dict[str, Any]) -> str:
    return " ".join(one["text"] for one in found["sentences"])


def test_a_whole_session_is_told_line_by_line(indoors: Indoors) -> None:
    session_id = indoors.started()
    found = explained(indoors, session_id)
    assert (found["state"], found["side"], found["what_to_do"]) == ("accepted", None, None)
    assert "app-1 asked for it at" in texts(found)
    assert "Telnyx accepted at" in texts(found)
    indoors.tell("siprec-started")
    indoors.client.post(f"/v1/sessions/{session_id}/stop")
    indoors.tell("siprec-stopped", AccountSid="account-2")
    found = explained(indoors, session_id)
    assert found["state"] == "stopped"
    assert found["summary"] == "The recording started and stopped."
    for words in ("says that it started", "app-1 asked to stop it", "says that it stopped"):
        (one,) = [one for one in found["sentences"] if words in one["text"]]
        assert len(one["positions"]) == 1
    assert "something is wrong: AccountSid is not the one that was asked for" in texts(found)


def test_a_refusal_names_whose_side_it_is_and_what_to_do(indoors: Indoors) -> None:
    indoors.answers(Answer.error(404))
    session_id = indoors.start().json["session_id"]
    found = explained(indoors, session_id)
    assert (found["state"], found["side"]) == ("refused", "app")
    assert found["what_to_do"].startswith("Check that the app starts with")


def test_who_may_not_see_a_session_is_told_nothing_of_it(indoors: Indoors) -> None:
    session_id = indoors.started()
    stranger = indoors.limited(Scope.READ, accounts=["account-2"])
    answer = stranger.get(f"/v1/sessions/{session_id}/explain")
    assert answer.status_code == 404
    assert explained(indoors, session_id, indoors.limited(Scope.READ, accounts=["account-1"]))
    unread = indoors.limited(Scope.REPORTS).get(f"/v1/sessions/{session_id}/explain")
    assert unread.status_code == 403
