"""What answers at `/`: which service this is, and where to read on."""

from __future__ import annotations

from typing import Final

from flask import Blueprint, jsonify, request
from werkzeug.wrappers import Response

import service
from service.web import auth
from service.web.pages import now, shell

JSON: Final = "application/json"
HTML: Final = "text/html"
# What it is for -> where it is. No more than everybody may see.
PLACES: Final = {
    "documentation": "/docs",
    "manual": "/manual",
    "openapi": "/openapi.json",
    "sessions": "/v1/sessions",
    "health": "/healthz",
    "readiness": "/readyz",
}

blueprint = Blueprint("home", __name__)
blueprint.before_request(auth.anyone)  # who asks for the page has to be logged in: it sees to that itself


@blueprint.get("/")
def home() -> Response:
    """The page Now for a browser, JSON for whoever does not ask for a page."""
    if request.accept_mimetypes.best_match([JSON, HTML], default=JSON) == HTML:
        response = _page()
    else:
        response = jsonify({"service": "siprec-ledger", "about": service.__doc__, **PLACES})
    response.headers["Vary"] = "Accept"
    return response


def _page() -> Response:
    try:
        return now.show()
    except Exception as error:
        return shell.show_problem(error)
