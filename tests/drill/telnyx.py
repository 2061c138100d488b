"""Telnyx's side of starts: the sandbox, as a program of its own. Callbacks the drill sends by itself."""

from __future__ import annotations

import json
import re
import secrets
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.bed import processes
from tests.drill import http

START_SECONDS = 20
ANSWER_SECONDS = 20
SILENT = {"drop": ["siprec-started", "siprec-stopped", "siprec-failed"]}


class SandboxTrouble(Exception):
    """It did not start, or refused what it was told."""


class Telnyx:
    def __init__(self, folder: Path) -> None:
        self.api_key = secrets.token_urlsafe(16)
        self.url = ""
        self._log = folder / "sandbox.log"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0

    def start(self) -> None:
        command = processes.ledger_command("sandbox", "--port", "0", "--api-key", self.api_key)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self._folder,
                env=processes.environment({}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._guard = processes.Guard(self._process)
        self.url = self._printed_url()
        self._port = int(self.url.split(":")[2].split("/")[0])

    async def hush(self) -> None:
        """Forget everything; from now on every start is accepted, and no callback is sent."""
        await self._tell("DELETE", "/sandbox")
        await self._tell("PUT", "/sandbox/behaviour", SILENT)

    async def hang(self, call_sids: Iterable[str]) -> None:
        """Starts on these calls begin a session, and are never answered."""
        for call_sid in call_sids:
            behaviour = {**SILENT, "answer": "timeout", "starts": True}
            await self._tell("PUT", f"/sandbox/calls/{quote(call_sid, safe=':')}/behaviour", behaviour)

    async def sessions(self) -> list[Mapping[str, str]]:
        """All since `hush`: account_sid, call_sid, sid, status_callback, status_callback_method."""
        told: dict[str, list[Mapping[str, str]]] = await self._tell("GET", "/sandbox/sessions")
        return told["sessions"]

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._guard.release()
            self._process = None

    async def _tell(self, method: str, path: str, document: object = None) -> Any:
        body = b"" if document is None else json.dumps(document).encode()
        headers = {"Content-Type": "application/json", "Connection": "close"}
        request = http.compose(method, path, headers, body)
        answer = await http.ask_once(self._port, request, ANSWER_SECONDS)
        if answer.status >= 300:
            raise SandboxTrouble(f"{method} {path}: {answer.status} {answer.body.decode(errors='replace')}")
        return json.loads(answer.body)

    def _printed_url(self) -> str:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while True:
            said = self._log.read_text(errors="replace")
            if found := re.search(r"TELNYX_BASE_URL=(\S+)\n", said):
                return found[1]
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise SandboxTrouble(f"the sandbox did not start:\n{said[-2000:]}")
            time.sleep(0.05)
