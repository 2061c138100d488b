"""How a database would run the statements that some code issues."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, event

INDEX_SCAN = re.compile(r"Index (?:Only )?Scan (?:Backward )?using \S+ on (\w+)")
OF_A_KIND = " (subject_kind=?)"
NARROWED = re.compile(r"Index Cond: (?!\(subject_kind = '\w+'::text\)$)")


@contextmanager
def watched(db: Connection) -> Iterator[list[tuple[str, Any]]]:
    """The statements that are run inside, with their parameters."""
    seen: list[tuple[str, Any]] = []

    def see(_c: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        seen.append((statement, parameters))

    event.listen(db.engine, "before_cursor_execute", see)
    yield seen
    event.remove(db.engine, "before_cursor_execute", see)


def plan(db: Connection, run: Callable[[], object]) -> str:
    with watched(db) as seen:
        run()
    explain = "EXPLAIN" if db.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN"
    return "\n".join(
        str(row[-1])
        for statement, values in seen
        for row in db.exec_driver_sql(f"{explain} {statement}", values)
    )


def is_read_through(found: str, table: str) -> bool:
    """All of the table."""
    lines = found.splitlines()
    return any(f"Seq Scan on {table}" in line or line.strip() == f"SCAN {table}" for line in lines)


def is_index_read_through(found: str, table: str) -> bool:
    """All of one of its indexes, or all that is of one kind of subject: nothing says where to begin."""
    lines = [*found.splitlines(), ""]
    if any(line.strip().startswith(f"SCAN {table} USING") or line.endswith(OF_A_KIND) for line in lines):
        return True
    return any(
        (scan := INDEX_SCAN.search(line)) and scan[1] == table and not NARROWED.search(after)
        for line, after in itertools.pairwise(lines)
    )
