"""What the ledger is measured beside; gunicorn serves them, as it serves the ledger."""

from __future__ import annotations

import os
from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from flask import Flask, Response, request
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey
from sqlalchemy import ForeignKey, create_engine, event
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from werkzeug.datastructures import Headers

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Wsgi = Callable[[Environ, StartResponse], Iterable[bytes]]
# Headers have lower-case names. Returns the status to answer.
Receive = Callable[[str, Mapping[str, str], bytes], int]

PATH = "/callbacks/siprec/"
HEADERS = {
    "HTTP_TELNYX_TIMESTAMP": "telnyx-timestamp",
    "HTTP_TELNYX_SIGNATURE_ED25519": "telnyx-signature-ed25519",
    "HTTP_USER_AGENT": "user-agent",
    "CONTENT_TYPE": "content-type",
}
STATUS_LINES = {200: "200 OK", 400: "400 Bad Request"}


def floor() -> Flask:
    """Flask, the form parsed, the signature verified, nothing stored: the least that the job can cost."""
    key = _key()
    app = _flask()

    @app.post(f"{PATH}<token>")
    def receive(token: str) -> Response:
        body = request.get_data()
        form = request.form
        _verify(key, request.headers, body)
        return Response(status=200 if form["SiprecEvent"] else 400)

    return app


def floor_wsgi() -> Wsgi:
    """The same without Flask."""
    key = _key()

    def receive(token: str, headers: Mapping[str, str], body: bytes) -> int:
        form = dict(parse_qsl(body.decode()))
        _verify(key, headers, body)
        return 200 if form["SiprecEvent"] else 400

    return _wsgi(receive)


class Base(DeclarativeBase):
    pass


class NaiveSession(Base):
    __tablename__ = "naive_session"

    id: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str]
    callbacks: Mapped[int]
    updated_at: Mapped[datetime | None]


class NaiveCallback(Base):
    __tablename__ = "naive_callback"

    id: Mapped[int] = mapped_column(primary_key=True)
    session_id: Mapped[str] = mapped_column(ForeignKey("naive_session.id"), index=True)
    event: Mapped[str]
    body: Mapped[bytes]
    received_at: Mapped[datetime]


def naive() -> Flask:
    """The handler most people write: a database session per request: select, insert, update, commit."""
    key = _key()
    engine = create_engine(os.environ["DATABASE_URL"], pool_size=40)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _as_durable_as_ours)
    app = _flask()

    @app.post(f"{PATH}<token>")
    def receive(token: str) -> Response:
        body = request.get_data()
        form = request.form
        _verify(key, request.headers, body)
        now = datetime.now(UTC).replace(tzinfo=None)
        with Session(engine) as db:
            session = db.get_one(NaiveSession, token.partition(".")[0])
            db.add(
                NaiveCallback(session_id=session.id, event=form["SiprecEvent"], body=body, received_at=now)
            )
            session.state = form["SiprecEvent"].removeprefix("siprec-")
            session.callbacks += 1
            session.updated_at = now
            db.commit()
        return Response(status=200)

    return app


def _as_durable_as_ours(connection: Any, _record: Any) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000"):
        connection.execute(f"PRAGMA {pragma}")


def _key() -> VerifyKey:
    return VerifyKey(b64decode(os.environ["TELNYX_PUBLIC_KEY"]))


def _verify(key: VerifyKey, headers: Mapping[str, str] | Headers, body: bytes) -> None:
    signed = headers["telnyx-timestamp"].encode() + b"|" + body
    key.verify(signed, b64decode(headers["telnyx-signature-ed25519"]))


def _flask() -> Flask:
    app = Flask("bench", static_folder=None)
    app.add_url_rule("/healthz", view_func=lambda: Response(status=200))
    app.register_error_handler(BadSignatureError, lambda _: Response(status=403))
    return app


def _wsgi(receive: Receive) -> Wsgi:
    def answer(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        status = 200
        if path.startswith(PATH):
            body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
            headers = {name: environ[key] for key, name in HEADERS.items()}
            status = receive(path.removeprefix(PATH), headers, body)
        start_response(STATUS_LINES[status], [("Content-Length", "0")])
        return []

    return answer
