"""FastAPI beside the ledger: verifies, inserts the callback, updates its session, in one transaction.

`tests.bench.contestants` serves it under uvicorn. The tables are those of the naive handler, in raw SQL.
"""

from __future__ import annotations

import asyncio
import os
import re
from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from urllib.parse import parse_qsl

import aiosqlite
import asyncpg
from fastapi import FastAPI, Request, Response
from nacl.signing import VerifyKey

INSERT = "INSERT INTO naive_callback (session_id, event, body, received_at) VALUES ($1, $2, $3, $4)"
UPDATE = "UPDATE naive_session SET state = $1, callbacks = callbacks + 1, updated_at = $2 WHERE id = $3"
CONNECTIONS = 16

# The session's id, its event, the body, and when it came (UTC, without a zone, as the tables have it).
Store = Callable[[str, str, bytes, datetime], Awaitable[None]]


def with_asyncpg() -> FastAPI:
    return _app(_storing_in_postgresql)


def with_aiosqlite() -> FastAPI:
    return _app(_storing_in_sqlite)


@asynccontextmanager
async def _storing_in_postgresql() -> AsyncIterator[Store]:
    """PGHOST, PGUSER and PGDATABASE tell where."""
    async with asyncpg.create_pool(min_size=CONNECTIONS, max_size=CONNECTIONS) as pool:

        async def store(session_id: str, event: str, body: bytes, now: datetime) -> None:
            async with pool.acquire() as db, db.transaction():
                await db.execute(INSERT, session_id, event, body, now)
                await db.execute(UPDATE, _state(event), now, session_id)

        yield store


@asynccontextmanager
async def _storing_in_sqlite() -> AsyncIterator[Store]:
    """SQLITE_FILE tells where. One connection, and one transaction at a time: SQLite has one writer."""
    turn = asyncio.Lock()
    insert, update = (re.sub(r"\$\d", "?", statement) for statement in (INSERT, UPDATE))
    async with aiosqlite.connect(os.environ["SQLITE_FILE"], isolation_level=None) as db:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            await db.execute(f"PRAGMA {pragma}")

        async def store(session_id: str, event: str, body: bytes, now: datetime) -> None:
            written = str(now)
            async with turn:
                await db.execute("BEGIN IMMEDIATE")
                await db.execute(insert, (session_id, event, body, written))
                await db.execute(update, (_state(event), written, session_id))
                await db.execute("COMMIT")

        yield store


def _app(storing: Callable[[], AbstractAsyncContextManager[Store]]) -> FastAPI:
    key = VerifyKey(b64decode(os.environ["TELNYX_PUBLIC_KEY"]))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with storing() as app.state.store:
            yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/healthz")
    async def healthz() -> Response:
        return Response()

    @app.post("/callbacks/siprec/{token}")
    async def receive(token: str, request: Request) -> Response:
        body = await request.body()
        signed = request.headers["telnyx-timestamp"].encode() + b"|" + body
        key.verify(signed, b64decode(request.headers["telnyx-signature-ed25519"]))
        event = dict(parse_qsl(body.decode()))["SiprecEvent"]
        now = datetime.now(UTC).replace(tzinfo=None)
        await app.state.store(token.partition(".")[0], event, body, now)
        return Response()

    return app


def _state(event: str) -> str:
    return event.removeprefix("siprec-")
