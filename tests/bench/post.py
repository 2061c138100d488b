"""The callbacks that are sent: signed as Telnyx signs, composed by the sandbox, written to a file."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from service.sandbox import STARTED, STOPPED, Behaviour
from service.sandbox.callbacks import compose
from service.sandbox.sessions import Session
from service.sandbox.signature import Signer
from service.telnyx.callback_url import CallbackUrls

SECRET_KEY = "a secret that is long enough for a bench"
ACCOUNT = "account-1"
BLOCK = 100  # sessions: all of them start, then all of them stop
REPEATED = 2  # of which so many have their stop told twice at once
CALLBACKS = 2 * BLOCK + REPEATED

signer = Signer()
behaviour = Behaviour()
callback_urls = CallbackUrls("", [SECRET_KEY])


@dataclass(frozen=True)
class Post:
    """`bodies` are those of the requests in the file, in its order."""

    path: Path
    bodies: list[bytes]


def session_id(number: int) -> str:
    return f"01900000-0000-7000-8000-{number:012d}"


def call_sid(number: int) -> str:
    return f"v3:bench-{number:012d}"


def siprec_sid(number: int) -> str:
    return f"5e55107e-0000-4000-8000-{number:012d}"


def prepare(path: Path, first_session: int, blocks: int) -> Post:
    """Requests to tell of `blocks` blocks of sessions; takes a second for every 15,000."""
    now = datetime.now(UTC)
    bodies = []
    with path.open("wb") as file:
        for block in range(blocks):
            numbers = range(first_session + block * BLOCK, first_session + (block + 1) * BLOCK)
            for event in (STARTED, STOPPED):
                for number in numbers:
                    body, request = _request(number, event, now)
                    repeats = 2 if event == STOPPED and number - numbers[0] < REPEATED else 1
                    bodies += [body] * repeats
                    file.write(_framed(request) * repeats)
    return Post(path, bodies)


def prepare_lists(path: Path, api_key: str, count: int) -> Post:
    """Requests that all ask for the newest sessions."""
    lines = ["GET /v1/sessions HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {api_key}", "", ""]
    request = "\r\n".join(lines).encode()
    path.write_bytes(_framed(request) * count)
    return Post(path, [b""] * count)


def prepare_forged(path: Path, count: int) -> Post:
    """The same request again and again: a callback of session 1, signed by a key that is not Telnyx's."""
    body, request = _request(1, STARTED, datetime.now(UTC), is_forged=True)
    path.write_bytes(_framed(request) * count)
    return Post(path, [body] * count)


def _framed(request: bytes) -> bytes:
    """As the load program reads it."""
    return struct.pack("=I", len(request)) + request


def _request(number: int, event: str, now: datetime, *, is_forged: bool = False) -> tuple[bytes, bytes]:
    """The body, and the whole request."""
    sign = signer.forge if is_forged else signer.sign
    session = Session(ACCOUNT, call_sid(number), siprec_sid(number))
    body = compose(session, event, now + timedelta(microseconds=number), behaviour).form
    # Sent in minutes from now: a callback signed more than 5 minutes ago is kept with that problem.
    headers = {
        "Host": "127.0.0.1",
        "User-Agent": "telnyx-webhooks",
        "Content-Type": "application/x-www-form-urlencoded",
        "Content-Length": str(len(body)),
        **sign(body, now + timedelta(minutes=4)),
    }
    lines = [f"POST {callback_urls.of(session_id(number))} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return body, "\r\n".join([*lines, "", ""]).encode() + body
