"""The spool: what it took is there, whatever happened to the process that wrote it."""

from __future__ import annotations

import errno
import io
import itertools
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import pytest

from service.spool import Spool, SpoolUnusable, Write
from service.spool.files import OwnFile
from tests.bed.web import CHECKOUT

LIMIT = 1024 * 1024

# Kills itself at the n-th step that touches the disk.
DOOMED = """
import os, sys
from pathlib import Path
from service.spool import Spool

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
for name in ("write", "fsync", "open", "rename", "close", "unlink"):
    doomed(name)
spool = Spool(folder, 1 << 20)
"""

# Says which entries were taken.
APPENDS = """
for number in range(6):
    spool.append([b"entry %d" % number, b"twin %d" % number])
    say(1, b"%d\\n" % number)
    if number == 2:
        spool.close()  # the next goes into a file of its own
"""

# Says which entries it was given and has kept.
DRAINS = """
def keep(_path, entries):
    for entry in entries:
        say(1, entry + b"\\n")
    return True

spool.drain(keep)
"""


def into(found: list[bytes]) -> Write:
    """What a drain hands its entries to; they are all kept."""

    def keep(_path: Path, entries: Iterator[bytes]) -> bool:
        found.extend(entries)
        return True

    return keep


def drained(folder: Path) -> list[bytes]:
    found: list[bytes] = []
    Spool(folder, LIMIT).drain(into(found))
    return found


def left_behind(folder: Path, *entries: bytes) -> Path:
    """A file of a process that is dead."""
    dead = Spool(folder, LIMIT)
    dead.append(entries)
    dead.close()
    return max(folder.glob("*.spool"))


def run_doomed(program: str, folder: Path, doom: int) -> tuple[bool, list[bytes]]:
    """Whether it came to its end, and the lines that it said."""
    run = subprocess.run(
        [sys.executable, "-c", DOOMED + program, folder, str(doom)],
        cwd=CHECKOUT,
        capture_output=True,
        timeout=20,
    )
    assert run.returncode in {0, -9}, run.stderr.decode()
    return run.returncode == 0, run.stdout.split(b"\n")[:-1]


def test_entries_come_back_in_their_order_and_once(tmp_path: Path) -> None:
    spool = Spool(tmp_path, LIMIT)
    spool.append([b"one", b""])
    spool.append([b"two" * 10_000])
    assert drained(tmp_path) == []  # its owner lives
    found: list[bytes] = []
    assert spool.drain(into(found)) == 3
    assert found == [b"one", b"", b"two" * 10_000]
    assert spool.drain(into(found)) == 0
    assert list(tmp_path.iterdir()) == []


def test_killed_at_any_step_it_keeps_all_that_it_took(tmp_path: Path) -> None:
    doom, is_done = 0, False
    while not is_done:
        doom += 1
        folder = tmp_path / str(doom)
        is_done, lines = run_doomed(APPENDS, folder, doom)
        found = drained(folder)
        expected = [name + number for number in lines for name in (b"entry ", b"twin ")]
        assert found[: len(expected)] == expected
        assert len(found) <= len(expected) + 2  # the last one may be there, only its answer was lost
        assert drained(folder) == []
    assert doom > 20


def test_a_drain_that_is_killed_at_any_step_leaves_what_it_did_not_finish(tmp_path: Path) -> None:
    doom, is_done = 0, False
    while not is_done:
        doom += 1
        folder = tmp_path / str(doom)
        for number in range(3):
            left_behind(folder, b"%d-1" % number, b"%d-2" % number)
        is_done, given = run_doomed(DRAINS, folder, doom)
        again = drained(folder)
        assert {*given, *again} == {b"%d-%d" % (n, m) for n in range(3) for m in (1, 2)}
        assert len(given) + len(again) <= 6 + 2  # at most the file that it was at is given again
    assert doom > 5


def test_what_follows_damage_is_set_apart_and_not_thrown_away(tmp_path: Path) -> None:
    path = left_behind(tmp_path, b"good", b"bad", b"after")
    path.write_bytes(path.read_bytes().replace(b"bad", b"BAD"))
    spool = Spool(tmp_path, LIMIT)
    found: list[bytes] = []
    spool.drain(into(found))
    assert found == [b"good"]
    assert spool.depth().dead_letters == 1
    (damaged,) = tmp_path.iterdir()
    assert b"after" in damaged.read_bytes()
    damaged.write_bytes(damaged.read_bytes().replace(b"BAD", b"bad"))
    assert spool.retry() == 1
    assert drained(tmp_path) == [b"good", b"bad", b"after"]


