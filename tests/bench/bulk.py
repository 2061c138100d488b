"""Fills a database in bulk: COPY on PostgreSQL, executemany on SQLite, indexes made afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Table, text

from service.store.engine import Database

Rows = list[tuple[Any, ...]]  # of values that both drivers take as they are: times and JSON are text

INDEXES = {
    "sqlite": "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL "
    "AND tbl_name = :table",
    "postgresql": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema() "
    "AND tablename = :table AND indexname NOT IN (SELECT conname FROM pg_constraint)",
}


class Filling:
    """One transaction, in `db`."""

    def __init__(self, db: Connection) -> None:
        self.db = db
        self._driver: Any = db.connection.driver_connection

    def add(self, table: Table, columns: Sequence[str], rows: Rows) -> None:
        names = ", ".join(table.c[column].name for column in columns)
        if self.db.dialect.name == "sqlite":
            places = ", ".join("?" * len(columns))
            self._driver.executemany(f"INSERT INTO {table.name} ({names}) VALUES ({places})", rows)
            return
        with self._driver.cursor().copy(f"COPY {table.name} ({names}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)

    @contextmanager
    def indexes_later(self, tables: Sequence[Table]) -> Iterator[None]:
        """It takes a third of the time to make them at the end; they are dropped meanwhile."""
        query = text(INDEXES[self.db.dialect.name])
        found = [row for table in tables for row in self.db.execute(query, {"table": table.name}).all()]
        for name, _ in found:
            self.db.exec_driver_sql(f"DROP INDEX {name}")
        yield
        for _, statement in found:
            self.db.exec_driver_sql(statement)


@contextmanager
def filling(database: Database) -> Iterator[Filling]:
    """A transaction that may take minutes; nothing is left to do in the middle of a slice."""
    with database.patient() as db:
        driver: Any = db.connection.driver_connection
        if database.is_sqlite:
            driver.execute("PRAGMA foreign_keys=OFF")  # the keys are known to fit
            driver.execute("PRAGMA cache_size=-500000")  # KiB
            with db.begin():
                yield Filling(db)
            driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        else:
            with db.begin():
                db.execute(text("SET statement_timeout = 0"))
                db.execute(text("SET session_replication_role = replica"))  # as above
                db.execute(text("SET maintenance_work_mem = '512MB'"))
                yield Filling(db)
            driver.autocommit = True
            driver.execute("VACUUM ANALYZE")
            driver.execute("CHECKPOINT")
