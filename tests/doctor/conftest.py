"""A healthy service of each kind, a proxy before it, and the doctor's command."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest
from click.testing import CliRunner

from service import cli
from service.config import Settings
from service.sandbox import Behaviour, Sandbox
from tests.bed.postgres import Postgres
from tests.bed.reverse_proxy import Manners, ReverseProxy
from tests.house import House

GOOD_KEY = "kJ8sd7Fh2LqpZ0vXw3TyRb6NmCe9GaUo1Ii4"
SLOW = ("proxy_timeout", "proxy_buffering")  # they wait on purpose
# What a loaded machine may say of itself, which is no fault that anybody has planted.
OF_SPEED = {"database_commit", "spool", "public_url"}


@dataclass(frozen=True)
class Told:
    """By the doctor: name of the check -> its document."""

    exit_code: int
    checks: Mapping[str, dict[str, str]]

    def named(self, status: str) -> set[str]:
        return {name for name, one in self.checks.items() if one["status"] == status}

    @property
    def wrong(self) -> set[str]:
        return self.named("wrong")

    @property
    def warnings(self) -> set[str]:
        """But for that the test is not on the Internet, and that it may be slow."""
        slow = {name for name in OF_SPEED if " ms" in self.checks[name]["found"]}
        return self.named("warning") - {"public_address"} - slow


@dataclass(frozen=True)
class Patient:
    """`env` is what the doctor has, as the service's user would."""

    house: House
    proxy: ReverseProxy
    telnyx: ReverseProxy
    env: dict[str, str] = field(repr=False)

    def examined(self, *options: str, without: Sequence[str] = SLOW, **settings: str | None) -> Told:
        """By the whole doctor, but for the checks that take seconds. A setting that is None is not there."""
        left_out = [word for name in without for word in ("--without", name)]
        command = ["doctor", "--json", *left_out, *options]
        asked = CliRunner().invoke(cli.main, command, env={**self.env, **settings})
        assert asked.exit_code in {0, 1}, asked.output
        document = json.loads(asked.stdout)
        told = Told(asked.exit_code, {one["name"]: one for one in document["checks"]})
        assert document["is_wrong"] == bool(told.wrong) == bool(asked.exit_code)
        return told


@pytest.fixture(autouse=True)
def _nobodys_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="package")
def patient_of(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Patient]]:
    """One of each kind of database for all tests, whose faults are in the doctor's settings or the proxy."""
    made: dict[str, Patient] = {}
    open_until_the_end = ExitStack()

    def make(kind: str) -> Patient:
        if kind in made:
            return made[kind]
        if kind == "sqlite":
            path = tmp_path_factory.mktemp("doctor") / "ledger.sqlite3"
            shutil.copy(request.getfixturevalue("sqlite_template"), path)
            url = f"sqlite:///{path}"
        else:
            server: Postgres = request.getfixturevalue("postgres")
            url = server.create_database(template=request.getfixturevalue("postgres_template"))
        sandbox = open_until_the_end.enter_context(Sandbox())
        house = open_until_the_end.enter_context(House(url, sandbox, SECRET_KEY=GOOD_KEY))
        proxy, telnyx = ReverseProxy(house.web.url), ReverseProxy(sandbox.url)
        for one in (proxy, telnyx):
            open_until_the_end.enter_context(one)
        env = {**house.web.env, "PUBLIC_URL": proxy.url, "TELNYX_BASE_URL": telnyx.url}
        made[kind] = Patient(house, proxy, telnyx, env)
        return made[kind]

    with open_until_the_end:
        yield make


@pytest.fixture
def patient(patient_of: Callable[[str], Patient], database_kind: str) -> Iterator[Patient]:
    found = patient_of(database_kind)
    yield found
    found.proxy.manners = found.telnyx.manners = Manners()
    found.house.sandbox.behave(Behaviour())


@pytest.fixture
def invoke(patient: Patient) -> Callable[..., tuple[int, str]]:
    """A command, with settings that replace the patient's. Its exit code and all that it prints."""

    def run(*arguments: str, **settings: str | None) -> tuple[int, str]:
        done = CliRunner().invoke(cli.main, list(arguments), env={**patient.env, **settings})
        return done.exit_code, done.output

    return run
