"""Reads what an API request asks for: the fields of its body, and the nine of a start.

developers.telnyx.com/api-reference/texml-rest-commands/request-siprec-session-for-a-call
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

from .refusal import Refusal
from .sessions import CallbackMethod, Session

LONGEST_URL = 2000
SHORTEST_TIMEOUT_SECS = 90  # or 0, which turns it off
LONGEST_TIMEOUT_SECS = 14440  # only the page on the TeXML verb says so


def read_fields(body: bytes) -> dict[str, str]:
    """The fields of a form or of a JSON object, whatever the content type claims. Raises Refusal.

    Official clients send either, one of them JSON even under the content type of a form.
    """
    if body.lstrip()[:1] in (b"{", b"["):
        return {name: _plain(value) for name, value in read_json(body).items() if value is not None}
    return dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))


def read_json(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`; nothing at all is an empty one. Raises Refusal."""
    try:
        document = json.loads(body or b"{}")
    except (ValueError, RecursionError) as bad:
        raise Refusal(400, f"the body is not JSON: {bad}") from bad
    if not isinstance(document, dict):
        raise Refusal(400, f"the body must be a JSON object, not {type(document).__name__}")
    return document


def read_session(account_sid: str, call_sid: str, fields: Mapping[str, str]) -> Session:
    """The session that a start asks for. Raises Refusal."""
    for name, check in CHECKS.items():
        if name in fields and (wrong := check(fields[name])) is not None:
            raise Refusal(422, f"{name} {wrong}", code="10032", field=name)
    return Session(
        account_sid=account_sid,
        call_sid=call_sid,
        status_callback=fields.get("StatusCallback"),
        status_callback_method=cast(CallbackMethod, fields.get("StatusCallbackMethod", "POST")),
        track=fields.get("Track", "both_tracks"),
        name=fields.get("Name"),
        connector_name=fields.get("ConnectorName"),
    )


def wants_stop(fields: Mapping[str, str]) -> bool:
    """Whether an update asks for the end of the session, or for nothing. Raises Refusal."""
    status = fields.get("Status")
    if status not in (None, "stopped"):
        raise Refusal(422, f"Status must be stopped, not {status}", code="10032", field="Status")
    return status is not None


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _one_of(*choices: str) -> Callable[[str], str | None]:
    return lambda value: None if value in choices else f"must be one of {', '.join(choices)}, not {value!r}"


def _timeout(value: str) -> str | None:
    # int() would take "1_000" and digits of other scripts as well
    is_number = value.isascii() and value.isdigit() and len(value) <= len(str(LONGEST_TIMEOUT_SECS))
    if is_number and (int(value) == 0 or SHORTEST_TIMEOUT_SECS <= int(value) <= LONGEST_TIMEOUT_SECS):
        return None
    return f"must be 0, or from {SHORTEST_TIMEOUT_SECS} to {LONGEST_TIMEOUT_SECS}, not {value!r}"


def _url(value: str) -> str | None:
    if len(value) > LONGEST_URL:
        return f"must have at most {LONGEST_URL} characters, not {len(value)}"
    try:
        parts = urlsplit(value)
        is_callable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:  # a port or a bracketed host that is none
        is_callable = False
    return None if is_callable else f"must be an http or https URL, not {value!r}"


CHECKS: dict[str, Callable[[str], str | None]] = {
    "ConnectorName": lambda value: None if value else "must not be empty",
    "Track": _one_of("both_tracks", "inbound_track", "outbound_track"),
    "IncludeMetadataCustomHeaders": _one_of("true", "false"),
    "Secure": _one_of("true", "false"),
    "SessionTimeoutSecs": _timeout,
    "SipTransport": _one_of("udp", "tcp", "tls"),
    "StatusCallback": _url,
    "StatusCallbackMethod": _one_of("GET", "POST"),
}