def test_a_dead_letter_waits_until_it_is_retried(tmp_path: Path) -> None:
    spool = Spool(tmp_path, LIMIT)
    spool.add_dead_letter([b"what nobody can take", b"why"])
    assert spool.depth().dead_letters == 1
    assert drained(tmp_path) == []
    newcomer = Spool(tmp_path, LIMIT)
    newcomer.survey()
    assert newcomer.depth().dead_letters == 1
    assert newcomer.retry() == 1
    assert drained(tmp_path) == [b"what nobody can take", b"why"]


@pytest.mark.parametrize("name", ["put-back", str(uuid.UUID(int=7)), "41f5e029-e19f-471f-9acd-b3b193fdacf2"])
def test_a_file_that_somebody_put_back_is_drained_whatever_its_name(tmp_path: Path, name: str) -> None:
    path = left_behind(tmp_path, b"one", b"two").rename(tmp_path / f"{name}.spool")
    os.utime(path, (time.time() - 100, time.time() - 100))
    spool = Spool(tmp_path, LIMIT)
    spool.survey()
    depth = spool.depth()
    assert depth.entries == 2
    assert depth.age is not None
    assert 90 < depth.age < 110
    assert drained(tmp_path) == [b"one", b"two"]


def test_what_is_no_spool_file_at_all_holds_nothing_up(tmp_path: Path) -> None:
    (tmp_path / "folder.spool").mkdir()
    (tmp_path / "text.spool").write_text("hello")
    (tmp_path / "empty.spool").touch()
    left_behind(tmp_path, b"one")
    spool = Spool(tmp_path, LIMIT)
    spool.survey()
    found: list[bytes] = []
    spool.drain(into(found))
    assert found == [b"one"]
    assert [path.name for path in tmp_path.glob("*.damaged")] == ["text.damaged"]  # the empty one is gone


def test_a_file_stays_until_all_of_it_is_kept(tmp_path: Path) -> None:
    spool = Spool(tmp_path, LIMIT)
    spool.append([str(number).encode() for number in range(100)])

    def fail(_path: Path, entries: Iterator[bytes]) -> bool:
        for entry in entries:
            if entry == b"70":
                raise ConnectionError
        return True

    with pytest.raises(ConnectionError):
        spool.drain(fail)
    assert spool.drain(lambda _path, entries: list(entries) == []) == 0  # they were not all kept
    assert len(drained(tmp_path)) == 100


def test_two_who_drain_share_the_files_of_a_dead_process(tmp_path: Path) -> None:
    for number in range(40):
        left_behind(tmp_path, str(number).encode())
    found: list[bytes] = []
    drains = [threading.Thread(target=Spool(tmp_path, LIMIT).drain, args=(into(found),)) for _ in range(3)]
    for drain in drains:
        drain.start()
    for drain in drains:
        drain.join()
    assert sorted(found, key=int) == [str(number).encode() for number in range(40)]


def test_a_removed_folder_loses_nothing_while_its_process_lives(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    spool = Spool(folder, LIMIT)
    before = [str(number).encode() for number in range(2500)]
    spool.append(before)
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    assert spool.depth().age is not None
    spool.append([b"after"])
    found: list[bytes] = []
    spool.drain(into(found))
    assert found == [*before, b"after"]


def test_a_rescue_for_which_there_is_no_room_leaves_nothing_half_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path, LIMIT)
    before = [str(number).encode() for number in range(2500)]
    spool.append(before)
    (own,) = tmp_path.glob("*.spool")
    own.unlink()
    append, parts = OwnFile.append, itertools.count()

    def fail_in_the_second_part(file: OwnFile, entries: Sequence[bytes]) -> None:
        if next(parts) % 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        append(file, entries)

    with monkeypatch.context() as patched:
        patched.setattr(OwnFile, "append", fail_in_the_second_part)
        for _ in range(3):
            with pytest.raises(SpoolUnusable, match="No space left"):
                spool.append([b"not taken"])
    assert list(tmp_path.glob("*.spool")) == []
    spool.append([b"after"])
    found: list[bytes] = []
    spool.drain(into(found))
    assert found == [*before, b"after"]


