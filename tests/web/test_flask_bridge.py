"""A WSGI application beside an event loop: nobody but it holds its threads, and it holds up nobody."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextvars import ContextVar
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import pytest
from flask import Flask, Response, request, stream_with_context

from service.domain.state import State
from service.web import pace, waiting
from service.web.asgi import Message
from service.web.flask_bridge import WAITING_FOR_EACH, WHOLE_ANSWER, FlaskBridge
from service.web.pace import SHARE
from service.web.waiting_readers import WaitingReaders

MIB = 1024 * 1024


def no_callback_waits() -> bool:
    return False


def callbacks_wait() -> bool:
    return True


def scope_of(path: str = "/", method: str = "GET", headers: Any = (), query: bytes = b"") -> dict[str, Any]:
    return {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query,
        "headers": list(headers),
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
        "state": {"wait": lambda when_ended: None},
    }


class Client:
    """What one request gets. `reads` holds back what is sent while it is not set."""

    def __init__(self, body: bytes = b"", *, reads: bool = True) -> None:
        self._asked = [{"type": "http.request", "body": body[:3], "more_body": True}]
        self._asked.append({"type": "http.request", "body": body[3:], "more_body": False})
        self.left = asyncio.Event()
        self.reads = asyncio.Event()
        if reads:
            self.reads.set()
        self.got: list[Message] = []

    async def receive(self) -> Message:
        if self._asked:
            return self._asked.pop(0)
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        await self.reads.wait()
        self.got.append(message)

    @property
    def status(self) -> int:
        return int(self.got[0]["status"])

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.got[0]["headers"])

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.got[1:])


def run(asked: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(asked(), 20))


def get(app: WSGIApplication, scope: dict[str, Any], body: bytes = b"") -> Client:
    answered: list[Client] = []

    async def asked() -> None:
        answered.append(Client(body))
        await FlaskBridge(app, 1, no_callback_waits, no_callback_waits, WaitingReaders(10))(
            scope, answered[0].receive, answered[0].send
        )

    run(asked)
    return answered[0]


def test_a_request_arrives_as_it_was_sent() -> None:
    app = Flask(__name__)

    @app.post("/<path:rest>")
    def show(rest: str) -> dict[str, Any]:
        return {
            "rest": rest,
            "query": request.query_string.decode(),
            "body": request.get_data().decode(),
            "headers": dict(request.headers),
            "root": request.environ["SCRIPT_NAME"],
        }

    headers = [
        (b"content-type", b"text/x"),
        (b"x-two", b"1"),
        (b"x-two", b"2"),
        (b"x_two", b"3"),
        (b"script_name", b"/x"),
    ]
    client = get(app, scope_of("/a%2Fb%C3%A9", "POST", headers, b"q=%20"), b"a body")
    told = json.loads(client.body)
    assert (told["rest"], told["query"], told["body"], told["root"]) == ("a/bé", "q=%20", "a body", "")
    assert told["headers"] == {"Content-Type": "text/x", "Content-Length": "6", "X-Two": "1,2"}
    assert client.headers[b"content-length"] == str(len(client.body)).encode()


def test_while_all_threads_work_some_wait_and_the_others_are_told_at_once() -> None:
    free = threading.Event()

    def app(_environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        free.wait(10)
        start_response("204 No Content", [])
        return []

    async def asked() -> None:
        bridge = FlaskBridge(app, 2, no_callback_waits, no_callback_waits, WaitingReaders(10))
        taken = [Client() for _ in range(2 + 2 * WAITING_FOR_EACH)]
        serving = [asyncio.create_task(bridge(scope_of(), one.receive, one.send)) for one in taken]
        await asyncio.sleep(0.05)
        late = Client()
        await bridge(scope_of(), late.receive, late.send)
        assert (late.status, late.headers[b"retry-after"]) == (503, b"1")
        assert late.headers[b"content-type"] == b"application/problem+json"
        assert json.loads(late.body)["request_id"] == late.headers[b"x-request-id"].decode()
        free.set()
        await asyncio.gather(*serving)
        assert [one.status for one in taken] == [204] * len(taken)

    run(asked)


def test_an_error_around_flask_is_a_clean_500(caplog: pytest.LogCaptureFixture) -> None:
    def app(_environ: WSGIEnvironment, _start_response: StartResponse) -> list[bytes]:
        raise RuntimeError("with a secret")

    client = get(app, scope_of("/callbacks/a-secret"))
    assert client.status == 500
    assert json.loads(client.body)["title"] == "Internal error"
    assert b"secret" not in client.body
    assert "with a secret" in caplog.text


def large(parts: int, closed: threading.Event) -> Flask:
    """Its answer has that many MiB, needs Flask's request until its end, and tells when it is over."""
    app = Flask(__name__)

    @app.get("/")
    def stream() -> Response:
        def told() -> Iterator[bytes]:
            try:
                for _ in range(parts):
                    yield request.args["with"].encode() * MIB
            finally:
                closed.set()

        return Response(stream_with_context(told()))

    return app


