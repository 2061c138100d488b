"""The spool: what it took is there, whatever happened to the process that wrote it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from service.spool import Spool, SpoolUnusable
from tests.bed.web import CHECKOUT

LIMIT = 1024 * 1024

# Appends records until it is killed at the n-th step that touches the disk; says which ones were taken.
DOOMED = """
import os, sys
from pathlib import Path
from service import spool

folder, doom = Path(sys.argv[1]), int(sys.argv[2])
steps = 0

def doomed(name):
    real = getattr(os, name)
    def step(*args):
        global steps
        steps += 1
        if steps == doom:
            if name == "write":  # the disk got half of it
                real(args[0], args[1][: len(args[1]) // 2])
            os.kill(os.getpid(), 9)
        return real(*args)
    setattr(os, name, step)

say = os.write
for name in ("write", "fsync", "open", "rename", "close"):
    doomed(name)
kept = spool.Spool(folder, 1 << 20)
for number in range(6):
    kept.append([b"record %d" % number, b"twin %d" % number])
    say(1, b"%d\\n" % number)
    if number == 2:
        kept.close()  # the next goes into a file of its own
"""


def drained(folder: Path) -> list[bytes]:
    found: list[bytes] = []
    Spool(folder, LIMIT).drain(found.extend)
    return found


def test_records_come_back_in_their_order_and_once(tmp_path: Path) -> None:
    spool = Spool(tmp_path, LIMIT)
    spool.append([b"one", b""])
    spool.append([b"two" * 10_000])
    assert drained(tmp_path) == []  # its owner lives
    found: list[bytes] = []
    assert spool.drain(found.extend) == 3
    assert found == [b"one", b"", b"two" * 10_000]
    assert spool.drain(found.extend) == 0
    assert list(tmp_path.iterdir()) == []


def test_killed_at_any_step_it_keeps_all_that_it_took(tmp_path: Path) -> None:
    doom, is_done = 0, False
    while not is_done:
        doom += 1
        folder = tmp_path / str(doom)
        folder.mkdir()
        run = subprocess.run(
            [sys.executable, "-c", DOOMED, folder, str(doom)], cwd=CHECKOUT, capture_output=True, timeout=20
        )
        is_done = run.returncode == 0
        assert is_done or run.returncode == -9, run.stderr.decode()
        taken = [int(number) for number in run.stdout.split()]
        found = drained(folder)
        expected = [f"{name} {number}".encode() for number in taken for name in ("record", "twin")]
        assert found[: len(expected)] == expected
        assert len(found) <= len(expected) + 2  # the last one may be there, only its answer was lost
        assert drained(folder) == []
    assert doom > 20


def test_what_follows_damage_is_set_aside_and_not_thrown_away(tmp_path: Path) -> None:
    spool = Spool(tmp_path, LIMIT)
    spool.append([b"good", b"bad", b"after"])
    spool.close()
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes().replace(b"bad", b"BAD"))
    assert drained(tmp_path) == [b"good"]
    assert Spool(tmp_path, LIMIT).depth().set_aside == 1
    (aside,) = tmp_path.iterdir()
    assert b"after" in aside.read_bytes()


def test_a_file_stays_until_all_of_it_is_kept(tmp_path: Path) -> None:
    spool = Spool(tmp_path, LIMIT)
    spool.append([str(number).encode() for number in range(100)])

    def fail(batch: list[bytes]) -> None:
        if b"70" in batch:
            raise ConnectionError

    with pytest.raises(ConnectionError):
        spool.drain(fail)
    assert len(drained(tmp_path)) == 100


def test_two_who_drain_share_the_files_of_a_dead_process(tmp_path: Path) -> None:
    for number in range(40):
        dead = Spool(tmp_path, LIMIT)
        dead.append([str(number).encode()])
        dead.close()
    found: list[bytes] = []
    drains = [threading.Thread(target=Spool(tmp_path, LIMIT).drain, args=(found.extend,)) for _ in range(3)]
    for drain in drains:
        drain.start()
    for drain in drains:
        drain.join()
    assert sorted(found, key=int) == [str(number).encode() for number in range(40)]


def test_a_removed_folder_loses_nothing_while_its_process_lives(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    spool = Spool(folder, LIMIT)
    spool.append([b"before"])
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    assert spool.age() is not None
    spool.append([b"after"])
    found: list[bytes] = []
    spool.drain(found.extend)
    assert found == [b"before", b"after"]


def test_a_full_spool_says_so_and_keeps_what_it_has(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1000)
    spool.append([b"x" * 900])
    with pytest.raises(SpoolUnusable, match="full"):
        spool.append([b"x" * 200])
    found: list[bytes] = []
    spool.drain(found.extend)
    assert found == [b"x" * 900]
    spool.append([b"x" * 200])


@pytest.mark.parametrize("step", ["write", "fsync"])
def test_a_file_that_failed_is_never_written_to_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    spool = Spool(tmp_path, LIMIT)
    spool.append([b"first"])

    def fail(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, step, fail)
        with pytest.raises(SpoolUnusable, match="No space left"):
            spool.append([b"second"])
    spool.append([b"third"])
    assert len(list(tmp_path.glob("*.spool"))) == 2
    found: list[bytes] = []
    spool.drain(found.extend)
    assert found == [b"first", b"third"]


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SpoolUnusable):
        Spool(tmp_path / "file" / "spool", LIMIT).check()


def test_it_tells_how_much_waits_and_how_long(tmp_path: Path) -> None:
    spool = Spool(tmp_path, LIMIT)
    assert (spool.age(), spool.depth().entries) == (None, 0)
    spool.append([b"one", b"two"])
    depth = spool.depth()
    assert depth.entries == 2
    assert depth.age is not None
    assert 0 <= depth.age < 10
