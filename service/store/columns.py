"""Types of columns that both databases keep the same way, and partial indexes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    DateTime,
    Dialect,
    Index,
    Integer,
    Table,
    Text,
    literal_column,
    text,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeDecorator, TypeEngine

Conversion = Callable[[Any], Any]

SQLITE_NOW: Final = "strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')"  # its clock has milliseconds


@lru_cache(maxsize=1024)  # a batch writes the same few moments many times
def written_out(moment: datetime) -> str:
    """UTC, six digits and Z; its length never changes, so that it sorts."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def read_back(kept: str | datetime) -> datetime:
    """What a driver makes of a kept time, in UTC."""
    moment = datetime.fromisoformat(kept) if isinstance(kept, str) else kept
    return moment if moment.tzinfo is UTC else moment.astimezone(UTC)


class UtcTime(TypeDecorator[datetime]):
    """An aware datetime in UTC; in SQLite, text with six digits and Z, so that it sorts and reads well."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None or dialect.name != "sqlite":
            return value
        return written_out(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else read_back(value)


def database_now(db: Connection) -> ColumnElement[datetime]:
    """Its clock when the transaction began; on SQLite, now."""
    return literal_column("now()" if db.dialect.name == "postgresql" else SQLITE_NOW, UtcTime)


Sequence = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up only an INTEGER
Labels = JSON().with_variant(postgresql.JSONB(), "postgresql")  # analysts group by them


def index_where(name: str, *columns: Column[Any], where: str, unique: bool = False) -> Index:
    """A partial index; SQLite uses it only for a condition in these very words."""
    condition = text(where)
    return Index(name, *columns, unique=unique, sqlite_where=condition, postgresql_where=condition)


def quoted(columns: Iterable[str]) -> str:
    """As a list in SQL."""
    return ", ".join(f'"{name}"' for name in columns)


@cache
def conversions(
    table: Table, columns: tuple[str, ...], of_time: Conversion, of_json: Conversion
) -> list[tuple[int, str, Conversion]]:
    """(place, name, conversion) of the columns whose values no driver knows."""
    by_type = {UtcTime: of_time, JSON: of_json}
    kinds = [(at, name, by_type.get(type(table.c[name].type))) for at, name in enumerate(columns)]
    return [(at, name, conversion) for at, name, conversion in kinds if conversion]
