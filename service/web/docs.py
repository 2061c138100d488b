"""The OpenAPI document and a page to read it on.

The page's files are Swagger UI's, out of the package offapi; nothing is fetched from anywhere else.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

from flask import Blueprint, Response, current_app, jsonify, render_template, send_from_directory

from service.web import auth, context
from service.web.openapi import document

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PAGE_FILES = {"swagger_bundle.js", "swagger_style.css"}

blueprint = Blueprint("docs", __name__, template_folder="templates")
blueprint.before_request(auth.anyone)


@blueprint.get("/openapi.json")
def openapi() -> Response:
    """The same for everybody, who need no key: made once, so that asking again costs little."""
    made = current_app.extensions.get("openapi")
    if made is None:
        made = current_app.extensions["openapi"] = jsonify(
            document(current_app, context.current().url)
        ).get_data()
    return Response(made, mimetype="application/json")


@blueprint.get("/docs")
def page() -> Response:
    response = Response(render_template("docs.html"))
    response.headers["Content-Security-Policy"] = PAGE_POLICY
    return response


@blueprint.get("/docs/<name>")
def page_file(name: str) -> Response:
    folder = _swagger_ui() if name in PAGE_FILES else Path(__file__).parent / "static"
    response = send_from_directory(folder, name)
    response.headers["Cache-Control"] = "public, max-age=3600"
    return response


@cache
def _swagger_ui() -> Path:
    # Found, not imported: importing offapi reads nine megabytes.
    spec = importlib.util.find_spec("offapi")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent
