"""What the manual shows to be run is run, or its parts are: requests, commands, queries, snippets."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import click
import pytest
from click.testing import CliRunner
from nacl.signing import SigningKey
from sqlalchemy import text

from service.cli import main
from service.config import Settings
from service.store.engine import Database
from tests.bare_debian.page import DOCS, file, section, steps
from tests.bed import processes
from tests.house import House

APPS = (DOCS / "apps.md").read_text(encoding="utf-8")
COMPLIANCE = (DOCS / "compliance.md").read_text(encoding="utf-8")
PAGES = sorted(DOCS.glob("*.md"))
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DEBIAN = "On a Debian machine"
UNIT = "/etc/systemd/system/siprec-ledger.service"
# Of other programs, and where they are run: make bare-debian, tests/test_backup.py, tests/test_procfile.py.
OTHERS = {
    "apt-get", "chmod", "cp", "curl", "gunicorn", "honcho", "mkdir", "nginx", "openssl", "pip", "printf",
    "psql", "python3", "rm", "runuser", "set", "sqlite3", "systemctl", "systemd-analyze", "useradd",
    "usermod",
}  # fmt: skip


@dataclass(frozen=True)
class Shown:
    page: str
    commands: str
    answer: str | None  # that is shown below them

    @property
    def lines(self) -> list[str]:
        joined = self.commands.replace("\\\n", " ")
        return [line for line in joined.splitlines() if line and not line.startswith("#")]


def shown(page: Path, language: str = "sh") -> Iterator[Shown]:
    blocks = list(BLOCK.finditer(page.read_text(encoding="utf-8")))
    answers = {one.start(): one[2] for one in blocks if not one[1]}
    for one in blocks:
        if one[1] == language:
            yield Shown(page.name, one[2], answers.get(one.end() + 1))


COMMANDS = [one for page in PAGES for one in shown(page)]
EACH_LINE = [(one.page, line) for one in COMMANDS for line in one.lines]


def asked(commands: str, folder: Path, told: Mapping[str, str]) -> dict[str, Any]:
    """Of bash, which finds our own `siprec-ledger` and `python3` first, and ends with the first failure."""
    programs = Path(sys.executable).parent
    env = processes.environment(told) | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    return {"args": ["timeout", "60", "bash", "-euo", "pipefail", "-c", commands], "cwd": folder, "env": env}


def shell(commands: str, folder: Path, **told: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(**asked(commands, folder, told), capture_output=True, text=True)


def first_line(commands: str, folder: Path, **told: str) -> str:
    """Of what goes on for ever: it is ended."""
    with subprocess.Popen(**asked(commands, folder, told), stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        line = str(running.stdout.readline())
        running.terminate()  # timeout hands it on
    return line


def names(answer: str) -> set[str]:
    """Of the members of JSON, also of JSON with gaps."""
    return set(re.findall(r'"(\w+)":', answer))


def test_the_requests_of_the_apps_page_are_answered_as_it_shows(house: House, tmp_path: Path) -> None:
    stopped = house.start("v3:stopped", labels={"team": "fraud"}).json()["id"]
    house.wait_for(stopped, "started")
    house.post(f"/v1/sessions/{stopped}/stop")
    house.wait_for(stopped, "stopped")
    told = {"LEDGER": house.web.url, "KEY": house.key}
    requests = [one for one in shown(DOCS / "apps.md") if "$LEDGER" in one.commands]
    assert len(requests) > 7
    for one in requests:
        commands = re.sub(r"^export LEDGER=.*$", "", one.commands, flags=re.MULTILINE)
        if "siprec-ledger follow" in commands:  # for ever
            assert stopped in first_line(commands, tmp_path, **told)
            continue
        done = shell(commands, tmp_path, **told)
        assert done.returncode == 0, (commands, done.stderr)
        head, _, body = done.stdout.rpartition("\n\n")
        if "POST" in commands or "-d" in commands:
            assert one.answer is not None
            assert head.split()[1] == one.answer.split()[1]  # the status
            told["SESSION"] = json.loads(body)["id"]
        if one.answer is not None:
            assert names(one.answer)
            assert names(one.answer) <= names(body), commands


def ours(line: str, told: Mapping[str, str]) -> None:
    """A line of `siprec-ledger`, in this process: one of its own takes seconds where the machine is busy."""
    for name, value in told.items():
        line = line.replace(f"${name}", value)
    done = CliRunner().invoke(main, words(line)[1:], env=told)
    assert done.exit_code == 0, (line, done.output)


def test_the_commands_for_keys_are_run_as_shown(database: Database, database_url: str) -> None:
    (block,) = (one for one in shown(DOCS / "apps.md") if "keys create" in one.commands)
    told = {"DATABASE_URL": database_url}
    for line in block.lines:
        ours(line, told)
        if "keys create" in line:
            with database.read() as db:
                told["SECRET"] = str(db.execute(text("SELECT id FROM api_key_secret")).scalar_one())
    with database.read() as db:
        revoked = "SELECT id FROM api_key_secret WHERE revoked_at IS NOT NULL"
        assert db.execute(text(revoked)).scalars().all() == [told["SECRET"]]


def genuine(house: House) -> str:
    """The id of a callback that Telnyx signed."""
    session_id = house.start().json()["id"]
    house.wait_for(session_id, "started")
    return str(house.get(f"/v1/sessions/{session_id}/callbacks").json()["callbacks"][0]["id"])


def evidence(house: House, database_kind: str, callback_id: str) -> dict[str, str]:
    """What the page's own query shows of a callback, as the page's snippets take it."""
    (query,) = (
        found
        for found in re.findall("```sql\n(.*?)```", COMPLIANCE, re.DOTALL)
        if found.lower().startswith(f"-- {database_kind}")
    )
    with house.database.read() as db:
        (row,) = db.execute(text(query), {"id": callback_id}).mappings()
    return {name.upper(): str(value) for name, value in row.items()} | {"KEY": house.sandbox.public_key}


SNIPPETS = {
    "openssl": ("sh", "Signature Verified Successfully"),
    "Python": ("python", "Telnyx signed"),
}


@pytest.mark.parametrize(("language", "words"), SNIPPETS.values(), ids=SNIPPETS)
def test_a_stranger_can_check_a_signature_as_shown(
    house: House, database_kind: str, tmp_path: Path, language: str, words: str
) -> None:
    (snippet,) = (one for one in shown(DOCS / "compliance.md", language))
    program = snippet.commands
    if language == "python":
        (tmp_path / "check.py").write_text(program, encoding="utf-8")
        program = "python3 check.py"
    told = evidence(house, database_kind, genuine(house))
    done = shell(program, tmp_path, **told)
    assert done.returncode == 0, done.stderr
    assert words in done.stdout
    assert "SiprecEvent=siprec-started" in done.stdout
    altered = told | {"BODY": told["BODY"].replace("3", "4")}
    for forged in (altered, told | {"TIMESTAMP": "1700000000"}):
        assert shell(program, tmp_path, **forged).returncode != 0


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_the_lines_for_a_copy_and_its_restore_are_run_as_shown(
    database_kind: str, database_url: str, tmp_path: Path
) -> None:
    """Of SQLite: `make bare-debian` runs those of PostgreSQL."""
    copies, folder = tmp_path / "backups", tmp_path / "live"
    copies.mkdir()
    folder.mkdir()
    shutil.copy(database_url.removeprefix("sqlite:///"), folder / "ledger.sqlite3")
    told = {"DATABASE_URL": f"sqlite:///{folder}/ledger.sqlite3"}
    for line in section("operators.md", "SQLite").splitlines():
        command = line.replace("/backups/", f"{copies}/")
        if command.startswith("siprec-ledger"):
            ours(command, told)
        elif command.startswith("mkdir"):
            assert shell(command, folder).returncode == 0, line
    assert (folder / "replaced" / "ledger.sqlite3").exists()
    with closing(Database(told["DATABASE_URL"])) as put_back, put_back.read() as db:
        assert db.execute(text("SELECT COUNT(*) FROM session")).scalar_one() == 0


def words(line: str) -> list[str]:
    return shlex.split(line, comments=True)


def check_command(arguments: list[str]) -> None:
    """Raises click.ClickException for what our command line would not take."""
    context = main.make_context("siprec-ledger", arguments)
    while isinstance(context.command, click.Group):
        rest = [*context._protected_args, *context.args]
        name, command, rest = context.command.resolve_command(context, rest)
        assert command is not None
        context = command.make_context(name, rest, parent=context)


OUR_LINES = [
    (page, f"siprec-ledger {found}")
    for page, line in EACH_LINE
    for found in re.findall(r"(?:^|&& )siprec-ledger ([^>#|&]*)", line)
]


@pytest.mark.parametrize(("page", "line"), OUR_LINES)
def test_every_command_of_ours_is_one(
    page: str, line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATABASE_URL", "sqlite:////tmp/ledger.sqlite3")
    monkeypatch.setenv("LEDGER_URL", "https://ledger.example.com")
    monkeypatch.setenv("LEDGER_KEY", "slk")
    (tmp_path / "copy").touch()
    arguments = [
        str(tmp_path / "copy") if word.startswith("/") else word.replace("$SECRET", str(uuid4()))
        for word in words(line)
    ]
    check_command(arguments[1:])


def test_no_line_of_the_manual_is_one_that_nobody_knows_how_to_run() -> None:
    known = OTHERS | {"siprec-ledger", "export", "make", ".venv/bin/python"}
    unknown = []
    for one in COMMANDS:
        if one.page in {"apps.md", "compliance.md"} or one.commands.startswith("# /"):
            continue  # run above; a file
        for line in one.lines:
            program = re.sub(r"^(\w+=\S* )+", "", line.strip()).split()[0]
            if Path(program).name not in known | {"python"} and program not in known:
                unknown.append((one.page, line))
    assert unknown == []


@pytest.mark.parametrize(("page", "line"), [one for one in EACH_LINE if one[1].startswith("make ")])
def test_what_make_is_asked_for_it_can_do(page: str, line: str) -> None:
    target = words(line)[1]
    made = (processes.CHECKOUT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{target}:", made, re.MULTILINE), page


def exported(commands: str) -> Mapping[str, str]:
    return dict(re.findall(r"\b([A-Z][A-Z_]+)=('[^']*'|\S*)", commands))


@pytest.mark.parametrize("page", ["operators.md", "settings.md", "duty.md"])
def test_every_setting_that_a_block_sets_is_one(page: str) -> None:
    blocks = [one.commands for one in COMMANDS if one.page == page]
    found = {name for commands in blocks for name in exported(commands)} - {"ARGS"}
    assert found <= set(Settings.model_fields)


def test_the_settings_of_the_debian_machine_are_accepted() -> None:
    told = exported(file("operators.md", DEBIAN, "/etc/siprec-ledger.env"))
    filled = {"TELNYX_PUBLIC_KEY": "…", "SECRET_KEY": "s" * 44, "TELNYX_API_KEY": "KEY"}
    key = base64.b64encode(bytes(SigningKey(bytes(32)).verify_key)).decode()
    Settings.model_validate({**told, **filled, "TELNYX_PUBLIC_KEY": key})
    assert {name for name, value in told.items() if value == "…"} == set(filled)
    assert told["WEB_CONCURRENCY"] == "2"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    unit = file("operators.md", DEBIAN, UNIT)
    programs = re.sub(r"=/opt/siprec-ledger/bin/\S+", "=/bin/true", unit)  # they are not installed here
    user = re.sub("^User=.*$", "User=root", programs, flags=re.MULTILINE)
    path = tmp_path / "siprec-ledger.service"
    path.write_text(user.replace("EnvironmentFile=", "EnvironmentFile=-"), encoding="utf-8")
    done = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True)
    ours = [line for line in done.stderr.splitlines() if "siprec-ledger.service" in line]
    assert (done.returncode, ours) == (0, []), done.stderr


def test_systemd_waits_longer_than_gunicorn_for_what_is_worked_on() -> None:
    unit = file("operators.md", DEBIAN, UNIT)
    (seconds,) = re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    said = (processes.CHECKOUT / "service" / "gunicorn_conf.py").read_text(encoding="utf-8")
    (graceful,) = re.findall(r"^graceful_timeout = (\d+)$", said, re.MULTILINE)
    assert int(seconds) > int(graceful)


def test_every_block_of_the_debian_machine_is_a_file_or_commands() -> None:
    languages = re.findall(r"^```(\w+)$", section("operators.md", DEBIAN), re.MULTILINE)
    assert len(steps("operators.md", DEBIAN)) == len(languages) > 6


def test_every_link_of_the_manual_and_the_readme_leads_somewhere() -> None:
    for page in (*PAGES, processes.CHECKOUT / "README.md"):
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            if not link.startswith(("http", "#")):
                assert (page.parent / link.partition("#")[0]).exists(), (page.name, link)


def test_the_contents_name_every_page() -> None:
    contents = (DOCS / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\((\w+)\.md\)", contents)) == {page.stem for page in PAGES} - {"README"}


def test_the_glossary_is_in_order() -> None:
    lines = (DOCS / "glossary.md").read_text(encoding="utf-8").splitlines()[4:]
    found = [line.split("|")[1].strip().lower() for line in lines]
    assert found == sorted(found)
