"""What a reporting view says, asked in plain SQL, in the words in which every export has to say it."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import text

from service.store.engine import Database

Told = dict[str, Any]
TRUTHS = {"secure", "correction"}  # SQLite has no type for them
KEYS = {
    "sessions": ("session_id",),
    "callbacks": ("callback_id",),
    "timeline": ("position", "what"),
    "attempts": ("session_id", "number"),
    "rejected": ("rejected_id",),
    "daily": ("day", "account_sid", "connector_name"),
    "failures": ("day", "account_sid", "connector_name", "cause", "cause_text"),
}


def by_sql(database: Database, name: str) -> list[Told]:
    with database.read() as db:
        rows = db.execute(text(f"SELECT * FROM report_{name}_v1")).mappings().all()
    return in_order(name, [{column: _said(column, value) for column, value in row.items()} for row in rows])


def in_order(name: str, rows: list[Told]) -> list[Told]:
    return sorted(rows, key=lambda row: [str(row[part]) for part in KEYS[name]])


def _said(column: str, value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if isinstance(value, date):
        return value.isoformat()
    if column == "labels":
        return json.loads(value) if isinstance(value, str) else value
    if column == "seconds_recorded":  # a sum, whose last digits hang on the order
        return round(value, 6)
    return bool(value) if column in TRUTHS and value is not None else value
