"""The command that runs a sandbox in a terminal."""

import re
import signal
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from service.sandbox import Sandbox
from tests.sandbox.receiver import Receiver

CHECKOUT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "service.sandbox.cli"]


@contextmanager
def running(*options: str) -> Iterator[tuple["subprocess.Popen[str]", dict[str, str]]]:
    """The command, and the settings it printed."""
    with subprocess.Popen(
        [*COMMAND, "--port", "0", *options], stdout=subprocess.PIPE, text=True, cwd=CHECKOUT
    ) as process:
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(4)]
            yield process, dict(re.findall(r"^export (\w+)=(.+)$", "".join(lines), re.MULTILINE))
        finally:
            process.kill()


def start(settings: dict[str, str], callback: str) -> requests.Response:
    return requests.post(
        f"{settings['TELNYX_BASE_URL']}/texml/Accounts/AC1/Calls/C1/Siprec.json",
        data={"StatusCallback": callback},
        headers={"Authorization": f"Bearer {settings['TELNYX_API_KEY']}"},
        timeout=5,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_settings_then_what_happens_and_ends_when_asked(number: int, receiver: Receiver) -> None:
    with running("--fail", "--late", "0.05", "--repeat", "2") as (process, settings):
        assert settings["TELNYX_API_KEY"] == "KEY_SANDBOX"
        assert settings["TELNYX_PUBLIC_KEY"] == Sandbox().public_key
        assert start(settings, receiver.url).status_code == 200
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        process.send_signal(number)
        assert process.wait(10) == 0
    time = r"\d\d:\d\d:\d\d\.\d{3}"
    request = (
        rf"{time} request  POST /v2/texml/Accounts/AC1/Calls/C1/Siprec\.json StatusCallback={receiver.url}\n"
    )
    callback = rf"{time} callback POST {receiver.url} siprec-failed attempt 1: 200 in \d\.\d\d\d s\n"
    assert [
        bool(re.fullmatch(form, line))
        for form, line in zip([request, callback, callback], lines, strict=True)
    ] == [True] * 3


def test_it_behaves_as_a_file_says(tmp_path: Path) -> None:
    file = tmp_path / "behaviour.json"
    file.write_text('{"answer": {"kind": "error", "status": 403}}')
    seed = b64encode(bytes(32)).decode()
    with running("--behaviour", f"@{file}", "--api-key", "K", "--signing-seed", seed) as (_, settings):
        assert settings["TELNYX_API_KEY"] == "K"
        assert settings["TELNYX_PUBLIC_KEY"] == Sandbox(signing_seed=bytes(32)).public_key
        assert start(settings, "https://example.com/").status_code == 403


def test_a_port_that_is_taken_is_named(sandbox: Sandbox) -> None:
    port = sandbox.url.split(":")[2].removesuffix("/v2")
    ended = subprocess.run(
        [*COMMAND, "--port", port], capture_output=True, text=True, cwd=CHECKOUT, timeout=20
    )
    assert ended.returncode == 1
    assert f"port {port}" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--behaviour", '{"anwser": 1}'], "anwser: no such member"),
        (["--behaviour", "{"], "not JSON"),
        (["--behaviour", "@/none"], "cannot read /none"),
        (["--signing-seed", "AAAA"], "base64 of 32 bytes"),
        (["--ca-file", "/none"], "No such file"),
        (["--ca-file", __file__], "cannot be read as certificates"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: list[str], words: str) -> None:
    ended = subprocess.run([*COMMAND, *options], capture_output=True, text=True, cwd=CHECKOUT, timeout=20)
    assert ended.returncode == 2
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr
