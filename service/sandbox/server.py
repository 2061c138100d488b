"""The sandbox itself: a Telnyx on a local port, and everything a test wants to ask of it."""

from __future__ import annotations

import threading
from datetime import datetime
from types import TracebackType
from typing import Self
from urllib.parse import unquote

from nacl.signing import SigningKey

from . import control
from .api import TelnyxApi
from .behaviour import Behaviour
from .callbacks import compose
from .records import Delivery, Request
from .refusal import NOT_FOUND, Refusal, Reply
from .sessions import CallbackMethod, Session, now
from .signature import Signer
from .switchboard import Switchboard, Watch
from .wire import Server, Wire

POLL_SECONDS = 0.05
FAREWELL_SECONDS = 3.0


class PortTaken(OSError):
    """Somebody else listens there."""


def _unwatched(_: Request | Delivery) -> None:
    """Nobody is told."""


class Sandbox:
    """A Telnyx to try and test against; listens between `start()` and `stop()`, or inside `with`.

    Its traffic stays on `host`, except for the callbacks, which go where they were ordered to.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        api_key: str = "KEY_SANDBOX",
        signing_seed: bytes | None = None,
        watch: Watch = _unwatched,
    ) -> None:
        """`port` 0 chooses a free one, and keeps it for the next start.

        `signing_seed` is 32 bytes; None takes a well-known one, so that `public_key` is always the same.
        `watch` is called with every API request and every attempted callback, on the thread it happens on.
        """
        self._host = host
        self._port = port
        self._api_key = api_key
        self._signer = Signer(signing_seed)
        self._watch = watch
        self._api = TelnyxApi(api_key, self._signer.public_key)
        self._server: Server | None = None
        self._board = Switchboard(self._signer, watch)

    def start(self) -> None:
        """Listen. Raises PortTaken. What was known before a stop is known again."""
        try:
            server = Server((self._host, self._port), self._answer)
        except OSError as taken:
            raise PortTaken(f"cannot listen on {self._host} port {self._port}: {taken.strerror}") from taken
        self._port = server.server_port
        self._server = server
        self._board.agenda.open()
        listen = threading.Thread(
            target=server.serve_forever, args=(POLL_SECONDS,), name="sandbox", daemon=True
        )
        listen.start()

    def stop(self) -> None:
        """End every connection and every thread, and drop the callbacks that wait."""
        if self._server is not None:
            self._server.stop()
            self._server = None
        self._board.agenda.close()
        self._board.agenda.join(FAREWELL_SECONDS)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where the API is, for TELNYX_BASE_URL; known once the sandbox was started."""
        return f"http://{self._host}:{self._port}/v2"

    @property
    def control_url(self) -> str:
        """Where the sandbox is told what to do over HTTP."""
        return f"http://{self._host}:{self._port}/sandbox"

    @property
    def api_key(self) -> str:
        """What it accepts as `Authorization: Bearer`, for TELNYX_API_KEY."""
        return self._api_key

    @property
    def public_key(self) -> str:
        """Base64 of the 32 raw bytes, for TELNYX_PUBLIC_KEY."""
        return self._signer.public_key

    @property
    def requests(self) -> list[Request]:
        """Every API request so far, those that were refused too; the control API's are none."""
        return self._board.requests

    @property
    def deliveries(self) -> list[Delivery]:
        """Every attempt so far to deliver a callback."""
        return self._board.deliveries

    @property
    def sessions(self) -> list[Session]:
        """Every session so far, as it stands now."""
        return self._board.sessions

    def behave(self, behaviour: Behaviour, call_sid: str | None = None) -> None:
        """Behave like this from the next request on: for one call, or for all that have none of their own."""
        self._board.behave(behaviour, call_sid)

    def begin(
        self, account_sid: str, call_sid: str, status_callback: str | None, method: CallbackMethod = "POST"
    ) -> Session:
        """Begin a session without an API request, as a TeXML document would."""
        order = Session(account_sid, call_sid, status_callback=status_callback, status_callback_method=method)
        return self._board.begin(order)

    def end_call(self, call_sid: str) -> list[Session]:
        """Let the call complete: every session that runs on it stops, and is returned."""
        return self._board.end_call(call_sid)

    def send(
        self, session: Session | str, event: str, behaviour: Behaviour | None = None, **fields: str | None
    ) -> Delivery:
        """Send one callback now, in this thread, once; the session itself stays as it is.

        `session` is a sid, or a Session of one's own. `event` may be one that Telnyx does not know.
        `fields` replace those of the callback: `Timestamp="nonsense"`, `AccountSid=None`.
        Raises UnknownSession, NoStatusCallback.
        """
        known = self._known(session)
        return self._board.send(known, event, self._meant(known, behaviour).with_fields(fields))

    def compose(
        self,
        session: Session | str,
        event: str,
        at: datetime | None = None,
        behaviour: Behaviour | None = None,
        **fields: str | None,
    ) -> bytes:
        """The form that `send` would send, for an event that happened at `at` (default: now)."""
        known = self._known(session)
        return compose(known, event, at or now(), self._meant(known, behaviour).with_fields(fields)).form

    def sign(self, body: bytes, at: datetime | None = None, key: SigningKey | None = None) -> dict[str, str]:
        """The two signature headers for a POST of `body` sent at `at` (default: now)."""
        return self._signer.sign(body, at, key)

    def settle(self, timeout_seconds: float) -> bool:
        """Wait until no callback is waiting or in flight; False if that took too long.

        A stop that is due by `duration_seconds` is waiting; a siprec-started held back by the order is not.
        """
        return self._board.agenda.settle(timeout_seconds)

    def forget(self) -> None:
        """Forget all sessions, calls, behaviours and records, and drop the callbacks that wait."""
        old, self._board = self._board, Switchboard(self._signer, self._watch)
        old.agenda.close()

    def _known(self, session: Session | str) -> Session:
        return session if isinstance(session, Session) else self._board.course(session).session

    def _meant(self, session: Session, behaviour: Behaviour | None) -> Behaviour:
        return self._board.behaviour(session.call_sid) if behaviour is None else behaviour

    def _answer(self, request: Request, wire: Wire) -> None:
        try:
            self._serve(self._board, request, wire)
        except Refusal as refusal:
            wire.say(refusal.reply)

    def _serve(self, board: Switchboard, request: Request, wire: Wire) -> None:
        # Split first, then decode: an encoded slash is part of a sid.
        segments = [unquote(each) for each in request.path.strip("/").split("/")]
        match segments:
            case ["v2", *rest]:
                board.note_request(request)
                self._api.serve(board, request, rest, wire)
            case ["sandbox"] if request.method == "DELETE":
                self.forget()
                wire.say(Reply.json({}))
            case ["sandbox", *rest]:
                wire.say(control.serve(board, request, rest))
            case _:
                raise Refusal(404, NOT_FOUND)
