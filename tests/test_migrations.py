"""The migrations make what the code expects: from nothing, at once, from the wheel, whole or not at all."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, text

from service.store import keys, schema, tables, watch_tables  # noqa: F401 (it adds tables)
from service.store.engine import Database, DatabaseError
from service.store.schema import Age
from tests.bed.postgres import Postgres
from tests.ledger.lines import everything, number_all, write_as_before

CHECKOUT = Path(__file__).parents[1]
MIGRATIONS = CHECKOUT / "migrations"
REPORTS = ("sessions", "callbacks", "timeline", "attempts", "rejected", "daily", "failures", "causes")
VIEWS = {f"report_{name}_v1" for name in REPORTS}
# Migrations alone make it: SQLAlchemy reads no index of an expression back from SQLite.
OF_AN_EXPRESSION = {"session_day"}


@pytest.fixture
def empty_url(database_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if database_kind == "sqlite":
        yield f"sqlite:///{tmp_path}/new.sqlite3"
        return
    server: Postgres = request.getfixturevalue("postgres")
    url = server.create_database()
    yield url
    server.drop_database(url)


@pytest.fixture
def empty(empty_url: str) -> Iterator[Database]:
    database = Database(empty_url)
    yield database
    database.close()


def age(database: Database) -> Age:
    with database.read() as db:
        return schema.age(db)


def names(database: Database) -> set[str]:
    """Of all tables and views."""
    with database.read() as db:
        found = inspect(db)
        return {*found.get_table_names(), *found.get_view_names()}


def test_an_empty_database_is_brought_up_to_date(empty: Database) -> None:
    assert age(empty) is Age.MISSING
    schema.upgrade(empty)
    assert age(empty) is Age.CURRENT
    assert names(empty) == {*tables.metadata.tables, *VIEWS, "alembic_version"}


def test_to_do_it_again_changes_nothing(database: Database) -> None:
    with database.begin() as db:
        keys.create(db, "an app", datetime(2026, 3, 1, tzinfo=UTC))
    before = names(database)
    schema.upgrade(database)
    assert (names(database), age(database)) == (before, Age.CURRENT)
    with database.read() as db:
        assert [key.name for key in keys.listed(db)] == ["an app"]


def test_a_later_release_s_schema_is_newer_not_unknown(database: Database) -> None:
    with database.begin() as db:
        db.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert age(database) is Age.NEWER


def test_the_tables_that_the_code_knows_are_those_that_are_made(database: Database) -> None:
    with database.engine.connect() as db, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an index that cannot be reflected
        opts = {"compare_type": True, "compare_server_default": True, "include_name": is_compared}
        context = MigrationContext.configure(db, opts=opts)
        found = compare_metadata(context, tables.metadata)
    assert found == []


def is_compared(name: str | None, *_: object) -> bool:
    return name not in OF_AN_EXPRESSION


def test_indexes_are_as_unique_and_as_partial_as_the_code_says(database: Database) -> None:
    """What the comparison above leaves out."""
    with database.engine.connect() as db, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for table in tables.metadata.tables.values():
            made = {index["name"]: index for index in inspect(db).get_indexes(table.name)}
            for index in table.indexes:
                found = made.pop(index.name)
                assert bool(found["unique"]) == index.unique
                assert found["column_names"] == [column.name for column in index.columns]
                kind = db.dialect.name
                wanted = index.dialect_options[kind]["where"]
                partial = found.get("dialect_options", {}).get(f"{kind}_where")
                assert (partial is None) == (wanted is None), index.name
            left = [
                one
                for name, one in made.items()
                if name not in OF_AN_EXPRESSION and not one.get("duplicates_constraint")
            ]
            assert left == [], table.name


def upgrade_to(database: Database, revision: str) -> None:
    with database.untimed() as connection:
        config = schema._config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def test_events_of_before_are_kept_and_get_their_positions(empty: Database) -> None:
    upgrade_to(empty, "0001.ledger")
    with empty.begin() as db:
        write_as_before(db, *"abc")
    schema.upgrade(empty)
    with empty.begin() as db:  # the release before still runs
        write_as_before(db, "d")
    number_all(empty)
    assert [(line.position, line.subject_id) for line in everything(empty)] == [*enumerate("abcd", start=1)]


def add_secret(database: Database, key: str) -> None:
    """As the release before does it; the key is made with its first one."""
    at = "'2026-03-01T12:00:00.000000Z'"
    with database.begin() as db:
        columns = "id, name, created_at"
        db.execute(text(f"INSERT INTO api_key ({columns}) VALUES ('{key}', '{key}', {at})"))
        columns = "id, api_key_id, sha256, created_at"
        db.execute(
            text(f"INSERT INTO api_key_secret ({columns}) VALUES ('s-{key}', '{key}', :hash, {at})"),
            {"hash": b"hash"},
        )


def test_secrets_of_before_are_kept_as_never_used_and_may_be_used(empty: Database) -> None:
    upgrade_to(empty, "0002.numbering")
    add_secret(empty, "one")
    with empty.begin() as db:
        write_as_before(db, "a")
    schema.upgrade(empty)
    add_secret(empty, "two")  # the release before still runs
    used = datetime(2026, 3, 2, tzinfo=UTC)
    with empty.begin() as db:
        assert [key.last_used_at for key in keys.listed(db)] == [None, None]
        keys.save_last_used(db, {"s-one": used})
        assert [key.last_used_at for key in keys.listed(db)] == [used, None]
    number_all(empty)
    assert [line.subject_id for line in everything(empty)] == ["a"]


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_ids_of_the_timeline_are_never_used_again(database: Database) -> None:
    """SQLite gives the highest id again once its row is gone, unless it is told not to."""
    with database.read() as db:
        for table in ("event", "rejected_delivery"):
            made = db.scalar(text("SELECT sql FROM sqlite_master WHERE name = :name"), {"name": table})
            assert "AUTOINCREMENT" in made


# Several at once, or broken off

UPGRADE = """
import sys
from service.store import schema
from service.store.engine import Database
sys.stdin.readline()
schema.upgrade(Database(sys.argv[1]))
"""


def test_four_processes_may_do_it_at_once(empty_url: str, empty: Database) -> None:
    programs = [
        subprocess.Popen(
            [sys.executable, "-c", UPGRADE, empty_url],
            cwd=CHECKOUT,
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for program in programs:
        assert program.stdin
        program.stdin.write("go\n")
        program.stdin.flush()
    troubles = [program.communicate(timeout=60)[1] for program in programs]
    assert [program.returncode for program in programs] == [0] * 4, troubles
    assert age(empty) is Age.CURRENT
    with empty.read() as db:
        assert db.scalar(text("SELECT count(*) FROM alembic_version")) == 1


AFTER_THE_LAST = """
from alembic import op

