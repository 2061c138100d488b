"""Flask's shell around the callback door."""

from __future__ import annotations

from flask import Blueprint, Response, request
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from service.web import auth
from service.web.door import LARGEST_BODY
from service.web.parts import parts

blueprint = Blueprint("callbacks", __name__, url_prefix="/callbacks/siprec")
blueprint.before_request(auth.telnyx_signs)


# Telnyx follows no redirect for sure, so /x and /x/ both answer.
@blueprint.route("", methods=["GET", "POST"], strict_slashes=False, defaults={"token": None})
@blueprint.route("/<token>", methods=["GET", "POST"], strict_slashes=False)
def receive(token: str | None) -> Response:
    if request.method == "HEAD":
        return Response(status=200)
    try:
        body = request.get_data(cache=False)
    except RequestEntityTooLarge:
        return Response(status=413)
    except ClientDisconnected:
        return Response(status=400)
    status = parts().door.receive(
        method=request.method,
        token=token,
        query=request.query_string,
        headers={name.lower(): value for name, value in request.headers.items()},
        body=body,
        now=parts().clock(),
    )
    return Response(status=status)


@blueprint.before_request
def allow_large_bodies() -> None:
    request.max_content_length = LARGEST_BODY
