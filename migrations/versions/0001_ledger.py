"""The ledger: keys, sessions, callbacks, the events, what was rejected, and the first two reports."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001.ledger"  # 0.1, which was never released, had an 0001 of its own
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    # In SQLite a time is text, UTC, with six digits and Z.
    moment = sa.DateTime(timezone=True) if is_postgresql else sa.Text()
    sequence = sa.BigInteger() if is_postgresql else sa.Integer()
    labels = postgresql.JSONB() if is_postgresql else sa.JSON()

    op.create_table(
        "api_key",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("name", sa.Text(), nullable=False, unique=True),
        sa.Column("scopes", sa.JSON()),
        sa.Column("accounts", sa.JSON()),
        sa.Column("created_at", moment, nullable=False),
    )

    op.create_table(
        "api_key_secret",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("api_key_id", sa.Text(), sa.ForeignKey("api_key.id"), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("expires_at", moment),
        sa.Column("revoked_at", moment),
    )
    op.create_index("ix_api_key_secret_api_key_id", "api_key_secret", ["api_key_id"])

    op.create_table(
        "session",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("account_sid", sa.Text(), nullable=False),
        sa.Column("call_sid", sa.Text(), nullable=False),
        sa.Column("connector_name", sa.Text()),
        sa.Column("name", sa.Text()),
        sa.Column("track", sa.Text()),
        sa.Column("include_metadata_custom_headers", sa.Boolean()),
        sa.Column("secure", sa.Boolean()),
        sa.Column("session_timeout_secs", sa.Integer()),
        sa.Column("sip_transport", sa.Text()),
        sa.Column("status_callback_method", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text()),
        sa.Column("labels", labels, nullable=False),
        sa.Column("api_key_id", sa.Text(), sa.ForeignKey("api_key.id")),
        sa.Column("idempotency_key", sa.Text()),
        sa.Column("request_digest", sa.LargeBinary()),
        sa.Column("requested_at", moment, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("deadline_at", moment),
        sa.Column("answer", sa.Text()),
        sa.Column("answered_at", moment),
        sa.Column("answer_siprec_sid", sa.Text()),
        sa.Column("answer_error_kind", sa.Text()),
        sa.Column("answer_status", sa.Integer()),
        sa.Column("answer_code", sa.Text()),
        sa.Column("answer_detail", sa.Text()),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("callback_siprec_sid", sa.Text()),
        sa.Column("accepted_at", moment),
        sa.Column("started_at", moment),
        sa.Column("ended_at", moment),
        sa.Column("stop_requested_at", moment),
        sa.Column("stop_requested_by", sa.Text()),
        sa.Column("failure_detail", sa.Text()),
        sa.Column("callbacks", sa.Integer(), nullable=False),
        sa.Column("last_callback_at", moment),
        sa.Column("updated_at", moment, nullable=False),
        sa.Column("merged_into", sa.Text(), sa.ForeignKey("session.id")),
    )
    op.create_index("session_account_sid", "session", ["account_sid", "requested_at", "id"])
    _index_where(
        "session_adopted", "session", ["call_sid", "callback_siprec_sid"], "origin = 'adopted'", unique=True
    )
    op.create_index("session_call_sid", "session", ["call_sid", "requested_at", "id"])
    op.create_index("session_connector_name", "session", ["connector_name", "requested_at", "id"])
    op.create_index("session_reference", "session", ["reference", "requested_at", "id"])
    op.create_index("session_idempotency", "session", ["api_key_id", "idempotency_key"], unique=True)
    op.create_index("session_newest", "session", ["requested_at", "id"])
    _index_where("session_deadline", "session", ["deadline_at"], "deadline_at IS NOT NULL")
    _index_where("session_state", "session", ["state", "requested_at", "id"], "state <> 'stopped'")

    op.create_table(
        "session_attempt",
        sa.Column("session_id", sa.Text(), sa.ForeignKey("session.id"), primary_key=True),
        sa.Column("number", sa.Integer(), primary_key=True),
        sa.Column("actor", sa.Text()),
        sa.Column("asked_at", moment, nullable=False),
        sa.Column("answer", sa.Text()),
        sa.Column("answered_at", moment),
        sa.Column("siprec_sid", sa.Text()),
        sa.Column("error_kind", sa.Text()),
        sa.Column("status", sa.Integer()),
        sa.Column("code", sa.Text()),
        sa.Column("detail", sa.Text()),
    )

    op.create_table(
        "session_label",
        sa.Column("session_id", sa.Text(), sa.ForeignKey("session.id"), primary_key=True),
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("requested_at", moment, nullable=False),
    )
    op.create_index("session_label_newest", "session_label", ["name", "value", "requested_at", "session_id"])

    op.create_table(
        "callback",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("session_id", sa.Text(), sa.ForeignKey("session.id")),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("received_at", moment, nullable=False),
        sa.Column("last_received_at", moment, nullable=False),
        sa.Column("written_at", moment, nullable=False),
        sa.Column("deliveries", sa.Integer(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("query", sa.LargeBinary(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("headers", sa.JSON(), nullable=False),
        sa.Column("verified_by", sa.Text(), nullable=False),
        sa.Column("answered", sa.Integer(), nullable=False),
        sa.Column("spooled_on", sa.Text()),
        sa.Column("event", sa.Text()),
        sa.Column("happened_at", moment),
        sa.Column("time_is_plausible", sa.Boolean(), nullable=False),
        sa.Column("account_sid", sa.Text()),
        sa.Column("call_sid", sa.Text()),
        sa.Column("siprec_sid", sa.Text()),
        sa.Column("error", sa.Text()),
        sa.Column("problem", sa.Text()),
        sa.Column("contradiction", sa.Text()),
    )
    _index_where("callback_problem", "callback", ["id"], "problem IS NOT NULL OR contradiction IS NOT NULL")
    op.create_index("callback_same", "callback", ["session_id", "digest"], unique=True)
    op.create_index("callback_first", "callback", ["session_id", "received_at", "digest"])
    _index_where("callback_same_unmatched", "callback", ["digest"], "session_id IS NULL", unique=True)
    op.create_index("callback_received", "callback", ["received_at"])
    _index_where("callback_unmatched", "callback", ["call_sid", "siprec_sid"], "session_id IS NULL")

    op.create_table(
        "callback_repeat",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("callback_id", sa.Text(), sa.ForeignKey("callback.id"), nullable=False),
        sa.Column("received_at", moment, nullable=False),
        sa.Column("written_at", moment, nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("query", sa.LargeBinary()),
        sa.Column("body", sa.LargeBinary()),
        sa.Column("headers", sa.JSON(), nullable=False),
        sa.Column("verified_by", sa.Text(), nullable=False),
        sa.Column("answered", sa.Integer(), nullable=False),
        sa.Column("spooled_on", sa.Text()),
    )
    op.create_index("ix_callback_repeat_callback_id", "callback_repeat", ["callback_id"])

    op.create_table(
        "event",
        sa.Column("sequence", sequence, primary_key=True),
        sa.Column("subject_kind", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("callback_id", sa.Text()),
        sa.Column("correction", sa.Boolean(), nullable=False),
        sa.Column("changes", sa.JSON(), nullable=False),
        sa.Column("state", sa.Text()),
        sa.Column("account_sid", sa.Text()),
        sa.Column("siprec_sid", sa.Text()),
        sa.Column("happened_at", moment, nullable=False),
        sa.Column("written_at", moment, nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("position", sa.BigInteger()),
        sa.Column("numbered_at", moment),
        sqlite_autoincrement=True,
    )
    _index_where("event_unnumbered", "event", ["sequence"], "position IS NULL")
    op.create_index("event_subject", "event", ["subject_kind", "subject_id", "sequence"])
    op.create_index("event_position", "event", ["position"], unique=True)

    op.create_table(
        "process",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("started_at", moment, nullable=False),
        sa.Column("alive_at", moment, nullable=False),
        sa.Column("spool_oldest_at", moment),
        sa.Column("unavailable_since", moment),
    )

    op.create_table(
        "rejected_delivery",
        sa.Column("sequence", sequence, primary_key=True),
        sa.Column("received_at", moment, nullable=False),
        sa.Column("delivery_id", sa.Text(), nullable=False),
        sa.Column("answered", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("peer", sa.Text()),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("token", sa.Text()),
        sa.Column("query", sa.LargeBinary(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("headers", sa.JSON(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("account_sid", sa.Text()),
        sa.Column("call_sid", sa.Text()),
        sqlite_autoincrement=True,
    )
    op.create_index("rejected_delivery_reason", "rejected_delivery", ["reason", "sequence", "size"])

    op.create_report_view("report_sessions", 1)  # type: ignore[attr-defined]  # env.py makes it
    op.create_report_view("report_callbacks", 1)  # type: ignore[attr-defined]


def _index_where(name: str, table: str, columns: list[str], where: str, *, unique: bool = False) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, unique=unique, postgresql_where=condition, sqlite_where=condition)
