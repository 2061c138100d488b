"""The ledger: keys, sessions, callbacks, the timeline, the quarantine, and the first two reports."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    # In SQLite a time is text, UTC, with six digits and Z.
    moment = sa.DateTime(timezone=True) if is_postgresql else sa.Text()
    sequence = sa.BigInteger() if is_postgresql else sa.Integer()

    op.create_table(
        "api_key",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("name", sa.Text(), nullable=False, unique=True),
        sa.Column("secret_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("revoked_at", moment),
    )

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
        sa.Column("labels", sa.JSON(), nullable=False),
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
        sa.Column("failure_detail", sa.Text()),
        sa.Column("updated_at", moment, nullable=False),
        sa.Column("merged_into", sa.Text(), sa.ForeignKey("session.id")),
    )
    op.create_index("session_idempotency", "session", ["api_key_id", "idempotency_key"], unique=True)
    _index_where(
        "session_adopted",
        "session",
        ["account_sid", "call_sid", "callback_siprec_sid"],
        "origin = 'adopted'",
        unique=True,
    )
    op.create_index("session_newest", "session", ["requested_at", "id"])
    op.create_index("session_call", "session", ["call_sid", "requested_at"])
    op.create_index("session_reference", "session", ["reference", "requested_at"])
    _index_where("session_deadline", "session", ["deadline_at"], "answer IS NULL")
    if is_postgresql:
        op.execute("CREATE INDEX session_labels ON session USING gin (CAST(labels AS jsonb) jsonb_path_ops)")

    op.create_table(
        "callback",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("session_id", sa.Text(), sa.ForeignKey("session.id")),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("received_at", moment, nullable=False),
        sa.Column("deliveries", sa.Integer(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("query", sa.LargeBinary(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("headers", sa.JSON(), nullable=False),
        sa.Column("verified_by", sa.Text(), nullable=False),
        sa.Column("event", sa.Text()),
        sa.Column("happened_at", moment),
        sa.Column("account_sid", sa.Text()),
        sa.Column("call_sid", sa.Text()),
        sa.Column("siprec_sid", sa.Text()),
        sa.Column("error", sa.Text()),
        sa.Column("problem", sa.Text()),
        sa.Column("contradiction", sa.Text()),
    )
    op.create_index("callback_same", "callback", ["session_id", "digest"], unique=True)
    _index_where("callback_same_stray", "callback", ["digest"], "session_id IS NULL", unique=True)

    _index_where("callback_problem", "callback", ["id"], "problem IS NOT NULL OR contradiction IS NOT NULL")

    op.create_table(
        "callback_repeat",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("callback_id", sa.Text(), sa.ForeignKey("callback.id"), nullable=False),
        sa.Column("received_at", moment, nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("query", sa.LargeBinary(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("headers", sa.JSON(), nullable=False),
        sa.Column("verified_by", sa.Text(), nullable=False),
    )
    op.create_index("ix_callback_repeat_callback_id", "callback_repeat", ["callback_id"])

    op.create_table(
        "event",
        sa.Column("sequence", sequence, primary_key=True),
        sa.Column("session_id", sa.Text(), sa.ForeignKey("session.id"), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("changes", sa.JSON(), nullable=False),
        sa.Column("happened_at", moment, nullable=False),
        sa.Column("written_at", moment, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_event_session_id", "event", ["session_id"])

    op.create_table(
        "rejected_delivery",
        sa.Column("sequence", sequence, primary_key=True),
        sa.Column("received_at", moment, nullable=False),
        sa.Column("delivery_id", sa.Text(), nullable=False),
        sa.Column("answered", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("token", sa.Text()),
        sa.Column("query", sa.LargeBinary(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("headers", sa.JSON(), nullable=False),
        sqlite_autoincrement=True,
    )

    op.create_report_view("report_sessions", 1)  # type: ignore[attr-defined]  # env.py makes it
    op.create_report_view("report_callbacks", 1)  # type: ignore[attr-defined]


def _index_where(name: str, table: str, columns: list[str], where: str, *, unique: bool = False) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, unique=unique, postgresql_where=condition, sqlite_where=condition)
