"""The Procfile runs as the manual says."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import requests

from service.sandbox import Sandbox
from tests.bed import places, processes
from tests.house import SECRET_KEY, wait_until

MANUAL = (processes.CHECKOUT / "docs" / "operators.md").read_text(encoding="utf-8")
LINE = re.compile(r"^honcho run siprec-ledger db upgrade && honcho start web$", re.MULTILINE)


def environment(port: int, sandbox: Sandbox, folder: Path) -> dict[str, str]:
    settings = {
        "PORT": str(port),
        "HOST": "127.0.0.1",
        "PUBLIC_URL": "https://ledger.example",
        "SECRET_KEY": SECRET_KEY,
        "DATABASE_URL": f"sqlite:///{folder}/ledger.sqlite3",
        "SPOOL_DIR": f"{folder}/spool",
        "TELNYX_API_KEY": sandbox.api_key,
        "TELNYX_PUBLIC_KEY": sandbox.public_key,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    return processes.environment(settings)


def test_the_line_of_the_readme_serves(sandbox: Sandbox, tmp_path: Path) -> None:
    (line,) = LINE.findall(MANUAL)
    with places.some() as place, (tmp_path / "log").open("wb") as log:
        port = place.getsockname()[1]
        running = subprocess.Popen(
            ["sh", "-c", line],
            cwd=processes.CHECKOUT,
            env=environment(port, sandbox, tmp_path),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        guard = processes.Guard(running)
        try:
            wait_until(lambda: is_ready(port))
        finally:
            started = psutil.Process(running.pid).children(recursive=True)
            processes.send_to_group(running.pid, signal.SIGTERM)  # which honcho hands on
            _, left = psutil.wait_procs(started, timeout=20)
            for process in left:
                process.kill()
            running.wait(timeout=10)
            guard.release()
        assert left == []


def is_ready(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/readyz", timeout=5).json()["ready"] is True
    except requests.ConnectionError:
        return False
