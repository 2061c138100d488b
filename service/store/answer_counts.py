"""How many callbacks the processes say that they answered 200, and how many of those are stored, by period.

A period is what `domain.ids.period_of` makes of a delivery's id.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlalchemy import Column, Connection, Table, case, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from service.domain.ids import period_after, period_of
from service.store.tables import callback, callback_repeat
from service.store.watch_tables import answer_count

MOST_LOOKED_AT: Final = 10_000  # the newest, of first deliveries, and of repeats; else from `at_least` on
DIGITS: Final = len(period_of("0" * 36))
OK: Final = 200


def save(db: Connection, process_id: str, counts: Mapping[str, int]) -> None:
    """Of each of these periods, how many in all."""
    dialect = postgresql if db.dialect.name == "postgresql" else sqlite
    new = dialect.insert(answer_count)
    row = new.excluded
    changed = new.on_conflict_do_update(
        index_elements=[answer_count.c.period, answer_count.c.process_id],
        set_={"answered": row.answered},
        where=answer_count.c.answered != row.answered,
    )
    rows = [{"period": period, "process_id": process_id, "answered": n} for period, n in counts.items()]
    if rows:
        db.execute(changed, rows)


def forget(db: Connection, before: str) -> None:
    """What was counted in earlier periods."""
    db.execute(delete(answer_count).where(answer_count.c.period < before))


def answered(db: Connection, since: str) -> dict[str, int]:
    """As the processes counted, in the periods from this one on."""
    row = answer_count.c
    query = select(row.period, func.sum(row.answered)).where(row.period >= since).group_by(row.period)
    return {period: int(count) for period, count in db.execute(query)}


def stored(db: Connection, since: str, at_least: str) -> tuple[dict[str, int], str]:
    """How many deliveries were answered 200 and are there; and since which period all were looked at.

    Those from the period `at_least` on are, however many they are.
    """
    firsts, firsts_since = _stored(db, callback, since, at_least)
    repeats, repeats_since = _stored(db, callback_repeat, since, at_least)
    whole = max(firsts_since, repeats_since)
    periods = {period for period in (*firsts, *repeats) if period >= whole}
    return {period: firsts.get(period, 0) + repeats.get(period, 0) for period in periods}, whole


def _stored(db: Connection, table: Table, since: str, at_least: str) -> tuple[dict[str, int], str]:
    counts, is_all = _counts(db, table, since, MOST_LOOKED_AT)
    if is_all:
        return counts, since
    whole = period_after(min(counts))  # of the oldest, not all were looked at
    return (counts, whole) if whole <= at_least else (_counts(db, table, at_least)[0], at_least)


def _counts(db: Connection, table: Table, since: str, most: int | None = None) -> tuple[dict[str, int], bool]:
    """By period, of the newest; and whether that was all."""
    id: Column[str] = table.c.id
    found = select(id, table.c.answered).where(id >= since).order_by(id.desc()).limit(most).subquery()
    period = func.substr(found.c.id, 1, DIGITS).label("period")
    is_answered = func.sum(case((found.c.answered == OK, 1), else_=0))
    rows = db.execute(select(period, func.count(), is_answered).group_by(period)).all()
    is_all = most is None or sum(looked_at for _, looked_at, _ in rows) < most
    return {one: int(answered_200) for one, _, answered_200 in rows}, is_all
