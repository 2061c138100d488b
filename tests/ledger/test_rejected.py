"""What was refused can be judged again, once a wrong setting is right."""

from __future__ import annotations

import base64
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import requests

from service.sandbox import Behaviour, Sandbox
from tests.house import House, wait_until


def retry(house: House) -> str:
    program = Path(sys.executable).with_name("siprec-ledger")
    run = subprocess.run(
        [program, "callbacks", "retry"], env=house.web.env, capture_output=True, text=True, timeout=30
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def test_after_a_wrong_key_was_put_right_nothing_is_lost(
    build: Callable[..., House], sandbox: Sandbox
) -> None:
    sandbox.behave(Behaviour(drop=frozenset({"siprec-started", "siprec-stopped"})))
    wrong_key = base64.b64encode(b"not Telnyx's key, but 32 bytes !").decode()
    house = build(TELNYX_PUBLIC_KEY=wrong_key)
    session = house.start().json()
    for event in ("siprec-stopped", "siprec-started"):
        body = sandbox.compose(session["siprec_sid"], event)
        told = requests.post(house.callback_url(), data=body, headers=sandbox.sign(body), timeout=10)
        assert told.status_code == 403
    forged = {"telnyx-timestamp": "1", "telnyx-signature-ed25519": base64.b64encode(b"x" * 64).decode()}
    assert requests.post(house.callback_url(), data=b"a=b", headers=forged, timeout=10).status_code == 403
    wait_until(lambda: house.get("/readyz").json()["rejected"] == 3)
    assert retry(house) == "stored: 0, still rejected: 3"

    house.web.env["TELNYX_PUBLIC_KEY"] = sandbox.public_key
    assert retry(house) == "stored: 2, still rejected: 1"
    assert house.session(session["id"])["state"] == "stopped"
    assert [callback["deliveries"] for callback in house.callbacks(session["id"])] == [1, 1]
    assert retry(house) == "stored: 0, still rejected: 1"
    wait_until(lambda: house.get("/readyz").json()["rejected"] == 1)
