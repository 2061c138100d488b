"""A client that openapi-python-client makes: it is well typed, and works against a running service."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from service.sandbox import EVENTS, Behaviour, Sandbox
from tests.bed import browser, processes
from tests.house import House

APP = Path(__file__).with_name("python_app.py")
GENERATOR = "openapi_python_client"
CLIENT = "siprec_ledger_client"
SECONDS = 120


@pytest.fixture
def generator() -> str:
    """Or the test is skipped. In CI it fails instead, so that it is not lost unseen."""
    if importlib.util.find_spec(GENERATOR) is None:
        if browser.in_ci():
            pytest.fail(f"{GENERATOR} is not installed")
        pytest.skip(f"{GENERATOR} is not installed (requirements.lock has it)")
    return GENERATOR


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_a_client_for_python_is_well_typed_and_records_a_call(
    generator: str, house: House, sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.behave(Behaviour(drop=frozenset(EVENTS)))
    folder = tmp_path / "app"
    folder.mkdir()
    shutil.copy(APP, folder / "app.py")
    (folder / "openapi.json").write_text(house.get("/openapi.json").text)
    (folder / "settings.yaml").write_text("post_hooks: []\n")  # the default ones only make it look nice

    def run(*command: str) -> str:
        paths = {"PYTHONPATH": os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])}
        done = subprocess.run(
            [sys.executable, *command],
            cwd=folder,
            env={**processes.environment({}), **paths},
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    told = run(
        *("-m", generator, "generate", "--path", "openapi.json", "--config", "settings.yaml"),
        *("--meta", "none", "--output-path", CLIENT, "--fail-on-warning"),
    )
    assert "warning" not in told.lower(), told
    run("-m", "mypy", "--strict", "--cache-dir", os.devnull, "app.py")
    seen = json.loads(run("app.py", house.web.url, house.key))
    [session_id] = seen["listed"]
    assert seen == {
        "is_accepted": True,
        "location": f"/v1/sessions/{session_id}",
        "stop_requested_by": house.session(session_id)["requested_by"],
        "first": "requested",
        "listed": [session_id],
        "problem": "urn:siprec-ledger:problem:invalid-request",
        "wrong": ["/reference"],
    }
