"""Callbacks are listed, with what they say, for those who may read it."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from flask import Blueprint

from service.domain.access import Scope
from service.ledger import evidence
from service.store import callback_lists, sessions
from service.store.callback_lists import StoredCallback
from service.web import auth, context, responses
from service.web.cursor import ListPages
from service.web.operation import Answer, operation
from service.web.requests import CallbackPageQuery, CallbackQuery
from service.web.responses import CallbackPage

blueprint = Blueprint("callbacks", __name__, url_prefix="/v1")
blueprint.before_request(auth.api_key)
blueprint.after_request(context.add_spool_age)


@blueprint.get("/sessions/<uuid:session_id>/callbacks")
@operation(
    "listSessionCallbacks",
    "Show the callbacks of a session, oldest first",
    answers={200: CallbackPage},
    problems=("unknown-session", "evidence-not-recorded"),
    scope=Scope.READ,
    query=CallbackPageQuery,
)
def of_session(session_id: UUID, query: CallbackPageQuery) -> Answer:
    pages = ListPages(context.current().cursors, "session-callbacks", {"session_id": str(session_id)})
    after = pages.moment_and_id(query.cursor)
    with context.current().database.read() as db:
        session = auth.known(sessions.find(db, str(session_id), auth.accounts()))
        found = callback_lists.of_session(db, session.id, after, query.limit + 1)
    page, cursor = pages.first_of(found, query.limit, _place)
    return Answer(_page(page, cursor, session.id, with_fields=query.fields))


@blueprint.get("/callbacks")
@operation(
    "listCallbacks",
    "List callbacks, newest first",
    answers={200: CallbackPage},
    problems=("evidence-not-recorded",),
    scope=Scope.READ,
    query=CallbackQuery,
)
def index(query: CallbackQuery) -> Answer:
    """With `problem=true` those that something is wrong with, also where they belong to no session.

    Where `fields` are shown, an event says who read them. Pollers ask with `fields=false`.

    A key that is limited to some accounts sees the callbacks of their sessions; of no session, those that
    Telnyx signed with one of these accounts' ids. A page of such a key may be short, or empty, although a
    `next_cursor` says that there is more.
    """
    pages = ListPages(context.current().cursors, "callbacks", query.filters())
    before = pages.place(query.cursor)
    with context.current().database.read() as db:
        page, end = callback_lists.page(
            db, query.problem, auth.accounts(), before[0] if before else None, query.limit
        )
    cursor = pages.after(end) if end else None
    return Answer(_page(page, cursor, evidence.CALLBACKS, with_fields=query.fields))


def _place(one: StoredCallback) -> tuple[str, str]:
    return one.callback.notice.received_at.isoformat(), one.callback.delivery.id


def _page(
    page: Sequence[StoredCallback], cursor: str | None, what: str, *, with_fields: bool
) -> CallbackPage:
    """Raises ReadingNotWritten."""
    with_evidence = with_fields and auth.key().access.allows(Scope.EVIDENCE)
    if with_evidence:
        services, ids = context.current().services, [one.callback.delivery.id for one in page]
        evidence.write_reading(services.database, what, ids, auth.key().name, services.clock())
    shown = [responses.callback(one, with_evidence=with_evidence) for one in page]
    return CallbackPage(callbacks=shown, next_cursor=cursor)
