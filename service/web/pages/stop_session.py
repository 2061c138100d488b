"""The page that asks whether to stop a session, and stops it once."""

from __future__ import annotations

from flask import request
from werkzeug.wrappers import Response

from service.domain.access import Scope
from service.ledger.errors import CannotStop, StopAsked, StopFailed
from service.store import sessions
from service.web import auth, context, errors
from service.web.pages.one_session import is_stoppable, known_id
from service.web.pages.shell import go, page, render
from service.web.problems import Problem


@page("/sessions/<session_id>/stop", scope=Scope.STOP)
def ask_to_stop(session_id: str) -> Response:
    return _form(known_id(session_id))


@page("/sessions/<session_id>/stop", scope=Scope.STOP, methods=["POST"])
def stop_session(session_id: str) -> Response:
    """The form that was shown stops it once, however often it is sent.

    That of whoever was told that somebody had asked before asks Telnyx again.
    """
    known = known_id(session_id)
    try:
        is_again = request.form.get("again") == "yes"
        context.current().sessions.stop(known, auth.key(), only_once=not is_again)
    except StopAsked:
        return go(f"/sessions/{known}", done="stop-asked")
    except (StopFailed, CannotStop) as error:
        return _form(known, errors.problem_for(error))
    return go(f"/sessions/{known}", done="stop")


def _form(session_id: str, problem: Problem | None = None) -> Response:
    with context.current().database.read() as db:
        session = auth.known(sessions.find(db, session_id, auth.accounts()))
    return render(
        "pages/stop.html",
        problem.status if problem else 200,
        place="sessions",
        session=session,
        problem=problem,
        is_stoppable=is_stoppable(session),
    )
