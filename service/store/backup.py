"""Copies of a database: made while others write, and looked into before one is put back."""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from psycopg.conninfo import make_conninfo
from sqlalchemy import Connection, NullPool, create_engine, make_url
from sqlalchemy.exc import DBAPIError

from service.store import contents, servers, sqlite
from service.store.contents import Contents
from service.store.schema import Age

SECRETS: Final = {"password", "sslpassword", "scram_client_key", "scram_server_key", "oauth_client_secret"}
SIDECARS: Final = ("", "-journal", "-wal", "-shm")
MOST_SHOWN: Final = 10
DUMP: Final = b"PGDMP"  # how pg_dump's own format begins
JOURNAL_MODE: Final = 18  # where a file of SQLite says how it is written
WAL: Final = 2


class BackupFailed(Exception):
    """There is no copy to rely on."""


class NotSqlite(Exception):
    """What cannot be looked into, in words."""


@dataclass(frozen=True)
class Copy:
    """What was found in a copy: it is whole if there are no `problems`."""

    problems: list[str]
    contents: Contents | None  # None: it cannot be read


def sqlite_file(url: str) -> Path | None:
    """None: it is not SQLite's."""
    return Path(make_url(url).database or "") if url.startswith("sqlite") else None


def copy(live: Path, path: Path) -> Contents:
    """Copy SQLite's database, as it is at one moment, to a new file at `path`. Raises BackupFailed.

    In one step, which is one reading transaction: writers go on, and none of them makes it begin again.
    """
    refuse_to_overwrite(path)
    try:
        with _beside(path) as partial:
            _copy(live, partial)
            with _reading(partial) as db:
                held = contents.of(db)
            if held.age is Age.MISSING:
                raise BackupFailed("there is no ledger in this database")
            _sync(partial)
            _put(partial, path)
            _sync(path.parent)
    except (OSError, sqlite.DriverError, DBAPIError) as error:
        raise BackupFailed(str(getattr(error, "orig", error))) from error
    return held


def pg_dump(url: str, path: Path) -> str:
    """What to run in a shell for a copy of PostgreSQL's database; no password is in it.

    Raises DatabaseUnusable for a URL that cannot be read.
    """
    shown = {name: value for name, value in servers.parameters(url).items() if name not in SECRETS}
    return shlex.join(["pg_dump", "--format=custom", f"--file={path}", f"--dbname={make_conninfo(**shown)}"])


def refuse_to_overwrite(path: Path) -> None:
    """Raises BackupFailed."""
    if path.exists() or path.is_symlink():
        raise BackupFailed(f"there is something at {path}, which stays as it is")


def check(path: Path) -> Copy:
    """Look whether a copy is whole, without changing it. Raises NotSqlite, and OSError."""
    with path.open("rb") as file:
        head = file.read(JOURNAL_MODE + 1)
    if head.startswith(DUMP):
        raise NotSqlite("pg_dump made it; only pg_restore can tell, by restoring it into an empty database")
    try:
        with _reading(path) as db:
            problems, held = _damage(db), contents.of(db)
    except (sqlite.DriverError, DBAPIError) as error:
        return Copy([f"it cannot be read: {getattr(error, 'orig', error)}"], None)
    if held.age is Age.MISSING:
        problems.append("there is no ledger in it")
    if held.age is Age.OF_0_1:
        problems.append("it is of version 0.1, which cannot be brought up to date")
    if head[JOURNAL_MODE:] == bytes([WAL]):
        problems.append("it is the file alone, not made by db backup: what was in its WAL then is missing")
    return Copy(problems, held)


def _damage(db: Connection) -> list[str]:
    found = db.exec_driver_sql(f"PRAGMA integrity_check({MOST_SHOWN})").scalars().all()
    problems = [str(line) for line in found if line != "ok"]
    for table, row, parent, _ in db.exec_driver_sql("PRAGMA foreign_key_check").fetchmany(MOST_SHOWN):
        problems.append(f"row {row} of {table} belongs to a row of {parent} that is not there")
    return problems


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """An empty file in the same folder, of its owner alone, removed at the end unless it was renamed."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    os.close(descriptor)
    try:
        yield Path(name)
    finally:
        for sidecar in SIDECARS:
            Path(f"{name}{sidecar}").unlink(missing_ok=True)


def _copy(live: Path, partial: Path) -> None:
    with closing(_open(live, mode="rw")) as source, closing(_open(partial, mode="rw")) as target:
        source.backup(target)
        target.execute("PRAGMA journal_mode=DELETE")  # one file is all of it, until the service opens it


@contextmanager
def _reading(path: Path) -> Iterator[Connection]:
    """Leaves the file, and the folder around it, as they are."""

    def connect() -> Any:
        return _open(path, mode="ro", immutable="1")

    engine = create_engine("sqlite://", creator=connect, module=sqlite.DRIVER, poolclass=NullPool)
    with engine.connect() as db:
        yield db


def _open(path: Path, **options: str) -> Any:
    """Never makes a database where there is none. Raises sqlite.DriverError."""
    query = "&".join(f"{name}={value}" for name, value in options.items())
    return sqlite.DRIVER.connect(f"file:{quote(str(path.absolute()))}?{query}", uri=True)


def _put(partial: Path, path: Path) -> None:
    """The name is taken first, so that nothing which came meanwhile is written over."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    partial.replace(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
