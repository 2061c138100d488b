"""Why a session is in its state, for internal apps and whoever is on duty."""

from __future__ import annotations

from uuid import UUID

from flask import Blueprint
from pydantic import Field

from service.domain.access import Scope
from service.domain.causes import Side
from service.domain.explain import Explanation
from service.domain.state import State
from service.ledger import explanation
from service.store import sessions
from service.web import auth, context
from service.web.operation import Answer, operation
from service.web.responses import Id, Model, Time

blueprint = Blueprint("explanations", __name__, url_prefix="/v1/sessions")
blueprint.before_request(auth.api_key)
blueprint.after_request(context.add_spool_age)


class SentenceResponse(Model):
    text: str = Field(description="times are UTC, with the date where it is not today")
    positions: list[int] = Field(description="of the lines of the feed that it rests on")
    deadline: Time | None = Field(description="that has passed, or is awaited")


class ExplanationResponse(Model):
    session_id: Id
    state: State
    summary: str = Field(description="one sentence")
    side: Side | None = Field(description="who has to act; null where nobody has to, as far as is known")
    what_to_do: str | None
    sentences: list[SentenceResponse]


@blueprint.get("/<uuid:session_id>/explain")
@operation(
    "explainSession",
    "Explain why a session is in its state",
    answers={200: ExplanationResponse},
    problems=("unknown-session",),
    scope=Scope.READ,
)
def explain(session_id: UUID) -> Answer:
    """In plain sentences, each naming the lines of the feed, or the deadline, that it rests on."""
    now = context.current().services.clock()
    with context.current().database.read() as db:
        session = auth.known(sessions.find(db, str(session_id), auth.accounts()))
        explained = explanation.of(db, session, now)
    return Answer(_response(session.id, session.progress.state, explained))


def _response(session_id: str, state: State, explained: Explanation) -> ExplanationResponse:
    return ExplanationResponse(
        session_id=session_id,
        state=state,
        summary=explained.summary,
        side=explained.side,
        what_to_do=explained.what_to_do,
        sentences=[
            SentenceResponse(text=one.text, positions=list(one.positions), deadline=one.deadline)
            for one in explained.sentences
        ],
    )