def test_a_file_that_cannot_be_removed_is_told_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    left_behind(tmp_path, b"one")
    spool = Spool(tmp_path, LIMIT)

    def fail(_path: Path, **_options: bool) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", fail)
        for _ in range(3):
            spool.drain(into([]))
    assert [text for text in caplog.messages if "cannot be removed" in text] == caplog.messages[:1]
    assert len(caplog.messages) == 1
    spool.drain(into([]))
    assert list(tmp_path.glob("*.spool")) == []


def test_a_full_spool_says_so_and_keeps_what_it_has(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1000)
    spool.append([b"x" * 900])
    with pytest.raises(SpoolUnusable, match="full"):
        spool.append([b"x" * 200])
    found: list[bytes] = []
    spool.drain(into(found))
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
    spool.drain(into(found))
    assert found == [b"first", b"third"]


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SpoolUnusable):
        Spool(tmp_path / "file" / "spool", LIMIT).check()


def test_it_tells_how_much_waits_and_how_long(tmp_path: Path) -> None:
    spool = Spool(tmp_path, LIMIT)
    assert (spool.depth().entries, spool.depth().age) == (0, None)
    spool.append([b"one", b"two"])
    depth = spool.depth()
    assert depth.entries == 2
    assert depth.age is not None
    assert 0 <= depth.age < 10
    spool.drain(into([]))
    assert (spool.depth().entries, spool.depth().age) == (0, None)


def test_what_others_left_is_counted_by_a_survey_and_told_without_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Spool(tmp_path, LIMIT)
    other.append([b"of a living process"])
    left_behind(tmp_path, b"one", b"two" * 1000)
    spool = Spool(tmp_path, LIMIT)
    spool.append([b"own"])
    spool.survey()
    assert spool.depth().entries == 4
    other.append([b"more"] * 3)
    spool.survey()
    assert spool.depth().entries == 7

    def no_disk(*_: object, **__: object) -> None:
        raise AssertionError("it went to the disk")

    with monkeypatch.context() as patched:
        for name in ("open", "stat", "listdir", "scandir", "access"):
            patched.setattr(os, name, no_disk)
        patched.setattr("builtins.open", no_disk)
        assert spool.depth().entries == 7


def test_what_cannot_take_more_says_so_until_it_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path / "spool", 1000)
    spool.append([b"x" * 800])
    with pytest.raises(SpoolUnusable):
        spool.append([b"x" * 800])
    spool.survey()
    assert not spool.depth().is_usable
    spool.drain(into([]))
    spool.survey()
    assert spool.depth().is_usable

    def fail(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with pytest.raises(SpoolUnusable, match="No space left"):
            spool.append([b"x"])
        spool.survey()
        assert not spool.depth().is_usable
    spool.survey()
    assert spool.depth().is_usable


def test_a_new_folder_is_on_the_disk_before_anything_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def remember(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", remember)
    folder = tmp_path / "a" / "b"
    Spool(folder, LIMIT).append([b"one"])
    assert synced[:2] == [str(tmp_path), str(folder.parent)]
    assert str(folder) in synced[2:]


def test_a_file_that_the_disk_does_not_give_stays_and_holds_no_other_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = left_behind(tmp_path, b"one")
    left_behind(tmp_path, b"two")
    real_open = Path.open

    def opened(path: Path, mode: str) -> IO[Any]:
        return BadDisk(path) if path == bad else real_open(path, mode)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", opened)
        assert drained(tmp_path) == [b"two"]
    assert drained(tmp_path) == [b"one"]


def test_a_file_that_cannot_be_read_counts_until_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = left_behind(tmp_path, b"one", b"two", b"three")
    spool, real_open = Spool(tmp_path, LIMIT), Path.open

    def opened(path: Path, mode: str) -> IO[Any]:
        if path == bad:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real_open(path, mode)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", opened)
        spool.survey()
        assert (spool.depth().entries, spool.depth().age is None) == (1, False)
        spool.survey()
        assert spool.depth().entries == 1
    spool.survey()
    assert spool.depth().entries == 3


class BadDisk(io.FileIO):
    def read(self, _size: int | None = -1) -> bytes:
        raise OSError(errno.EIO, "Input/output error")
