"""The page Now: is all well, and if not, which calls, whose side, what to do."""

from __future__ import annotations

from flask import Response

from service.domain.access import Scope
from service.web.pages import guard
from service.web.pages.shell import render

SCOPE = Scope.READ


def show() -> Response:
    """At /, which is JSON for whoever does not ask for a page: `home` calls it."""
    guard.require(SCOPE)
    return render("pages/now.html", place="now")
