"""A list of sessions as CSV, for spreadsheets: the columns of the SQL that is shown beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from service.domain.session import Session
from service.exports.formats import BYTE_ORDER_MARK, csv_of
from service.exports.formula import no_formula
from service.store.columns import written_out
from service.store.json import canonical_json
from service.store.session_sql import COLUMNS
from service.web import responses

ROWS_AT_ONCE: Final = 250

Place = tuple[datetime, str]
# The sessions behind that place, so many at most.
FetchPage = Callable[[Place | None, int], Sequence[Session]]


def lines(fetch: FetchPage, limit: int) -> Iterator[str]:
    """Page by page; the first is fetched at once. The last line says how many rows there are, and if all."""
    first = fetch(None, min(ROWS_AT_ONCE, limit + 1))
    return _lines(first, fetch, limit)


def _lines(found: Sequence[Session], fetch: FetchPage, limit: int) -> Iterator[str]:
    yield BYTE_ORDER_MARK + _written([COLUMNS])
    count = 0
    while found:
        page = found[: limit - count]
        count += len(page)
        yield _written([_row(one) for one in page])
        if count == limit:
            found = found[len(page) :] or fetch(_place(page[-1]), 1)
            break
        found = fetch(_place(page[-1]), ROWS_AT_ONCE)
    end = f"# rows: {count}"
    yield _written([[f"{end}, the newest; there are more" if found else end]])


def _place(session: Session) -> Place:
    return session.requested_at, session.id


def _written(rows: Sequence[Sequence[Any]]) -> str:
    return csv_of(rows).decode()


def _row(session: Session) -> list[str]:
    members, error = responses.session_members(session), session.progress.error
    watched = session.watched
    overdue = watched.overdue.facts() if watched.overdue else {}
    values = members | {
        "session_id": session.id,
        "error_kind": error.kind if error else None,
        "error_detail": error.detail if error else None,
        **{f"overdue_{name}": overdue.get(name) for name in ("kind", "since", "why")},
        "presumed_ended_at": watched.presumed_ended_at,
        "presumed_why": watched.presumed_why,
    }
    return [_cell(values[name]) for name in COLUMNS]


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return written_out(value)
    return no_formula(value if isinstance(value, str) else canonical_json(value))
