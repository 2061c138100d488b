"""A sandbox, a receiver of its callbacks, and an app that orders sessions without any SDK."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import quote

import pytest
import requests

from service.sandbox import Sandbox
from tests.sandbox.receiver import Receiver, receiving

CALL = "v3:9X2vqj"


@dataclass
class App:
    """Orders sessions on one call."""

    sandbox: Sandbox
    receiver: Receiver
    http: requests.Session = field(default_factory=requests.Session)
    timeout_seconds: float = 5

    def post(self, path: str, fields: dict[str, str]) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.sandbox.api_key}"}
        return self.http.post(
            self.sandbox.url + path, data=fields, headers=headers, timeout=self.timeout_seconds
        )

    def get(self, path: str) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.sandbox.api_key}"}
        return self.http.get(self.sandbox.url + path, headers=headers, timeout=5)

    def start(self, call_sid: str = CALL, **fields: str) -> requests.Response:
        ordered = {"ConnectorName": "srs", "StatusCallback": self.receiver.url, **fields}
        return self.post(f"/texml/Accounts/AC1/Calls/{quote(call_sid, safe=':')}/Siprec.json", ordered)

    def stop(self, sid: str, call_sid: str = CALL, status: str = "stopped") -> requests.Response:
        path = f"/texml/Accounts/AC1/Calls/{quote(call_sid, safe=':')}/Siprec/{sid}.json"
        return self.post(path, {"Status": status})

    def started(self) -> str:
        """The sid of a new session, whose callbacks so far have been delivered."""
        sid = self.start().json()["sid"]
        assert self.sandbox.wait_until_idle(5)
        return str(sid)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def app(sandbox: Sandbox, receiver: Receiver) -> Iterator[App]:
    app = App(sandbox, receiver)
    with app.http:
        yield app
