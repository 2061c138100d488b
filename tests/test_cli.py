"""The operators' door: what it prints, and that it says plainly what is wrong."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from service import cli
from service.store import keys
from service.store.engine import Database
from tests.bed.postgres import Postgres

CHECKOUT = Path(__file__).parents[1]
NOBODY = "postgresql://postgres@/ledger?host=/nowhere"


def run(url: str | None, *arguments: str) -> Result:
    return CliRunner().invoke(cli.main, list(arguments), env={"DATABASE_URL": url})


@pytest.fixture
def empty_url(database_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without a schema."""
    if database_kind == "sqlite":
        yield f"sqlite:///{tmp_path}/empty.sqlite3"
        return
    server: Postgres = request.getfixturevalue("postgres")
    url = server.create_database()
    yield url
    server.drop_database(url)


def test_the_schema_is_made_and_made_again(empty_url: str) -> None:
    for _ in range(2):
        done = run(empty_url, "db", "upgrade")
        assert (done.exit_code, done.output) == (0, "the schema is current\n")
    assert run(empty_url, "keys", "create", "app").exit_code == 0


def test_four_processes_may_make_the_schema_at_once(empty_url: str, tmp_path: Path) -> None:
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT), "DATABASE_URL": empty_url}
    command = [sys.executable, "-c", "from service.cli import main; main()", "db", "upgrade"]
    started = [
        subprocess.Popen(
            command, env=env, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    ended = [process.communicate(timeout=60) for process in started]
    assert [process.returncode for process in started] == [0, 0, 0, 0], ended
    assert {out for out, _ in ended} == {"the schema is current\n"}


def test_a_key_is_shown_once_and_opens_until_it_is_revoked(database_url: str, database: Database) -> None:
    made = run(database_url, "keys", "create", "billing app")
    assert made.exit_code == 0
    key = made.output.strip()
    assert re.fullmatch(r"slk_[0-9a-f]{32}_[\w-]{43}", key)
    assert key not in run(database_url, "keys", "list").output
    with database.read() as db:
        recognised = keys.recognise(db, key, datetime.now(UTC))
        assert recognised is not None
        assert recognised.name == "billing app"
    assert run(database_url, "keys", "revoke", "billing app").output == "revoked: billing app\n"
    with database.read() as db:
        assert keys.recognise(db, key, datetime.now(UTC)) is None


def test_keys_are_listed_with_their_times(database_url: str) -> None:
    assert run(database_url, "keys", "list").output == ""
    run(database_url, "keys", "create", "one")
    run(database_url, "keys", "create", "ünïcode")
    run(database_url, "keys", "revoke", "one")
    time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
    run(database_url, "keys", "create", "ops", "--scope", "admin", "--account", "b", "--account", "a")
    run(database_url, "keys", "rotate", "ops", "--expires", "2999-01-31")
    one, other, ops = run(database_url, "keys", "list").output.splitlines()
    usual = "evidence:read,reports:read,sessions:read,sessions:start,sessions:stop\tall accounts"
    secret = "[0-9a-f-]{36}"
    assert re.fullmatch(
        rf"one\t{time}\trevoked {time}\t{usual}\t{secret} revoked {time}, not used\tnot used", one
    )
    assert re.fullmatch(rf"ünïcode\t{time}\tin force\t{usual}\t{secret} in force, not used\tnot used", other)
    secrets = rf"{secret} in force, not used; {secret} expires 2999-01-31T00:00:00Z, not used"
    assert re.fullmatch(rf"ops\t{time}\tin force\tadmin\ta,b\t{secrets}\tnot used", ops)


def test_a_key_is_rotated_and_its_old_secret_revoked(database_url: str, database: Database) -> None:
    old = run(database_url, "keys", "create", "app").output.strip()
    new = run(database_url, "keys", "rotate", "app").output.strip()
    third = run(database_url, "keys", "rotate", "app")
    assert (third.exit_code, "two secrets are in force; revoke one first" in third.output) == (1, True)
    # The text of a key holds the id of its secret, should it have leaked.
    done = run(database_url, "keys", "revoke", "app", "--secret", old.split("_")[1])
    assert done.output.startswith("revoked: app, secret ")
    again = run(database_url, "keys", "revoke", "app", "--secret", old.split("_")[1])
    assert (again.exit_code, "app has no such secret in force" in again.output) == (1, True)
    with database.read() as db:
        now = datetime.now(UTC)
        found = [keys.recognise(db, text, now) for text in (old, new)]
    assert [key and key.name for key in found] == [None, "app"]
    nobody = run(database_url, "keys", "rotate", "nobody")
    assert (nobody.exit_code, nobody.output) == (1, "Error: there is no key of this name: nobody\n")


@pytest.mark.parametrize(
    ("given", "wait"), [("90d", timedelta(days=90)), ("12h", timedelta(hours=12)), (None, None)]
)
def test_a_key_may_expire(
    database: Database, database_url: str, given: str | None, wait: timedelta | None
) -> None:
    expires = ["--expires", given] if given else []
    assert run(database_url, "keys", "create", "app", *expires).exit_code == 0
    with database.read() as db:
        (secret,) = keys.listed(db)[0].secrets
    assert (secret.expires_at is None) == (wait is None)
    if secret.expires_at and wait:
        assert abs(secret.expires_at - datetime.now(UTC) - wait) < timedelta(minutes=1)


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "options",
    [
        ["--scope", "all"],
        ["--scope", ""],
        ["--account", ""],
        ["--account", "a\n"],
        ["--account", "x" * 256],
        [part for n in range(101) for part in ("--account", str(n))],
        ["--expires", "soon"],
        ["--expires", "2020-01-01"],
        ["--expires", "0d"],
        ["--expires", "99999999d"],
        ["--expires", "2027-13-01"],
    ],
    ids=lambda options: " ".join(options)[:30],
)
def test_what_is_wrong_with_a_new_key_is_said(database_url: str, options: list[str]) -> None:
    done = run(database_url, "keys", "create", "app", *options)
    assert (done.exit_code, "Error: " in done.output) == (2, True), done.output
    assert run(database_url, "keys", "list").output == ""


def test_a_name_is_given_once_even_after_it_was_revoked(database_url: str) -> None:
    run(database_url, "keys", "create", "app")
    for _ in range(2):
        done = run(database_url, "keys", "create", "app")
        assert (done.exit_code, done.output) == (
            1,
            "Error: there is a key of this name, perhaps revoked: app\n",
        )
        run(database_url, "keys", "revoke", "app")


def test_what_is_not_in_force_cannot_be_revoked(database_url: str) -> None:
    run(database_url, "keys", "create", "app")
    run(database_url, "keys", "revoke", "app")
    for name in ("app", "nobody"):
        done = run(database_url, "keys", "revoke", name)
        assert (done.exit_code, done.output) == (1, f"Error: there is no key in force of this name: {name}\n")


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize("name", ["", " ", "a\nb", "a\0b", "a\tb", "\x1b[31m", "x" * 101, "\u202e"])
def test_a_name_must_be_printable(database_url: str, name: str) -> None:
    done = run(database_url, "keys", "create", name)
    assert (done.exit_code, "1 to 100 printable characters" in done.output) == (2, True)


def test_nothing_refused_is_nothing_shown(database_url: str) -> None:
    done = run(database_url, "callbacks", "rejected")
    assert (done.exit_code, done.output) == (0, "")
    assert run(database_url, "callbacks", "rejected", "--limit", "0").exit_code == 2


COMMANDS = [
    ["db", "upgrade"],
    ["db", "reader", "app"],
    ["keys", "create", "app"],
    ["keys", "list"],
    ["keys", "rotate", "app"],
    ["keys", "revoke", "app"],
    ["callbacks", "rejected"],
]
TROUBLES = {
    "away": NOBODY,
    "in no folder": "sqlite:////nowhere/at/all/ledger.sqlite3",
    "no URL": "ledger.sqlite3",
    "of another kind": "mysql://user:hush@host/db",
    "with a port that is none": "postgresql://user:hush@host:port/db",
    "with a % that stands for nothing": "postgresql://user:hush%ss@host/db",
    "with a parameter that there is not": "postgresql://user:hush@host/db?hush=1",
    "empty": "",
}


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_trouble_with_the_database_is_told_plainly(command: list[str], trouble: str) -> None:
    done = run(TROUBLES[trouble], *command)
    assert done.exit_code in {1, 2}, done.output
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert "Error: " in done.output
    assert "Traceback" not in done.output
    assert "hush" not in done.output
    assert len(done.output) < 600


@pytest.mark.parametrize("command", [["callbacks", "retry"], ["spool", "list"]], ids=" ".join)
def test_a_url_that_cannot_be_read_is_told_plainly_beside_other_settings(command: list[str]) -> None:
    settings = {
        "PUBLIC_URL": "https://ledger.example",
        "SECRET_KEY": "a secret that is long enough for a test",
        "TELNYX_API_KEY": "KEY",
        "TELNYX_PUBLIC_KEY": base64.b64encode(b"\1" * 32).decode(),
        "SPOOL": "off",
        "DATABASE_URL": "postgresql://user:hush%ss@host/db",
    }
    done = CliRunner().invoke(cli.main, command, env=settings)
    assert done.exit_code == 1
    assert done.output.startswith("Error: DATABASE_URL cannot be read")
    assert "hush" not in done.output


@pytest.mark.parametrize("command", COMMANDS[1:], ids=" ".join)
def test_a_database_without_a_schema_is_told_plainly(empty_url: str, command: list[str]) -> None:
    done = run(empty_url, *command)
    assert done.exit_code == 1
    assert done.output.startswith("Error: ")
    assert "Traceback" not in done.output


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_file_that_is_no_database_is_told_plainly(tmp_path: Path, command: list[str]) -> None:
    path = tmp_path / "ledger.sqlite3"
    path.write_bytes(b"no database" * 1000)
    done = run(f"sqlite:///{path}", *command)
    assert done.exit_code == 1
    assert done.output.startswith("Error: ")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_without_a_database_url_it_says_what_is_missing(command: list[str]) -> None:
    done = run(None, *command)
    assert done.exit_code == 2
    assert "--database-url" in done.output


def test_the_program_itself_says_what_it_is() -> None:
    program = shutil.which("siprec-ledger", path=str(Path(sys.executable).parent))
    assert program is not None
    done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30)
    assert (done.returncode, "siprec-ledger" in done.stdout) == (0, True)
    done = subprocess.run([program, "--help"], capture_output=True, text=True, timeout=30)
    assert all(name in done.stdout for name in ("db", "keys", "callbacks", "sandbox"))
