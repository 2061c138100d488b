"""The service in this process, for tests to which a socket of its own would add nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from service import app
from service.config import Settings
from service.domain.access import Access, Scope
from service.sandbox import EVENTS, Answer, Behaviour, Sandbox
from service.store import keys
from service.web.traffic import Traffic
from tests.web.on_loop import OnLoop

SECRET_KEY = "a secret that is long enough for a test"
PUBLIC_URL = "https://ledger.example"
FORM = "application/x-www-form-urlencoded"

T = TypeVar("T")


class JsonResponse(TestResponse):
    """An answer that is JSON where a test takes it for JSON."""

    json: Any


class Caller(FlaskClient):
    def open(self, *args: Any, **options: Any) -> JsonResponse:
        return cast(JsonResponse, super().open(*args, **options))

    def get(self, *args: Any, **options: Any) -> JsonResponse:
        return cast(JsonResponse, super().get(*args, **options))

    def head(self, *args: Any, **options: Any) -> JsonResponse:
        return cast(JsonResponse, super().head(*args, **options))

    def post(self, *args: Any, **options: Any) -> JsonResponse:
        return cast(JsonResponse, super().post(*args, **options))

    def patch(self, *args: Any, **options: Any) -> JsonResponse:
        return cast(JsonResponse, super().patch(*args, **options))

    def delete(self, *args: Any, **options: Any) -> JsonResponse:
        return cast(JsonResponse, super().delete(*args, **options))


class Indoors:
    """The service, and Telnyx. `settings` replace those that stand here.

    `client` asks with the API key `app-1`, `stranger` without one.
    """

    def __init__(self, database_url: str, sandbox: Sandbox, **settings: object) -> None:
        self.sandbox = sandbox
        self.database_url = database_url
        told = {
            "PUBLIC_URL": PUBLIC_URL,
            "SECRET_KEY": SECRET_KEY,
            "DATABASE_URL": database_url,
            "TELNYX_API_KEY": sandbox.api_key,
            "TELNYX_PUBLIC_KEY": [sandbox.public_key],
            "TELNYX_BASE_URL": sandbox.url,
            "TELNYX_ACCOUNT_SID": "account-1",
            "TELNYX_TIMEOUT_SECONDS": 5,
            "THREADS": 16,
            "SPOOL": "off",
            **settings,
        }
        chosen = Settings.model_validate(told)
        self.context = app.build(chosen)
        self._loop = OnLoop()
        self._loop.call(lambda: self.context.services.intake.start(asyncio.get_running_loop()))
        self._serving = self._loop.call(lambda: app.Serving(self.context, chosen.THREADS, Traffic()))
        self.app = app.create(self.context)
        self.app.wsgi_app = self._loop  # type: ignore[method-assign]
        self._loop.app = self._serving
        self.stranger = Caller(self.app, self.app.response_class)
        self._drain = self.context.services.workers[0]  # who finds out that the database is back
        self._drain.start()

    @cached_property
    def client(self) -> Caller:
        return self.bearing(self.key)

    def close(self) -> None:
        self.stop_draining()
        self.context.services.intake.stop()
        self._loop.close()
        self.context.database.close()

    def end(self) -> None:
        """As the process does it when it has answered all."""
        self._loop.call(lambda: asyncio.ensure_future(self._serving.end()))

    def stop_draining(self) -> None:
        """From now on nobody finds out that the database is back."""
        self._drain.end()
        self._drain.join(5)

    def settle(self) -> None:
        """Wait until what was rejected is stored."""
        self.context.services.rejected.flush(30)

    @cached_property
    def key(self) -> str:
        """The text of the key `app-1`, or of a similar one if another service made that already."""
        with self.context.database.read() as db:
            taken = {key.name for key in keys.listed(db)}
        return self.new_key("app-1" if "app-1" not in taken else f"app-1 {len(taken)}")

    def new_key(self, name: str, access: Access = Access()) -> str:  # noqa: B008
        with self.context.database.begin() as db:
            return keys.create(db, name, datetime.now(UTC), access)

    def limited(self, *scopes: Scope, accounts: Collection[str] | None = None) -> Caller:
        """Asks with a new key that has these scopes, or all, for these accounts."""
        access = Access(frozenset(scopes or Scope), None if accounts is None else frozenset(accounts))
        return self.bearing(self.new_key(f"limited {time.time_ns()}", access))

    def bearing(self, key: str) -> Caller:
        client = Caller(self.app, self.app.response_class)
        client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key}"
        return client

    def start(self, call_sid: str = "v3:call-1", *, key: str | None = None, **body: Any) -> JsonResponse:
        """`key` is the Idempotency-Key."""
        headers = {"Idempotency-Key": key} if key is not None else {}
        return self.client.post("/v1/sessions", json={"call_sid": call_sid, **body}, headers=headers)

    def started(self, call_sid: str = "v3:call-1", **body: Any) -> str:
        """The id of a new session that Telnyx has accepted."""
        answer = self.start(call_sid, **body)
        assert answer.status_code == 201, answer.text
        return str(answer.json["id"])

    def session(self, session_id: str) -> dict[str, Any]:
        return dict(self.client.get(f"/v1/sessions/{session_id}").json)

    def callbacks(self, session_id: str) -> list[dict[str, Any]]:
        return list(self.client.get(f"/v1/sessions/{session_id}/callbacks").json["callbacks"])

    def answers(self, answer: Answer | None = None, stop: Answer | None = None) -> None:
        """How Telnyx answers from now on."""
        silently = Behaviour(drop=frozenset(EVENTS))
        self.sandbox.behave(replace(silently, answer=answer or Answer(), stop_answer=stop or Answer()))

    def callback_path(self, call_sid: str = "v3:call-1") -> str:
        """Of the StatusCallback in the latest start request that reached the sandbox."""
        asked = (one for one in reversed(self.sandbox.requests) if f"/{call_sid}/Siprec.json" in one.path)
        return urlsplit(next(asked).fields["StatusCallback"]).path

    def sid(self, call_sid: str = "v3:call-1") -> str:
        """Telnyx's, of the latest session on this call."""
        return next(one.sid for one in reversed(self.sandbox.sessions) if one.call_sid == call_sid)

    def tell(self, event: str, call_sid: str = "v3:call-1", **fields: str | None) -> JsonResponse:
        """Telnyx calls back, by a signed POST, to where the start asked it to."""
        body = self.sandbox.compose(self.sid(call_sid), event, None, None, **fields)
        path = self.callback_path(call_sid)
        return self.stranger.post(path, data=body, headers=self.sandbox.sign(body), content_type=FORM)


@contextmanager
def at_once(do: Callable[[], T]) -> Iterator[Future[T]]:
    """Do it in another thread, meanwhile the block, and wait for it at the end."""
    with ThreadPoolExecutor(1) as thread:
        yield thread.submit(do)
