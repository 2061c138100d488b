"""What answers at `/`: which service this is, and where to read on."""

from __future__ import annotations

from typing import Final

from flask import Blueprint, Response, jsonify, render_template, request

import service
from service.web import auth
from service.web.docs import PAGE_POLICY

JSON: Final = "application/json"
HTML: Final = "text/html"
# What it is for -> where it is. No more than everybody may see.
PLACES: Final = {
    "documentation": "/docs",
    "openapi": "/openapi.json",
    "sessions": "/v1/sessions",
    "health": "/healthz",
    "readiness": "/readyz",
}

blueprint = Blueprint("home", __name__, template_folder="templates")
blueprint.before_request(auth.anyone)


@blueprint.get("/")
def home() -> Response:
    """A page for a browser, JSON for whoever does not ask for one."""
    if request.accept_mimetypes.best_match([JSON, HTML], default=JSON) == HTML:
        response = Response(render_template("home.html", about=service.__doc__))
        response.headers["Content-Security-Policy"] = PAGE_POLICY
    else:
        response = jsonify({"service": "siprec-ledger", "about": service.__doc__, **PLACES})
    response.headers["Vary"] = "Accept"
    return response
