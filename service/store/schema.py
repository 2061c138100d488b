"""The schema: brought up to date, and asked how old it is. The migrations are in `migrations/`."""

from __future__ import annotations

from enum import StrEnum
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from service.store.engine import Database

_PACKAGE = Path(__file__).resolve().parent.parent
_HOMES = (_PACKAGE / "_migrations", _PACKAGE.parent / "migrations")  # in the wheel; in a checkout


class Age(StrEnum):
    """Of the database's schema, against this code's."""

    MISSING = "missing"
    OLDER = "older"
    CURRENT = "current"
    NEWER = "newer"  # a later release migrated first; migrations keep the running code working


def upgrade(database: Database) -> None:
    """Bring the schema up to date; several processes may do so at once."""
    with database.patient() as connection:
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def age(db: Connection) -> Age:
    current = MigrationContext.configure(db).get_current_revision()
    if current is None:
        return Age.MISSING
    if current == _head():
        return Age.CURRENT
    return Age.OLDER if current in _known() else Age.NEWER


@cache
def _known() -> frozenset[str]:
    scripts = ScriptDirectory.from_config(_config())
    return frozenset(script.revision for script in scripts.walk_revisions())


@cache
def _head() -> str | None:
    return ScriptDirectory.from_config(_config()).get_current_head()


def _config() -> Config:
    config = Config()
    home = next(home for home in _HOMES if home.is_dir())
    config.set_main_option("script_location", str(home).replace("%", "%%"))
    return config
