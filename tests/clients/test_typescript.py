"""A client that openapi-typescript makes: it compiles strictly, and works against a running service."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from service.sandbox import EVENTS, Behaviour, Sandbox
from tests.bed import node, processes
from tests.house import House

NODE = Path(__file__).parent / "node"
SECONDS = 120


@pytest.fixture
def packages() -> Path:
    """Or the test is skipped."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("no node or no npm on this machine")
    if node.versions(NODE) != node.pinned(NODE):
        pytest.skip("the packages of tests/clients/node are not installed (make test does it)")
    return NODE / "node_modules"


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_a_client_for_typescript_compiles_and_records_a_call(
    packages: Path, house: House, sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.behave(Behaviour(drop=frozenset(EVENTS)))
    folder = tmp_path / "app"
    shutil.copytree(NODE, folder, ignore=shutil.ignore_patterns("node_modules"))
    (folder / "node_modules").symlink_to(packages)
    (folder / "openapi.json").write_text(house.get("/openapi.json").text)

    def run(*command: str) -> str:
        done = subprocess.run(
            command,
            cwd=folder,
            env=processes.environment({}),
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("node_modules/.bin/openapi-typescript", "openapi.json", "--output", "ledger.ts")
    run("node_modules/.bin/tsc", "--project", ".")
    seen = json.loads(run("node", "app.js", house.web.url, house.key))
    [session_id] = seen["listed"]
    assert seen == {
        "state": "accepted",
        "location": f"/v1/sessions/{session_id}",
        "stop_requested_by": house.session(session_id)["requested_by"],
        "first": "requested",
        "listed": [session_id],
        "problem": "urn:siprec-ledger:problem:invalid-request",
        "wrong": ["/reference"],
    }
