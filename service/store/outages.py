"""What fails without being an outage: callbacks do not need it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy.exc import OperationalError, ProgrammingError

from service.store.errors import DatabaseUnready, describe

SQLITE_MISSING: Final = "no such "  # table, or column


@contextmanager
def no_outage() -> Iterator[None]:
    """Inside, a table, a column or a grant that is missing raises DatabaseUnready, and stops nothing else."""
    try:
        yield
    except (ProgrammingError, OperationalError) as error:
        if isinstance(error, ProgrammingError) or SQLITE_MISSING in str(error.orig):
            raise DatabaseUnready(describe(error.orig or error)) from error
        raise
