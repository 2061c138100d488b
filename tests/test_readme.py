"""What the README shows is there, and what it says to type works."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests

from service.config import Settings
from service.sandbox import Sandbox
from tests.bed import places, processes
from tests.house import SECRET_KEY, wait_until

README = (processes.CHECKOUT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (processes.CHECKOUT / "Makefile").read_text(encoding="utf-8")
RUN = re.findall(r"```sh\n(.*?)```", README.split("## Run it for real")[1], re.DOTALL)[0].splitlines()
COMMANDS = [line.partition("#")[0].strip() for line in RUN if not line.startswith("export ")]
LARGEST_PICTURE = 200_000


def test_it_is_short() -> None:
    assert README.count("\n") <= 200


@pytest.mark.parametrize("target", sorted(set(re.findall(r"(?:^|`)make ([a-z]+)", README, re.MULTILINE))))
def test_what_it_tells_to_make_is_there_and_in_the_help(target: str) -> None:
    assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)
    assert re.search(rf"@echo 'make {target}\b", MAKEFILE)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_where_it_leads_to_is_there(path: str) -> None:
    assert (processes.CHECKOUT / path).is_file()


def test_its_picture_is_small() -> None:
    assert (processes.CHECKOUT / "docs" / "now.png").stat().st_size < LARGEST_PICTURE


def test_it_sets_what_is_required() -> None:
    named = re.findall(r"\b([A-Z_]+)=", "\n".join(line for line in RUN if line.startswith("export ")))
    required = {name for name, field in Settings.model_fields.items() if field.is_required()}
    assert required <= set(named) <= set(Settings.model_fields)


@pytest.fixture
def environment(sandbox: Sandbox, tmp_path: Path, port: int) -> dict[str, str]:
    settings = {
        "PORT": str(port),
        "HOST": "127.0.0.1",
        "PUBLIC_URL": "https://ledger.example",
        "SECRET_KEY": SECRET_KEY,
        "DATABASE_URL": f"sqlite:///{tmp_path}/ledger.sqlite3",
        "SPOOL_DIR": f"{tmp_path}/spool",
        "TELNYX_API_KEY": sandbox.api_key,
        "TELNYX_PUBLIC_KEY": sandbox.public_key,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    return processes.environment(settings)


@pytest.fixture
def port() -> Iterator[int]:
    with places.some() as place:
        yield int(place.getsockname()[1])


def run(command: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", command], env=environment, cwd="/", capture_output=True, text=True, timeout=60
    )


def test_what_it_tells_to_run_serves(environment: dict[str, str], port: int, tmp_path: Path) -> None:
    *first, last = COMMANDS
    assert len(first) == 2
    for command in first:
        done = run(command, environment)
        assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("slk_")
    with (tmp_path / "log").open("wb") as log:
        serving = subprocess.Popen(
            ["sh", "-c", f"exec {last}"], env=environment, cwd=tmp_path, stdout=log, stderr=log
        )
    guard = processes.Guard(serving)
    try:
        wait_until(lambda: is_ready(port), why=lambda: (tmp_path / "log").read_text())
        for command in re.findall(r"`(siprec-ledger [^`]+)`", README):
            done = run(command, environment)
            assert done.returncode == 0, f"{command}: {done.stdout} {done.stderr}"
    finally:
        everybody = [psutil.Process(serving.pid), *psutil.Process(serving.pid).children(recursive=True)]
        serving.terminate()
        serving.wait(timeout=60)
        psutil.wait_procs(everybody, timeout=20)
        guard.release()


def is_ready(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/readyz", timeout=5).json()["ready"] is True
    except requests.RequestException:
        return False
