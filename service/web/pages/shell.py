"""What all pages have: their route, their frame, their headers, and what is shown when one fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

from flask import Blueprint, Response, g, make_response, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from service.domain.access import Scope
from service.web import auth, context, errors
from service.web.pages import guard
from service.web.pages.guard import NotLoggedIn

V = TypeVar("V", bound=Callable[..., Any])

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",  # with no-referrer, a form's Origin would be null
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
}

blueprint = Blueprint("pages", __name__, template_folder="templates")
blueprint.before_request(guard.logged_in)


def page(path: str, *, scope: Scope, methods: Iterable[str] = ("GET",)) -> Callable[[V], V]:
    """A view of the blueprint `pages`, for who is logged in with a key that has this scope."""

    def add(view: V) -> V:
        guard.scopes[view] = scope
        blueprint.add_url_rule(path, view.__name__, view, methods=list(methods))
        return view

    return add


def render(template: str, status: int = 200, **values: Any) -> Response:
    """The page. Every template has `to`, `token`, `key` (who is logged in, or None) and `now` (UTC)."""
    key = auth.key() if "api_key" in g else None
    shown = {"key": key, "token": guard.token_of(guard.cookie()), "now": context.current().services.clock()}
    response = make_response(render_template(template, to=to, **{**shown, **values}), status)
    response.headers.update(HEADERS)
    return response


def to(path: str, /, **query: Any) -> str:
    """The way from the page that is shown to another one: relative, for a proxy may add a prefix.

    A `query` of None or "" is left out; of a list, each is given.
    """
    root = "../" * (request.path.count("/") - 1) or "./"
    given = {name: value for name, value in query.items() if value not in (None, "")}
    return root + path.removeprefix("/") + (f"?{urlencode(given, doseq=True)}" if given else "")


def go(path: str, /, **query: Any) -> AnyResponse:
    """See other: what follows a form."""
    response = redirect(to(path, **query), 303)
    response.headers.update(HEADERS)
    return response


def show_problem(error: Exception) -> AnyResponse:
    """The same table as the API's, as a page."""
    if isinstance(error, NotLoggedIn):
        return go("/log-in", next=request.full_path.removesuffix("?") if request.method == "GET" else None)
    problem = errors.problem_for(error)
    shown = render("pages/problem.html", problem.status, problem=problem, request_id=errors.request_id())
    shown.headers.update(
        {name: value for name, value in problem.headers.items() if name != "WWW-Authenticate"}
    )
    return shown


blueprint.register_error_handler(Exception, show_problem)
