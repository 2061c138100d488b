"""Whatever arrives at the callback door: it answers, and what it answered 200 is there, once."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from tests.web.indoors import Indoors

# Parts of what Telnyx sends among parts of what nobody should.
NAMES = st.sampled_from(
    [b"AccountSid", b"CallSid", b"SiprecSid", b"SiprecEvent", b"Timestamp", b"SiprecError"]
)
VALUES = st.sampled_from(
    [
        b"siprec-started",
        b"siprec-failed",
        b"sid-1",
        b"v3:call-1",
        b"2026-11-22T10:00:00.000001Z",
        b"1970-01-01T00:00:00Z",
        b"9999-12-31T23:59:59-14:00",
        b"%00",
        b"%ED%A0%80",
        b"%FF",
        b"%G1",
        b"\xff\x00",
        b"",
    ]
)
PAIRS = st.lists(st.tuples(NAMES | st.binary(max_size=8), VALUES | st.binary(max_size=40)), max_size=8)
FORMS = PAIRS.map(lambda pairs: b"&".join(b"=".join(pair) for pair in pairs))
BYTES = FORMS | st.binary(max_size=300)
LATIN = st.text(st.characters(max_codepoint=255), max_size=40)


@settings(
    max_examples=10_000,  # on each kind of database
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    method=st.sampled_from(["POST", "POST", "POST", "GET", "HEAD", "PUT"]),
    token=st.sampled_from(["ours", "ours", "", "/"]) | LATIN,
    query=BYTES,
    body=BYTES,
    signature=st.sampled_from(["fits", "fits", "fits", "none", "of another body"]) | LATIN,
    content_type=st.sampled_from(["application/x-www-form-urlencoded", "application/json", ""]) | LATIN,
)
def _send_anything(
    indoors: Indoors,
    method: str,
    token: str,
    query: bytes,
    body: bytes,
    signature: str,
    content_type: str,
) -> None:
    ours = indoors.callback_path()
    path = ours if token == "ours" else f"/callbacks/siprec/{token}"
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": query.decode("latin-1"),
        "CONTENT_LENGTH": str(len(body)),
        "CONTENT_TYPE": content_type,
        "wsgi.input": io.BytesIO(body),
        **_signature(indoors, signature, body),
    }
    told: list[int] = []

    def start_response(status: str, *_: object) -> Callable[[bytes], object]:
        told.append(int(status[:3]))
        return lambda _: None

    indoors.app.wsgi_app(environ, start_response)
    answers[told[0]] = answers.get(told[0], 0) + (method in {"GET", "POST"})


answers: dict[int, int] = {}


def _signature(indoors: Indoors, kind: str, body: bytes) -> dict[str, str]:
    if kind == "none":
        return {}
    signed = indoors.sandbox.sign(b"another" if kind == "of another body" else body)
    if kind not in {"fits", "of another body"}:
        signed["telnyx-signature-ed25519"] = kind
    return {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in signed.items()}


def test_anything_is_answered_and_what_is_answered_200_is_kept(indoors: Indoors) -> None:
    answers.clear()
    indoors.started()
    _send_anything(indoors)
    assert set(answers) <= {200, 403, 404, 405}
    assert min(answers[200], answers[403], answers[404]) > 100  # all were tried in earnest
    with indoors.context.database.read() as db:
        kept = db.scalar(text("SELECT SUM(deliveries) FROM report_callbacks_v1"))
    assert kept == answers[200]
