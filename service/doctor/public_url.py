"""Whether PUBLIC_URL leads here, as Telnyx would come, and shows nothing else."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from service.canary import client
from service.canary.client import NoReply, Reply
from service.canary.mark import CanaryKeys, Wish
from service.doctor.check import Finding, ok, warning, wrong
from service.doctor.situation import Situation

ANSWER_SECONDS: Final = 4.0
GLANCE_SECONDS: Final = 2.0
SLOW_SECONDS: Final = 1.0  # Telnyx waits 2
INSIDE: Final = ("/", "/v1/sessions", "/readyz", "/metrics", "/docs", "/openapi.json")
NOT_SHOWN: Final = range(300, 500)
SHOWN_ALL_THE_SAME: Final = {401, 405, 429}
LEAD: Final = "Let the proxy lead PUBLIC_URL's /callbacks/ to the service, unchanged."
NOT_OURS: Final = "It leads elsewhere, or to a service with another SECRET_KEY, or of an earlier release."
ANSWERS: Final[Mapping[int, tuple[str, str]]] = {
    401: ("Something before the service wants a password.", "Let /callbacks/ pass without one."),
    403: (
        "A callback is refused on the way, or it was changed: its body, or its telnyx- headers.",
        "Let the proxy pass POST, bodies and headers below /callbacks/ unchanged.",
    ),
    404: (NOT_OURS, LEAD),
    405: (NOT_OURS, LEAD),
    413: ("A small body is too large there.", "Let the proxy take bodies of 1 MiB."),
    429: ("Something before the service limits the rate.", "Let /callbacks/ pass without a limit."),
    502: ("The proxy does not reach the service.", "Start the service; let the proxy lead to HOST and PORT."),
    503: ("There it is unavailable.", "Start the service; let the proxy lead to HOST and PORT."),
    504: ("The proxy does not reach the service in time.", "Let the proxy lead to HOST and PORT."),
}


@dataclass(frozen=True)
class Sent:
    """A canary, and what came back; `document` is None where that is not ours."""

    reply: Reply
    document: Mapping[str, Any] | None


def send_canary(
    situation: Situation, seconds: float = ANSWER_SECONDS, wish: Wish | None = None, size: int = 0
) -> Sent:
    """Raises NoReply."""
    canary = CanaryKeys(situation.settings.secrets).make(datetime.now(UTC), wish, size)
    reply = client.post(f"{situation.settings.PUBLIC_URL}{canary.path}", canary.headers, canary.body, seconds)
    document = _document(reply) if reply.status == 200 else None
    return Sent(reply, document if document is not None and document.get("canary") == canary.id else None)


def _document(reply: Reply) -> dict[str, Any] | None:
    try:
        document = json.loads(reply.body)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def address(situation: Situation) -> Finding:
    """It is one that Telnyx can reach, by https."""
    parts = urlsplit(situation.settings.PUBLIC_URL)
    assert parts.hostname is not None
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port or parts.scheme, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return wrong("The name in PUBLIC_URL is not found.", "Mend PUBLIC_URL, or its entry in the DNS.")
    addresses = sorted({str(one[4][0]).partition("%")[0] for one in found})
    inner = [one for one in addresses if not ip_address(one).is_global]
    if len(inner) == len(addresses):
        what_to_do = "See that the name leads Telnyx to an address of the Internet."
        return warning(f"From here PUBLIC_URL leads to {inner[0]}, which is not on the Internet.", what_to_do)
    if parts.scheme != "https":
        what_to_do = "Serve it by https, with a certificate that everybody trusts."
        return warning("PUBLIC_URL is http: others can read callbacks and their URLs.", what_to_do)
    return ok(f"It is https, and leads to {', '.join(addresses)}.")


def canary(situation: Situation) -> Finding:
    """A marked callback passes through it, is taken for what it is, and could be kept."""
    try:
        sent = send_canary(situation)
    except NoReply as error:
        return wrong(f"PUBLIC_URL does not answer: {error}.", LEAD)
    return judged(sent)


def judged(sent: Sent) -> Finding:
    return _not_ours(sent.reply) if sent.document is None else _kept(sent, sent.document)


def _not_ours(reply: Reply) -> Finding:
    if 300 <= reply.status < 400:
        target = urlsplit(reply.headers.get("Location", "")).hostname or "another path"
        found = f"It is answered {reply.status}, which leads to {target}; Telnyx may not follow."
        return wrong(found, "Let PUBLIC_URL name what needs no redirect.")
    found, what_to_do = ANSWERS.get(reply.status, (NOT_OURS, LEAD))
    return wrong(f"It is answered {reply.status}. {found}", what_to_do)


def _kept(sent: Sent, document: Mapping[str, Any]) -> Finding:
    steps, host = document["steps"], document["host"]
    failed = {name: steps[name]["why"] for name in ("database", "spool") if steps[name]["why"]}
    has_database = steps["database"]["seconds"] is not None
    has_spool = steps["spool"]["seconds"] is not None
    if not has_database and not has_spool:
        what_to_do = f"Bring the database back; look at the log on {host}."
        return wrong(f"It reaches {host}, which can keep nothing now ({failed}).", what_to_do)
    if failed:
        what_to_do = f"Look at the log on {host}."
        named = " and ".join(failed)
        return warning(f"It reaches {host}, where the {named} did not take a write.", what_to_do)
    took = f"A callback reaches {host} and is answered in {sent.reply.seconds * 1000:.0f} ms"
    if sent.reply.seconds >= SLOW_SECONDS:
        return warning(f"{took}; Telnyx waits 2 s.", "Look at the way there, and at the host's load.")
    return ok(f"{took}.")


def hidden(situation: Situation) -> Finding:
    """It shows callbacks alone, where there is a listener for the inside."""
    shown, url = [], situation.settings.PUBLIC_URL
    for path in INSIDE:
        try:
            status = client.get(f"{url}{path}", GLANCE_SECONDS).status
        except NoReply:
            continue
        if status not in NOT_SHOWN or status in SHOWN_ALL_THE_SAME:
            shown.append(path)
    if situation.settings.INTERNAL_BIND is None:
        if not shown:
            return ok("The proxy shows callbacks alone.")
        return ok("INTERNAL_BIND is not set: the API is served there as well, behind its keys.")
    if shown:
        what_to_do = "Let the proxy lead to HOST and PORT, not to INTERNAL_BIND."
        return wrong(f"INTERNAL_BIND is set, and PUBLIC_URL shows {', '.join(shown)}.", what_to_do)
    return ok("It shows callbacks alone.")
