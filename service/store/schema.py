"""The schema: brought up to date, and asked how old it is. The migrations are in `migrations/`."""

from __future__ import annotations

import logging
import time
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from service.log_lines import fields
from service.store.engine import Database, DatabaseUnavailable, DatabaseUnusable

MIGRATION_SECONDS: Final = 30  # for one that may be running
LOOK_SECONDS: Final = 0.25
NEVER_RELEASED: Final = "0001"  # of version 0.1
OF_0_1: Final = (
    "this database is of version 0.1, which cannot be brought up to date: give the ledger a new one "
    "(DATABASE_URL), and run siprec-ledger db upgrade"
)
BEHIND: Final = "its schema is {age}: run siprec-ledger db upgrade"

log = logging.getLogger(__name__)

_PACKAGE = Path(__file__).resolve().parent.parent
_HOMES = (_PACKAGE / "_migrations", _PACKAGE.parent / "migrations")  # in the wheel; in a checkout


class Age(StrEnum):
    """Of the database's schema, against this code's."""

    MISSING = "missing"
    OLDER = "older"
    CURRENT = "current"
    OF_0_1 = "of 0.1"  # which was never released, and is not migrated
    NEWER = "newer"  # a later release migrated first; migrations keep the running code working


def check(database: Database, wait_seconds: float = MIGRATION_SECONDS) -> None:
    """Raises DatabaseUnusable where this code cannot work with the database, and says what to do.

    A migration that may be running is waited for. A database that cannot be reached may come later.
    """
    deadline = time.monotonic() + wait_seconds
    try:
        database.check()
        while (found := _age_of(database)) in {Age.MISSING, Age.OLDER} and time.monotonic() < deadline:
            log.info("waiting for a migration: the schema is %s", found)
            time.sleep(LOOK_SECONDS)
    except DatabaseUnavailable as error:
        log.warning("the database cannot be checked", extra=fields(error=error))
        return
    if found is Age.OF_0_1:
        raise DatabaseUnusable(OF_0_1)
    if found in {Age.MISSING, Age.OLDER}:
        raise DatabaseUnusable(BEHIND.format(age=found))


def upgrade(database: Database) -> None:
    """Bring the schema up to date; several processes may do so at once. Raises DatabaseUnusable."""
    if _age_of(database) is Age.OF_0_1:
        raise DatabaseUnusable(OF_0_1)
    with database.untimed() as connection:
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def revision(db: Connection) -> str | None:
    """That the database is at; None: it has no schema."""
    return MigrationContext.configure(db).get_current_revision()


def age(db: Connection) -> Age:
    current = revision(db)
    if current is None:
        return Age.MISSING
    if current == NEVER_RELEASED:
        return Age.OF_0_1
    if current == _revisions()[0]:
        return Age.CURRENT
    return Age.OLDER if current in _revisions() else Age.NEWER


def _age_of(database: Database) -> Age:
    with database.read() as db:
        return age(db)


@cache
def _revisions() -> tuple[str, ...]:
    """The latest first."""
    scripts = ScriptDirectory.from_config(_config())
    return tuple(script.revision for script in scripts.walk_revisions())


def _config() -> Config:
    config = Config()
    home = next(home for home in _HOMES if home.is_dir())
    config.set_main_option("script_location", str(home).replace("%", "%%"))
    return config
