"""The command that shows the whole thing to somebody who has set up nothing."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

CHECKOUT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-c", "from service.cli import main; main()", "demo"]
CALL_TWO_IS_REFUSED = """
from service.sandbox import Answer, Behaviour, demo, tour
tour.BADLY = Behaviour(answer=Answer.error(422, detail="Call has already ended"))
demo.demo(["--once"])
"""
NOTHING_IS_DROPPED = """
from service.sandbox import demo, faults, incidents
incidents.SEEN_SECONDS = 12
faults.Faults.drop_callbacks = lambda self: self._calls.begin_soon()
demo.demo(["--once"])
"""
FAILED_ROW = "('v3:call-two', 'failed', None, None, 'no-answer')"
TIME = r"\d\d:\d\d:\d\d\.\d{3}"
TIMEOUT_SECONDS = 180  # what it plays takes less than 60


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Somebody's own settings, which must not matter; what the demo keeps goes into `tmp_path`."""
    mistaken = {"DATABASE_URL": "postgresql://nowhere", "CALLBACK_SIGNATURE": "never", "PORT": "1"}
    return {**os.environ, **mistaken, "http_proxy": "http://127.0.0.1:9", "TMPDIR": str(tmp_path)}


@pytest.fixture
def taken_port() -> Iterator[None]:
    """Port 8000 is taken: by us, if not by somebody else."""
    with socket.socket() as place:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):
            place.bind(("127.0.0.1", 8000))
            place.listen()
        yield


@contextmanager
def serving(environment: dict[str, str]) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        COMMAND, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=CHECKOUT, env=environment
    ) as process:
        try:
            yield process
        finally:
            for left in family(process):
                with suppress(psutil.NoSuchProcess):
                    left.kill()


def read(process: "subprocess.Popen[str]", until: str) -> list[str]:
    """What it prints, up to a line that has `until` in it."""
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line.strip())
        if until in line:
            return lines
    raise AssertionError("\n".join(lines))


def family(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        demo = psutil.Process(process.pid)
        return [demo, *demo.children(recursive=True)]
    return []


def kept(folder: Path) -> set[str]:
    return {file.name for file in folder.glob("siprec-ledger-demo-*/*")}


def run(line: str) -> str:
    return subprocess.run(
        line, shell=True, check=True, capture_output=True, text=True, timeout=TIMEOUT_SECONDS
    ).stdout


@pytest.mark.usefixtures("taken_port")
def test_one_call_stops_and_another_fails_and_once_is_enough(
    environment: dict[str, str], tmp_path: Path
) -> None:
    ended = subprocess.run(
        [*COMMAND, "--once"],
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        env=environment,
        timeout=TIMEOUT_SECONDS,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    printed = iter(ended.stdout.splitlines())
    for form in [  # in this order, with others between them
        r"  service   http://127\.0\.0\.1:\d+, as port 8000 is taken",
        rf"  {TIME}  app     asks to record v3:call-one: answered 201",
        rf"  {TIME}  ledger  \w{{8}}  requested   call v3:call-one",
        rf"  {TIME}  telnyx  is asked to record v3:call-one",
        rf"  {TIME}  ledger  \w{{8}}  accepted    accepted_at {TIME}, siprec_sid \w{{8}}",
        rf"  {TIME}  telnyx  tells siprec-started of v3:call-one: answered 200",
        rf"  {TIME}  ledger  \w{{8}}  started     started_at {TIME}",
        rf"  {TIME}  ledger  \w{{8}}  stopped     ended_at {TIME}",
        rf"  {TIME}  telnyx  tells siprec-stopped of v3:call-one again: answered 200",
        rf"  {TIME}  forger  tells siprec-failed of v3:call-one: answered 403",
        rf"  {TIME}  ledger  \w{{8}}  failed      ended_at {TIME}, error no-answer",
        r"  \w{8}  siprec-stopped  2           ed25519:\w{16}",
        "Where to look next",
        rf"  {TIME}  Now     All is well\.",
        rf"  {TIME}  you     press: Drop callbacks",
        rf"  {TIME}  Now     1 call is live and probably not recorded\. Side: recorder\. Check .*",
        r"    So it is probably not being recorded: recorder or network\.",
        rf"  {TIME}  you     press: Mend all",
        r"    From .* it was overdue no longer .*",
        rf"  {TIME}  you     press: Freeze the database",
        rf"  {TIME}  Now     The database takes no writes\. Callbacks are kept on disk.* Side: us\. .*",
        r"  answered 200: (\d+), shown: \1",
        rf"  {TIME}  you     press: Kill the recorder",
        rf"  {TIME}  Now     \d calls? (is|are) live and probably not recorded\. Side: recorder\. .*",
        r"    So the rest of the call is not being recorded: recorder or network\.",
        r"All went as it should\..*",
    ]:
        assert any(re.fullmatch(form, line) for line in printed), f"{form}\n{ended.stdout}"
    assert list(tmp_path.iterdir()) == []


def test_a_call_that_goes_otherwise_is_named(environment: dict[str, str], tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", CALL_TWO_IS_REFUSED],
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        env=environment,
        timeout=TIMEOUT_SECONDS,
    )
    assert ended.returncode == 1
    assert re.match(r"Error: v3:call-two: .* 422 .*Call has already ended", ended.stderr)
    assert "Traceback" not in ended.stderr
    assert kept(tmp_path) >= {"ledger.sqlite3", "service.log"}


def test_a_button_that_does_nothing_is_named(environment: dict[str, str]) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", NOTHING_IS_DROPPED],
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        env=environment,
        timeout=TIMEOUT_SECONDS,
    )
    assert ended.returncode == 1
    said = (
        r"Error: Now should say within \d+ s that v3:live-\d+ is live and probably not recorded; Now says: "
    )
    assert re.match(said + r"All is well\.", ended.stderr)


def test_its_ready_lines_work_and_ctrl_c_leaves_no_process(environment: dict[str, str]) -> None:
    with serving(environment) as process:
        lines = read(process, until="Serving")
        ready = dict(pairwise(lines))
        reports = ready["# The reports, in SQL"]
        assert FAILED_ROW in run(reports).splitlines()
        if shutil.which("curl"):
            assert "v3:call-two" in run(ready["# All sessions, newest first"])
            assert "timeline" in run(ready["# Call one and its timeline"])
            run(ready["# A third call, which ends by itself after 5 s"])
            read(process, until="tells siprec-started of v3:call-three: answered 200")
        everybody = family(process)
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT_SECONDS) == 0
        assert len(everybody) > 2
        assert not any(each.is_running() for each in everybody)
    assert FAILED_ROW in run(reports).splitlines()


def test_it_can_be_ended_before_it_serves(environment: dict[str, str]) -> None:
    with serving(environment) as process:
        read(process, until="Setting up")
        process.send_signal(signal.SIGTERM)
        assert "Ended" in read(process, until="Ended")[-1]
        assert process.wait(TIMEOUT_SECONDS) == 0


def test_it_does_not_outlive_the_service(environment: dict[str, str]) -> None:
    with serving(environment) as process:
        read(process, until="service")
        _, gunicorn, *_ = family(process)
        gunicorn.send_signal(signal.SIGTERM)
        read(process, until="gunicorn has ended by itself; its log ends:")
        assert process.wait(TIMEOUT_SECONDS) == 1