def test_a_large_answer_comes_in_parts_and_whole() -> None:
    closed = threading.Event()
    parts = 2 * WHOLE_ANSWER // MIB
    client = get(large(parts, closed), scope_of(query=b"with=x"))
    assert (client.status, len(client.body)) == (200, parts * MIB)
    assert len(client.got) > 4
    assert closed.is_set()


def test_who_reads_slowly_holds_no_thread_and_who_leaves_ends_the_answer() -> None:
    closed = threading.Event()

    async def asked() -> None:
        bridge = FlaskBridge(large(1000, closed), 1, no_callback_waits, no_callback_waits, WaitingReaders(10))
        slow = [Client(reads=False) for _ in range(10)]
        serving = [
            asyncio.create_task(bridge(scope_of(query=b"with=x"), one.receive, one.send)) for one in slow
        ]
        await asyncio.sleep(0.2)
        brisk = Client()
        await bridge(scope_of("/nowhere"), brisk.receive, brisk.send)
        assert brisk.status == 404
        for one in slow:
            one.left.set()
            one.reads.set()
        await asyncio.gather(*serving)
        assert closed.is_set()

    run(asked)


def test_requests_do_not_see_each_other_s_context() -> None:
    seen: ContextVar[str] = ContextVar("seen", default="nothing")

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [])
        before = seen.get()
        seen.set(environ["PATH_INFO"])
        return [before.encode()]

    async def asked() -> None:
        bridge = FlaskBridge(app, 1, no_callback_waits, no_callback_waits, WaitingReaders(10))
        for path in ("/a", "/b"):
            client = Client()
            await bridge(scope_of(path), client.receive, client.send)
            assert client.body == b"nothing"

    run(asked)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_while_callbacks_wait_reading_is_paced(method: str) -> None:
    def app(_environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        began = time.thread_time()
        while time.thread_time() - began < 0.05:
            pass
        start_response("204 No Content", [])
        return []

    async def asked() -> None:
        bridge = FlaskBridge(app, 4, callbacks_wait, no_callback_waits, WaitingReaders(10))
        clients = [Client() for _ in range(4)]
        began = time.monotonic()
        await asyncio.gather(*(bridge(scope_of("/", method), one.receive, one.send) for one in clients))
        assert time.monotonic() - began > 0.4  # at least 3 * 0.05 / 0.3, less what is rounded
        assert [one.status for one in clients] == [204] * 4

    run(asked)


def test_beside_many_callbacks_who_asks_the_database_for_much_keeps_the_next_waiting() -> None:
    app = Flask(__name__)

    @app.get("/much")
    def show() -> str:
        pace.ask_much()
        time.sleep(0.05)
        return ""

    async def asked() -> None:
        bridge = FlaskBridge(app, 4, callbacks_wait, callbacks_wait, WaitingReaders(10))
        clients = [Client() for _ in range(2)]
        began = time.monotonic()
        for one in clients:
            await bridge(scope_of("/much"), one.receive, one.send)
        assert time.monotonic() - began > 0.05 / SHARE
        assert [one.status for one in clients] == [200] * 2

    run(asked)


def test_who_waits_for_its_turn_to_read_holds_no_thread_and_some_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.web.pace.IDLE_SECONDS", 10)  # the first one keeps its turn
    free = threading.Event()

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        if environ["REQUEST_METHOD"] == "GET":
            free.wait(10)
        start_response("204 No Content", [])
        return []

    async def asked() -> None:
        bridge = FlaskBridge(app, 2, callbacks_wait, no_callback_waits, WaitingReaders(10))
        gone, *readers = (Client() for _ in range(1 + 2 * WAITING_FOR_EACH))
        reading = [asyncio.create_task(bridge(scope_of(), one.receive, one.send)) for one in [*readers, gone]]
        await asyncio.sleep(0.02)
        late, starting, another = Client(), Client(), Client()
        await bridge(scope_of(), late.receive, late.send)
        assert (late.status, late.headers[b"retry-after"]) == (503, b"1")
        await bridge(scope_of("/", "POST"), starting.receive, starting.send)
        assert starting.status == 204
        gone.left.set()
        await reading.pop()
        reading.append(asyncio.create_task(bridge(scope_of(), another.receive, another.send)))
        await asyncio.sleep(0.01)
        free.set()
        await asyncio.gather(*reading)
        assert [one.status for one in [*readers, another]] == [204] * (len(readers) + 1)
        assert gone.got == []

    run(asked)


def waiting_app(calls: list[str]) -> Flask:
    """What waits there for a moment, for a session of which nothing comes."""
    app = Flask(__name__)
    waiting.install(app)

    @app.route("/", methods=["GET", "POST"])
    def show() -> str:
        calls.append(request.method)
        waiting.for_session("a", State, 0, 0.1)
        return f"{request.get_data(as_text=True)} after {len(calls)}"

    @app.get("/noted")
    def show_noted() -> str:
        if waiting.noted() is None:
            waiting.for_more(0, "a note")
        return str(waiting.noted())

    return app


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_view_that_waits_is_called_anew_at_the_end_without_the_body(method: str) -> None:
    calls: list[str] = []
    waited: list[Callable[[], None]] = []
    scope = scope_of("/", method)
    scope["state"]["wait"] = waited.append
    client = get(waiting_app(calls), scope, b"a body")
    assert (client.status, calls) == (200, [method] * 2)
    assert client.body == (b" after 2" if method == "GET" else b"")
    assert len(waited) == 1  # and so the body was let go


def test_who_writes_does_not_wait() -> None:
    calls: list[str] = []
    client = get(waiting_app(calls), scope_of("/", "POST"), b"a body")
    assert (client.status, client.body) == (200, b"a body after 1")


def test_a_view_finds_its_note_again() -> None:
    assert get(waiting_app([]), scope_of("/noted")).body == b"a note"


def test_who_would_wait_where_too_many_do_is_told_at_once() -> None:
    async def asked() -> None:
        bridge = FlaskBridge(waiting_app([]), 1, no_callback_waits, no_callback_waits, WaitingReaders(0))
        client = Client()
        await bridge(scope_of(), client.receive, client.send)
        assert (client.status, client.headers[b"retry-after"]) == (503, b"1")

    run(asked)


def test_those_who_are_woken_together_leave_room_for_others() -> None:
    """More of them than may be in the application at once, or wait for it."""
    slow = threading.Event()

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        if environ["PATH_INFO"] == "/wait" and not environ[waiting.MAY_WAIT]:
            slow.wait(10)
        if environ["PATH_INFO"] == "/wait" and environ[waiting.MAY_WAIT]:
            environ[waiting.WAIT] = waiting.Wait(frozenset(), 0, 10)
        start_response("204 No Content", [])
        return []

    async def asked() -> None:
        readers = WaitingReaders(100)
        bridge = FlaskBridge(app, 4, no_callback_waits, no_callback_waits, readers)
        clients = [Client() for _ in range(100)]
        waits = []
        for one in clients:
            waits.append(asyncio.create_task(bridge(scope_of("/wait"), one.receive, one.send)))
            await asyncio.sleep(0.005)
        while len(readers._readers) < len(clients):
            await asyncio.sleep(0.01)
        readers.end()
        await asyncio.sleep(0.05)
        other = Client()
        await bridge(scope_of("/"), other.receive, other.send)
        assert other.status == 204
        assert not any(one.got for one in clients)
        slow.set()
        await asyncio.gather(*waits)
        assert [one.status for one in clients] == [204] * len(clients)

    run(asked)
