"""The tables, as SQLAlchemy knows them; `migrations/` is what makes them."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
)
from sqlalchemy.types import TypeDecorator, TypeEngine

metadata = MetaData()


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


Sequence = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up only an INTEGER

api_key = Table(
    "api_key",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("secret_sha256", LargeBinary, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("revoked_at", UtcTime),
)

session = Table(
    "session",
    metadata,
    Column("id", Text, primary_key=True),
    Column("origin", Text, nullable=False),
    # what was asked
    Column("account_sid", Text, nullable=False),
    Column("call_sid", Text, nullable=False),
    Column("connector_name", Text),
    Column("name", Text),
    Column("track", Text),
    Column("include_metadata_custom_headers", Boolean),
    Column("secure", Boolean),
    Column("session_timeout_secs", Integer),
    Column("sip_transport", Text),
    Column("status_callback_method", Text, nullable=False),
    Column("reference", Text),
    Column("labels", JSON, nullable=False),
    # by whom, and how often
    Column("api_key_id", Text, ForeignKey("api_key.id")),
    Column("idempotency_key", Text),
    Column("request_digest", LargeBinary),
    Column("requested_at", UtcTime, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("deadline_at", UtcTime),
    # what Telnyx answered
    Column("answer", Text),
    Column("answered_at", UtcTime),
    Column("answer_siprec_sid", Text),
    Column("answer_error_kind", Text),
    Column("answer_status", Integer),
    Column("answer_code", Text),
    Column("answer_detail", Text),
    # what it all adds up to
    Column("state", Text, nullable=False),
    Column("callback_siprec_sid", Text),
    Column("accepted_at", UtcTime),
    Column("started_at", UtcTime),
    Column("ended_at", UtcTime),
    Column("stop_requested_at", UtcTime),
    Column("failure_detail", Text),
    Column("updated_at", UtcTime, nullable=False),
    Column("merged_into", Text, ForeignKey("session.id")),
)

Index("session_idempotency", session.c.api_key_id, session.c.idempotency_key, unique=True)
Index(
    "session_adopted",
    session.c.account_sid,
    session.c.call_sid,
    session.c.callback_siprec_sid,
    unique=True,
    sqlite_where=text("origin = 'adopted'"),
    postgresql_where=text("origin = 'adopted'"),
)
Index("session_newest", session.c.requested_at, session.c.id)
Index("session_call", session.c.call_sid, session.c.requested_at)
Index("session_reference", session.c.reference, session.c.requested_at)
Index(
    "session_deadline",
    session.c.deadline_at,
    sqlite_where=text("answer IS NULL"),
    postgresql_where=text("answer IS NULL"),
)

callback = Table(
    "callback",
    metadata,
    Column("id", Text, primary_key=True),  # its first delivery's
    Column("session_id", Text, ForeignKey("session.id")),
    Column("digest", LargeBinary, nullable=False),
    Column("received_at", UtcTime, nullable=False),
    Column("deliveries", Integer, nullable=False),
    # the evidence
    Column("method", Text, nullable=False),
    Column("query", LargeBinary, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("headers", JSON, nullable=False),
    Column("verified_by", Text, nullable=False),
    # what it says, as far as it can be read
    Column("event", Text),
    Column("happened_at", UtcTime),
    Column("account_sid", Text),
    Column("call_sid", Text),
    Column("siprec_sid", Text),
    Column("error", Text),
    Column("problem", Text),  # with itself
    Column("contradiction", Text),  # with its session
)

Index("callback_same", callback.c.session_id, callback.c.digest, unique=True)
Index(
    "callback_same_stray",
    callback.c.digest,
    unique=True,
    sqlite_where=text("session_id IS NULL"),
    postgresql_where=text("session_id IS NULL"),
)

_HAS_PROBLEM = text("problem IS NOT NULL OR contradiction IS NOT NULL")
Index("callback_problem", callback.c.id, sqlite_where=_HAS_PROBLEM, postgresql_where=_HAS_PROBLEM)

repeat = Table(
    "callback_repeat",
    metadata,
    Column("id", Text, primary_key=True),
    Column("callback_id", Text, ForeignKey("callback.id"), nullable=False, index=True),
    Column("received_at", UtcTime, nullable=False),
    Column("method", Text, nullable=False),
    Column("query", LargeBinary, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("headers", JSON, nullable=False),
    Column("verified_by", Text, nullable=False),
)

event = Table(
    "event",
    metadata,
    Column("sequence", Sequence, primary_key=True),
    Column("session_id", Text, ForeignKey("session.id"), nullable=False, index=True),
    Column("state", Text, nullable=False),  # after it
    Column("changes", JSON, nullable=False),  # fact -> [before, after]
    Column("happened_at", UtcTime, nullable=False),
    Column("written_at", UtcTime, nullable=False),
)

refused = Table(
    "rejected_delivery",
    metadata,
    Column("sequence", Sequence, primary_key=True),
    Column("received_at", UtcTime, nullable=False),
    Column("delivery_id", Text, nullable=False),
    Column("answered", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("token", Text),
    Column("query", LargeBinary, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("headers", JSON, nullable=False),
)
