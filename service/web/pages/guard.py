"""Who may see the pages: somebody who is logged in, with the scope that the page needs."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

from flask import current_app, g, request
from werkzeug.wrappers import Response

from service.domain.access import Scope
from service.store import log_ins
from service.web import context
from service.web.problems import Kind, Problem

NAME: Final = "siprec-ledger"
SECURE_PREFIX: Final = "__Host-"  # a browser takes such a cookie from nobody but this very host over https
FORM: Final = "-form"  # before anybody is logged in
TOKEN_FIELD: Final = "token"  # noqa: S105  (its name in forms)
CHANGES: Final = {"POST", "PUT", "PATCH", "DELETE"}

# View function -> the scope that its page needs.
scopes: dict[Callable[..., Any], Scope] = {}


class NotLoggedIn(Exception):
    """Or not any longer."""


def logged_in() -> None:
    """The pages: a log-in whose key is in force and has the page's scope. The API never looks at a cookie."""
    assert request.endpoint is not None
    require(scopes[current_app.view_functions[request.endpoint]])


def require(scope: Scope) -> None:
    """Raises NotLoggedIn, and Problem for a scope that is missing or a form that is not ours."""
    text = cookie()
    services = context.current().services
    now = services.clock()
    with services.database.read() as db:
        found = log_ins.recognise(db, text, now) if text else None
    if found is None:
        raise NotLoggedIn
    g.api_key, g.log_in = found.key, found
    if request.method in CHANGES:
        check_form(text)
    if not found.key.access.allows(scope):
        raise Problem("scope-missing", f"It needs {scope}; an operator, or a key with admin, can add it")


def check_form(secret: str) -> None:
    """A POST comes from a page of ours that this browser was shown: by its origin, and by its token.

    `secret` is what the browser's cookie holds. Raises Problem.
    """
    if not _is_own_origin() or not secret:
        raise _form_not_ours()
    if not hmac.compare_digest(token_of(secret).encode(), request.form.get(TOKEN_FIELD, "").encode()):
        raise _form_not_ours()


def _form_not_ours() -> Problem:
    kind = Kind(403, "Form not sent from our page")
    return Problem("form-not-ours", "Nothing was done. Open the page again, then send the form.", kind=kind)


def token_of(secret: str) -> str:
    """What forms hold. Who reads it on a page cannot tell the cookie from it."""
    return hashlib.sha256(f"form {secret}".encode("utf-8", "surrogatepass")).hexdigest()


def _is_own_origin() -> bool:
    """Browsers say it themselves where we are reached by https; else the origin names our host."""
    if site := request.headers.get("Sec-Fetch-Site"):
        return site == "same-origin"
    own = urlsplit(context.current().url)
    try:
        origin = urlsplit(request.headers.get("Origin", ""))
    except ValueError:  # of no browser
        return False
    if not origin.netloc:
        return False
    return origin.netloc == request.host or (origin.scheme, origin.netloc) == (own.scheme, own.netloc)


def is_secure() -> bool:
    """Whether browsers reach the pages by https, as the settings say: a proxy may stand before us."""
    return context.current().url.startswith("https://")


def cookie(kind: str = "") -> str:
    """Empty if there is none. Over https none is read that others could have set."""
    return request.cookies.get(_name(kind), "")


def set_cookie(response: Response, text: str, kind: str = "") -> None:
    """Until the browser is closed at the latest; what it stands for ends by itself."""
    response.set_cookie(_name(kind), text, path="/", secure=is_secure(), httponly=True, samesite="Lax")


def remove_cookie(response: Response, kind: str = "") -> None:
    response.delete_cookie(_name(kind), path="/", secure=is_secure(), httponly=True, samesite="Lax")


def _name(kind: str) -> str:
    return f"{SECURE_PREFIX if is_secure() else ''}{NAME}{kind}"
