"""The service without a server around it: requests go straight into Flask, and Telnyx is the sandbox."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.config import Settings
from service.sandbox import EVENTS, Behaviour, Sandbox
from tests.house import House
from tests.web.indoors import Indoors


@pytest.fixture(autouse=True)
def _nobodys_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def furnish(database_url: str, sandbox: Sandbox) -> Iterator[Callable[..., Indoors]]:
    """A service with settings of its own, or several on one database."""
    made: list[Indoors] = []

    def make(**settings: object) -> Indoors:
        made.append(Indoors(database_url, sandbox, **settings))
        return made[-1]

    # Nobody listens at PUBLIC_URL, so the callbacks are the test's to bring.
    sandbox.behave(Behaviour(drop=frozenset(EVENTS)))
    yield make
    for one in made:
        one.close()


@pytest.fixture
def indoors(furnish: Callable[..., Indoors]) -> Indoors:
    return furnish()


@pytest.fixture(scope="package")
def served(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One service under gunicorn for all tests that only look at it."""
    path = tmp_path_factory.mktemp("served") / "ledger.sqlite3"
    shutil.copy(sqlite_template, path)
    with Sandbox() as sandbox, House(f"sqlite:///{path}", sandbox) as built:
        yield built
