"""Reads what a request asks for: the fields of its body, and the nine of a start.

developers.telnyx.com/api-reference/texml-rest-commands/request-siprec-session-for-a-call
"""

import json
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, BaseModel, Field
from pydantic.alias_generators import to_pascal

from .sessions import CallbackMethod, Session

LONGEST_URL = 2000
SHORTEST_TIMEOUT_SECS = 90  # or 0, which turns it off
LONGEST_TIMEOUT_SECS = 14440  # only the page on the TeXML verb says so


class NotJson(ValueError):
    """The body is no JSON object."""


def read_fields(body: bytes) -> dict[str, str]:
    """The fields of a form or of a JSON object, whatever the content type claims. Raises NotJson.

    Official clients send either, one of them JSON even under the content type of a form.
    """
    if body.lstrip()[:1] in (b"{", b"["):
        return {name: _plain(value) for name, value in read_json(body).items() if value is not None}
    return dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))


def read_json(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`; nothing at all is an empty one. Raises NotJson."""
    try:
        document = json.loads(body or b"{}")
    except (ValueError, RecursionError) as bad:
        raise NotJson(f"the body is not JSON: {bad}") from bad
    if not isinstance(document, dict):
        raise NotJson(f"the body must be a JSON object, not {type(document).__name__}")
    return document


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _check_timeout(value: str) -> str:
    # int() would take "1_000" and digits of other scripts as well
    is_number = value.isascii() and value.isdigit() and len(value) <= len(str(LONGEST_TIMEOUT_SECS))
    if is_number and (int(value) == 0 or SHORTEST_TIMEOUT_SECS <= int(value) <= LONGEST_TIMEOUT_SECS):
        return value
    raise ValueError(f"must be 0, or from {SHORTEST_TIMEOUT_SECS} to {LONGEST_TIMEOUT_SECS}")


def _check_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        is_callable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:  # a port or a bracketed host that is none
        is_callable = False
    if is_callable and len(value) <= LONGEST_URL:
        return value
    raise ValueError(f"must be an http or https URL of at most {LONGEST_URL} characters")


class Start(BaseModel, alias_generator=to_pascal):
    """What Telnyx documents of a start, every value as text. Further fields are ignored."""

    connector_name: Annotated[str, Field(min_length=1)] | None = None
    name: str | None = None
    track: Literal["both_tracks", "inbound_track", "outbound_track"] = "both_tracks"
    include_metadata_custom_headers: Literal["true", "false"] = "false"
    secure: Literal["true", "false"] = "false"
    session_timeout_secs: Annotated[str, AfterValidator(_check_timeout)] = "1800"
    sip_transport: Literal["udp", "tcp", "tls"] = "udp"
    status_callback: Annotated[str, AfterValidator(_check_url)] | None = None
    status_callback_method: CallbackMethod = "POST"

    def session(self, account_sid: str, call_sid: str) -> Session:
        own = {"connector_name", "name", "track", "status_callback", "status_callback_method"}
        return Session(account_sid, call_sid, **self.model_dump(include=own))


class Update(BaseModel, alias_generator=to_pascal):
    """What can be asked of a running session."""

    status: Literal["stopped"] | None = None