revision = "9998"
down_revision = "{head}"
"""
BROKEN = """
def upgrade():
    op.execute("CREATE TABLE half_done (id INTEGER)")
    op.execute("ALTER TABLE api_key ADD COLUMN half_done INTEGER")
    op.execute("INSERT INTO half_done VALUES (1)")
    op.execute("SELECT * FROM nowhere")
"""
OF_NOBODY = (
    "INSERT INTO session_label (session_id, name, value, requested_at) VALUES"
    " ('nobody', 'x', 'x', '2026-03-01T12:00:00.000000Z')"
)
DANGLING = f"""
def upgrade():
    op.execute({OF_NOBODY!r})
"""


def latest(database: Database) -> str:
    """The migration that the database is at."""
    with database.read() as db:
        return str(db.scalar(text("SELECT version_num FROM alembic_version")))


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The migrations, and a last one that the test writes."""
    home = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, home, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(schema, "_HOMES", (home,))
    schema._revisions.cache_clear()
    yield home / "versions" / "9998_broken.py"
    schema._revisions.cache_clear()


@pytest.mark.parametrize("last", [BROKEN, DANGLING], ids=["fails", "breaks a foreign key"])
def test_a_failure_leaves_nothing_half_done(database: Database, broken: Path, last: str) -> None:
    head = latest(database)
    broken.write_text(AFTER_THE_LAST.format(head=head) + last)
    before = names(database)
    with pytest.raises(Exception, match=r"nowhere|foreign key"):
        schema.upgrade(database)
    assert (names(database), latest(database)) == (before, head)
    with database.read() as db:
        assert db.scalar(text("SELECT count(*) FROM event")) == 0
        assert "half_done" not in {column["name"] for column in inspect(db).get_columns("api_key")}
    with pytest.raises(DatabaseError, match=r"(?i)foreign ?key"), database.begin() as db:
        db.execute(text(OF_NOBODY))


def test_a_first_migration_that_fails_leaves_an_empty_database(
    empty: Database, database: Database, broken: Path
) -> None:
    broken.write_text(AFTER_THE_LAST.format(head=latest(database)) + BROKEN)
    with pytest.raises(Exception, match="nowhere"):
        schema.upgrade(empty)
    assert names(empty) <= {"alembic_version"}
    broken.unlink()
    schema.upgrade(empty)
    assert names(empty) == {*tables.metadata.tables, *VIEWS, "alembic_version"}


# Where they come from


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which the wheel was installed."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=CHECKOUT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    target = folder / "installed"
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", str(target)]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True)
    return target


def test_the_installed_wheel_brings_its_migrations_along(
    installed: Path, empty_url: str, empty: Database, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    program = "import service.cli; print(service.cli.__file__); service.cli.main(['db', 'upgrade'])"
    environment = {"PATH": os.defpath, "PYTHONPATH": str(installed), "DATABASE_URL": empty_url}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=elsewhere, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(installed / "service" / "cli.py"), "the schema is current"]
    assert age(empty) is Age.CURRENT
    assert names(empty) == {*tables.metadata.tables, *VIEWS, "alembic_version"}


def test_the_installed_wheel_brings_the_manual_along(installed: Path) -> None:
    there = {path.name for path in (installed / "service" / "_docs").iterdir()}
    assert there == {path.name for path in (CHECKOUT / "docs").iterdir()}


def test_migrations_import_nothing_of_the_service() -> None:
    """They have to work as they did when the service has long become another."""
    for path in MIGRATIONS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not [name for name in modules if name.split(".")[0] == "service"], path
