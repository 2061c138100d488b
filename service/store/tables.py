"""The tables, as SQLAlchemy knows them; `migrations/` is what makes them."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

from service.store.columns import Labels, Sequence, UtcTime, index_where

metadata = MetaData()

HAS_PROBLEM = "problem IS NOT NULL OR contradiction IS NOT NULL"
IS_UNMATCHED = "session_id IS NULL"
IS_NOT_STOPPED = "state <> 'stopped'"

api_key = Table(
    "api_key",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("scopes", JSON(none_as_null=True)),  # null: all but admin
    Column("accounts", JSON(none_as_null=True)),  # null: all
    Column("created_at", UtcTime, nullable=False),
)

api_key_secret = Table(
    "api_key_secret",
    metadata,
    Column("id", Text, primary_key=True),
    Column("api_key_id", Text, ForeignKey("api_key.id"), nullable=False, index=True),
    Column("sha256", LargeBinary, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime),
    Column("revoked_at", UtcTime),
    Column("last_used_at", UtcTime),  # null: never, or before this was written down
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
    Column("labels", Labels, nullable=False),
    # by whom, and how often
    Column("api_key_id", Text, ForeignKey("api_key.id")),
    Column("idempotency_key", Text),
    Column("request_digest", LargeBinary),
    Column("requested_at", UtcTime, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("deadline_at", UtcTime),  # null: no answer is awaited
    # what Telnyx answered last
    Column("answer", Text),
    Column("answered_at", UtcTime),
    Column("answer_siprec_sid", Text),
    Column("answer_error_kind", Text),
    Column("answer_status", Integer),
    Column("answer_code", Text),
    Column("answer_detail", Text),
    # what it all adds up to
    Column("state", Text, nullable=False),
    Column("callback_siprec_sid", Text),  # where it is not the answer's
    Column("accepted_at", UtcTime),
    Column("started_at", UtcTime),
    Column("ended_at", UtcTime),
    Column("stop_requested_at", UtcTime),
    Column("stop_requested_by", Text),
    Column("failure_detail", Text),
    Column("callbacks", Integer, nullable=False),  # distinct ones
    Column("last_callback_at", UtcTime),
    Column("updated_at", UtcTime, nullable=False),
    Column("merged_into", Text, ForeignKey("session.id")),
)

Index("session_idempotency", session.c.api_key_id, session.c.idempotency_key, unique=True)
index_where(
    "session_adopted",
    session.c.call_sid,
    session.c.callback_siprec_sid,
    where="origin = 'adopted'",
    unique=True,
)
Index("session_newest", session.c.requested_at, session.c.id)
for _name in ("call_sid", "account_sid", "connector_name", "reference"):
    Index(f"session_{_name}", session.c[_name], session.c.requested_at, session.c.id)
index_where("session_state", session.c.state, session.c.requested_at, session.c.id, where=IS_NOT_STOPPED)
index_where("session_deadline", session.c.deadline_at, where="deadline_at IS NOT NULL")
index_where("session_callback_sid", session.c.callback_siprec_sid, where="callback_siprec_sid IS NOT NULL")

session_attempt = Table(
    "session_attempt",
    metadata,
    Column("session_id", Text, ForeignKey("session.id"), primary_key=True),
    Column("number", Integer, primary_key=True),  # from 1
    Column("actor", Text),  # the API key's name
    Column("asked_at", UtcTime, nullable=False),
    Column("answer", Text),
    Column("answered_at", UtcTime),
    Column("siprec_sid", Text),
    Column("error_kind", Text),
    Column("status", Integer),
    Column("code", Text),
    Column("detail", Text),
)
index_where("session_attempt_sid", session_attempt.c.siprec_sid, where="siprec_sid IS NOT NULL")

session_label = Table(
    "session_label",
    metadata,
    Column("session_id", Text, ForeignKey("session.id"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Column("requested_at", UtcTime, nullable=False),  # its session's, so that a list needs no sorting
)
Index(
    "session_label_newest",
    session_label.c.name,
    session_label.c.value,
    session_label.c.requested_at,
    session_label.c.session_id,
)

callback = Table(
    "callback",
    metadata,
    Column("id", Text, primary_key=True),  # of the delivery that was written first
    Column("session_id", Text, ForeignKey("session.id")),
    Column("digest", LargeBinary, nullable=False),
    Column("received_at", UtcTime, nullable=False),  # the earliest of its deliveries
    Column("last_received_at", UtcTime, nullable=False),
    Column("written_at", UtcTime, nullable=False),
    Column("deliveries", Integer, nullable=False),
    # the evidence
    Column("method", Text, nullable=False),
    Column("query", LargeBinary, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("headers", JSON, nullable=False),
    Column("verified_by", Text, nullable=False),
    Column("answered", Integer, nullable=False),  # the HTTP status
    Column("spooled_on", Text),  # the host on whose disk it waited
    # what it says, as far as it can be read
    Column("event", Text),
    Column("happened_at", UtcTime),
    Column("time_is_plausible", Boolean, nullable=False),
    Column("account_sid", Text),
    Column("call_sid", Text),
    Column("siprec_sid", Text),
    Column("error", Text),
    Column("problem", Text),  # with itself
    Column("contradiction", Text),  # with its session
)

Index("callback_same", callback.c.session_id, callback.c.digest, unique=True)
index_where("callback_same_unmatched", callback.c.digest, where=IS_UNMATCHED, unique=True)
index_where("callback_unmatched", callback.c.call_sid, callback.c.siprec_sid, where=IS_UNMATCHED)
Index("callback_first", callback.c.session_id, callback.c.received_at, callback.c.digest)
Index("callback_received", callback.c.received_at)
index_where("callback_problem", callback.c.id, where=HAS_PROBLEM)

callback_repeat = Table(
    "callback_repeat",
    metadata,
    Column("id", Text, primary_key=True),
    Column("callback_id", Text, ForeignKey("callback.id"), nullable=False, index=True),
    Column("received_at", UtcTime, nullable=False),
    Column("written_at", UtcTime, nullable=False),
    Column("method", Text, nullable=False),
    Column("query", LargeBinary),  # null: as the callback's; so is the body
    Column("body", LargeBinary),
    Column("headers", JSON, nullable=False),
    Column("verified_by", Text, nullable=False),
    Column("answered", Integer, nullable=False),
    Column("spooled_on", Text),
)

event = Table(
    "event",
    metadata,
    Column("sequence", Sequence, primary_key=True),
    Column("subject_kind", Text, nullable=False),
    Column("subject_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("callback_id", Text),  # of the callback that caused it
    Column("correction", Boolean, nullable=False),  # by what was received earlier than what was known
    Column("changes", JSON, nullable=False),  # fact -> [before, after]
    # what of the session may change later, after it
    Column("state", Text),
    Column("account_sid", Text),
    Column("siprec_sid", Text),
    Column("happened_at", UtcTime, nullable=False),
    Column("written_at", UtcTime, nullable=False),
    Column("digest", LargeBinary, nullable=False),  # SHA-256 of the above but the sequence
    Column("position", BigInteger),  # null until it is numbered
    Column("numbered_at", UtcTime),
)
Index("event_subject", event.c.subject_kind, event.c.subject_id, event.c.sequence)
Index("event_position", event.c.position, unique=True)
index_where("event_unnumbered", event.c.sequence, where="position IS NULL")

# One row: who has locked it gives events their positions.
numbering = Table("numbering", metadata, Column("id", Integer, primary_key=True, autoincrement=False))

process = Table(
    "process",
    metadata,
    Column("id", Text, primary_key=True),
    Column("host", Text, nullable=False),
    Column("started_at", UtcTime, nullable=False),
    Column("alive_at", UtcTime, nullable=False),
    Column("spool_oldest_at", UtcTime),  # null: nothing waits
    Column("unavailable_since", UtcTime),  # when it last found no database; null: it has one
)

rejected_delivery = Table(
    "rejected_delivery",
    metadata,
    Column("sequence", Sequence, primary_key=True),
    Column("received_at", UtcTime, nullable=False),
    Column("delivery_id", Text, nullable=False),
    Column("answered", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("peer", Text),
    Column("method", Text, nullable=False),
    Column("token", Text),
    Column("query", LargeBinary, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("headers", JSON, nullable=False),
    Column("size", Integer, nullable=False),  # bytes of query and body
    Column("account_sid", Text),  # as claimed
    Column("call_sid", Text),
)
# With the size, or adding them up would read all the bodies.
Index("rejected_delivery_reason", *(rejected_delivery.c[name] for name in ("reason", "sequence", "size")))
