"""The sandbox itself: a Telnyx on a local port, and everything a test wants to ask of it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Self

from .app import create_app
from .connection import Server
from .signature import Account, Signer
from .state import State
from .traffic import Delivery, Request

NO_ACCOUNTS: Mapping[str, Account] = MappingProxyType({})


class PortTaken(OSError):
    """Somebody else listens there."""


def _unwatched(_: Request | Delivery) -> None:
    """Nobody looks."""


class Sandbox(State):
    """A Telnyx to try and test against; listens between `start()` and `stop()`, or inside `with`.

    Its traffic stays on `host`, except for the callbacks, which go where they were ordered to.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        api_key: str = "KEY_SANDBOX",
        signing_seed: bytes | None = None,
        ca_file: Path | None = None,
        watch: Callable[[Request | Delivery], object] = _unwatched,
        accounts: Mapping[str, Account] = NO_ACCOUNTS,
    ) -> None:
        """`port` 0 chooses a free one, and keeps it for the next start.

        `api_key` is what it accepts as `Authorization: Bearer`.
        `signing_seed` is 32 bytes; None takes a well-known one, so that `public_key` is always the same.
        `ca_file` (PEM) is what https receivers are trusted by, instead of the usual authorities.
        `watch` is called with every API request and every attempted callback, on the thread it happens on.
        `accounts` are those with an API key and a signing key of their own, by their ids.
        """
        self.api_key = api_key
        self._api_keys = {sid: account.api_key for sid, account in accounts.items()}
        self._host = host
        self._port = port
        self._server: Server | None = None
        super().__init__(Signer(signing_seed), accounts, ca_file, watch)

    def _api_key_of(self, account_sid: str | None) -> str:
        return self._api_keys.get(account_sid or "", self.api_key)

    def start(self) -> None:
        """Listen. Raises PortTaken. What was known before a stop is known again."""
        try:
            self._server = Server(self._host, self._port, create_app(self, self._api_key_of))
        except OSError as taken:
            raise PortTaken(f"cannot listen on {self._host} port {self._port}: {taken.strerror}") from taken
        self._port = self._server.port
        self.scheduler.open()

    def stop(self) -> None:
        """End every connection and every thread, and drop the callbacks that wait."""
        if self._server is not None:
            self._server.stop()
            self._server = None
        self.scheduler.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where the API is, for TELNYX_BASE_URL; known once the sandbox was started."""
        return f"http://{self._host}:{self._port}/v2"

    @property
    def control_url(self) -> str:
        """Where other processes choose its behaviour."""
        return f"http://{self._host}:{self._port}/sandbox"
