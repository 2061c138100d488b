"""What many tests stand on: the databases, the sandbox, and the service under gunicorn."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.sandbox import Sandbox
from service.store.engine import Database
from tests.bed.pair import Pair
from tests.bed.pgbouncer import PgBouncer
from tests.bed.postgres import Postgres
from tests.house import House, migrate


def pytest_configure() -> None:
    """A shell lets what it starts in the background ignore Ctrl-C, and all that we start would inherit it."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_template(postgres: Postgres) -> str:
    return migrate(postgres.create_database())


@pytest.fixture(scope="session")
def pooler(postgres: Postgres) -> Iterator[PgBouncer]:
    """PgBouncer in front of `postgres`; where there is none, the test is skipped."""
    with PgBouncer(postgres) as running:
        yield running


@pytest.fixture(params=[True, False], ids=["synchronous", "asynchronous"])
def is_synchronous(request: pytest.FixtureRequest) -> bool:
    """Whether COMMIT waits for the standby of `pair`; a test may be parametrized with one of the two."""
    return bool(request.param)


@pytest.fixture
def pair(is_synchronous: bool) -> Iterator[Pair]:
    """A primary and its standby, of the test's own, to do to them what it likes."""
    with Pair(is_synchronous=is_synchronous) as running:
        yield running


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "ledger.sqlite3"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def database_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def database_url(database_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A migrated database of the test's own, on each kind in turn."""
    if database_kind == "sqlite":
        path = tmp_path / "ledger.sqlite3"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
        return
    server: Postgres = request.getfixturevalue("postgres")
    url = server.create_database(template=request.getfixturevalue("postgres_template"))
    yield url
    server.drop_database(url)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url, connections=40)
    yield opened
    opened.close()


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(port=0) as running:
        yield running


@pytest.fixture
def house(database_url: str, sandbox: Sandbox) -> Iterator[House]:
    """The service under gunicorn, with the sandbox for its Telnyx."""
    with House(database_url, sandbox) as built:
        yield built


@pytest.fixture
def build(database_url: str, sandbox: Sandbox) -> Iterator[Callable[..., House]]:
    """A house with settings of its own, or several on one database."""
    built: list[House] = []

    def make(**settings: str) -> House:
        built.append(House(database_url, sandbox, 1, **settings))
        built[-1].__enter__()
        return built[-1]

    yield make
    for one in reversed(built):
        one.close()
