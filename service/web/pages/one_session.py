"""The page of one session: why it is as it is, when what happened, and what Telnyx called back."""

from __future__ import annotations

from typing import Final

from flask import request
from werkzeug.wrappers import Response

from service.domain.access import Scope
from service.domain.session import Session
from service.ledger import evidence, explanation
from service.ledger.errors import UnknownSession
from service.store import callback_deliveries, callback_lists, events, session_lists, sessions
from service.store.callback_lists import StoredCallback
from service.store.session_lists import Filter
from service.telnyx.callback_form import Form
from service.web import auth, context
from service.web.cursor import ListPages
from service.web.pages import timeline_picture
from service.web.pages.session_list import own_id
from service.web.pages.shell import page, render

CALLBACKS: Final = 50  # on a page
EVENTS: Final = 100
OTHERS: Final = 20  # sessions on the same call
# What the page before did, in words; nobody else's words come in by an address.
DONE: Final = {
    "stop": "Telnyx took the stop. The session has ended once Telnyx calls back.",
    "stop-asked": "A stop was asked for already, so Telnyx was not asked again.",
}


@page("/sessions/<session_id>", scope=Scope.READ)
def one_session(session_id: str) -> Response:
    known, now = known_id(session_id), context.current().services.clock()
    pages = ListPages(context.current().cursors, "session-callbacks", {"session_id": known})
    after = pages.moment_and_id(request.args.get("callbacks"))
    with context.current().database.read() as db:
        session = auth.known(sessions.find(db, known, auth.accounts()))
        lines = events.of_session(db, known, 0, EVENTS + 1)
        explained = explanation.of(db, session, now)
        first = callback_lists.of_session(db, known, None, timeline_picture.MOST_CALLBACKS)
        found = callback_lists.of_session(db, known, after, CALLBACKS + 1)
        callbacks, cursor = pages.first_of(found, CALLBACKS, _place)
        ids = [one.callback.delivery.id for one in callbacks if one.deliveries > 1]
        repeats = callback_deliveries.repeats(db, ids)
        on_call = Filter(call_sid=session.order.call_sid)
        others = session_lists.page(db, on_call, auth.accounts(), None, OTHERS + 2)
    moments = timeline_picture.moments(session, first)
    return render(
        "pages/session.html",
        place="sessions",
        session=session,
        explained=explained,
        picture=timeline_picture.draw(session, moments, first, now),
        duration=timeline_picture.duration,
        callbacks=callbacks,
        repeats=repeats,
        most_repeats=callback_deliveries.MOST_REPEATS,
        is_first_page=after is None,
        callbacks_cursor=cursor,
        lines=lines[:EVENTS],
        has_more_lines=len(lines) > EVENTS,
        others=[one for one in others if one.id != known][:OTHERS],
        has_more_others=len(others) > OTHERS + 1,
        may_stop=is_stoppable(session) and auth.key().access.allows(Scope.STOP),
        may_read=auth.key().access.allows(Scope.EVIDENCE),
        done=DONE.get(request.args.get("done", "")),
    )


@page("/sessions/<session_id>/callbacks/<callback_id>", scope=Scope.EVIDENCE, methods=["POST"])
def raw_callback(session_id: str, callback_id: str) -> Response:
    """By a form, so that no preview and no reload by itself is a reading: each is written down before."""
    known, wanted = known_id(session_id), known_id(callback_id)
    services = context.current().services
    with services.database.read() as db:
        session = auth.known(sessions.find(db, known, auth.accounts()))
        deliveries = callback_deliveries.raw(db, known, wanted)
    if not deliveries:
        raise UnknownSession
    evidence.write_reading(services.database, known, [wanted], auth.key().name, services.clock())
    texts = Form.of(deliveries[0].method, deliveries[0].query, deliveries[0].body).texts
    return render(
        "pages/callback.html", place="sessions", session=session, deliveries=deliveries, fields=texts
    )


def _place(one: StoredCallback) -> tuple[str, str]:
    return one.callback.notice.received_at.isoformat(), one.callback.delivery.id


def known_id(text: str) -> str:
    """As the ledger writes it. Raises UnknownSession: nothing else is an id of ours."""
    found = own_id(text)
    if found is None:
        raise UnknownSession
    return found


def is_stoppable(session: Session) -> bool:
    return not session.is_over and session.merged_into is None and session.progress.siprec_sid is not None
