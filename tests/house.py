"""The whole house for a test: a database, the service under gunicorn, and the sandbox as its Telnyx."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import requests

from service.sandbox import Sandbox
from service.store import keys, schema
from service.store.engine import Database
from tests.bed.web import Web

SECRET_KEY = "a secret that is long enough for a test"
PATIENCE_SECONDS = 30


class House:
    """`settings` add to the environment, or replace what stands in it."""

    def __init__(self, database_url: str, sandbox: Sandbox, workers: int = 1, **settings: str) -> None:
        self.sandbox = sandbox
        self.database = Database(database_url)
        with self.database.begin() as db:
            self.key = keys.create(db, f"key {time.time_ns()}", datetime.now(UTC))
        self.http = requests.Session()
        self.http.headers["Authorization"] = f"Bearer {self.key}"
        threads = int(settings.get("THREADS", "16"))
        self.web = Web({}, workers=workers, threads=threads)
        self.web.env |= {
            "PUBLIC_URL": self.web.url,
            "SECRET_KEY": SECRET_KEY,
            "DATABASE_URL": database_url,
            "SPOOL_DIR": str(self.web.folder / "spool"),
            "TELNYX_API_KEY": sandbox.api_key,
            "TELNYX_PUBLIC_KEY": sandbox.public_key,
            "TELNYX_BASE_URL": sandbox.url,
            "TELNYX_ACCOUNT_SID": "account-1",
            "WATCH_SECONDS": "0.1",
            "THREADS": str(threads),
            **settings,
        }

    def __enter__(self) -> Self:
        self.web.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.web.close()
        self.http.close()
        self.database.close()

    def get(self, path: str, **query: Any) -> requests.Response:
        return self.http.get(f"{self.web.url}{path}", params=query, timeout=30)

    def post(self, path: str, json: Any = None, **headers: str) -> requests.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.post(f"{self.web.url}{path}", json=json, headers=named, timeout=30)

    def start(self, call_sid: str = "v3:call-1", **body: Any) -> requests.Response:
        return self.post("/v1/sessions", {"call_sid": call_sid, **body})

    def session(self, session_id: str) -> dict[str, Any]:
        shown: dict[str, Any] = self.get(f"/v1/sessions/{session_id}").json()
        return shown

    def callbacks(self, session_id: str) -> list[dict[str, Any]]:
        shown: list[dict[str, Any]] = self.get(f"/v1/sessions/{session_id}/callbacks", limit=250).json()[
            "callbacks"
        ]
        return shown

    def callback_url(self, call_sid: str = "v3:call-1") -> str:
        """The StatusCallback in the start request that reached the sandbox."""
        return next(
            request.fields["StatusCallback"]
            for request in reversed(self.sandbox.requests)
            if f"/{call_sid}/" in request.path and "StatusCallback" in request.fields
        )

    def wait_for(self, session_id: str, state: str) -> dict[str, Any]:
        """The session once it is in `state`; fails if it takes too long."""
        shown: dict[str, Any] = {}

        def is_so() -> bool:
            shown.update(self.session(session_id))
            return shown.get("state") == state

        wait_until(is_so, why=lambda: f"{shown}\n{self.web.log[-3000:]}")
        return shown


def migrate(url: str) -> str:
    """The same URL, once the schema is there."""
    database = Database(url)
    schema.upgrade(database)
    database.close()
    return url


def wait_until(
    is_so: Callable[[], bool], seconds: float = PATIENCE_SECONDS, why: Callable[[], str] = str
) -> None:
    give_up = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < give_up, f"it took too long: {why()}"
        time.sleep(0.02)
