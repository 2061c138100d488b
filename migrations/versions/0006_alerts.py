"""Alerts, and which of their changes are to be sent."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006.alerts"
down_revision = "0005.hosts"
branch_labels = None
depends_on = None


def upgrade() -> None:
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    moment = sa.DateTime(timezone=True) if is_postgresql else sa.Text()

    op.create_table(
        "alert",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("connector_name", sa.Text(), nullable=False),
        sa.Column("account_sid", sa.Text(), nullable=False),
        sa.Column("opened_at", moment, nullable=False),
        sa.Column("updated_at", moment, nullable=False),
        sa.Column("reminded_at", moment),
        sa.Column("acknowledged_at", moment),
        sa.Column("acknowledged_by", sa.Text()),
        sa.Column("ended_at", moment),
        sa.Column("affected", sa.Integer(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("example", sa.Text()),
        sa.Column("notice", sa.Integer(), nullable=False),
        sa.Column("notice_kind", sa.Text(), nullable=False),
        sa.Column("noticed_affected", sa.Integer(), nullable=False),
        sa.Column("noticed_at", moment, nullable=False),
        sa.Column("notice_sent", sa.Integer(), nullable=False),
        sa.Column("notice_tries", sa.Integer(), nullable=False),
        sa.Column("notice_at", moment),
    )
    is_open = sa.text("ended_at IS NULL")
    op.create_index(
        "alert_open",
        "alert",
        ["cause", "connector_name", "account_sid"],
        unique=True,
        sqlite_where=is_open,
        postgresql_where=is_open,
    )
    op.create_index("alert_newest", "alert", ["opened_at", "id"])
    op.create_index("alert_notice", "alert", ["notice_at"])
    # Without foreign keys: their locks would stand in the way of callbacks.
    op.create_table(
        "alert_case",
        sa.Column("session_id", sa.Text(), primary_key=True),
        sa.Column("cause", sa.Text(), primary_key=True),
        sa.Column("connector_name", sa.Text(), nullable=False),
        sa.Column("account_sid", sa.Text(), nullable=False),
        sa.Column("found_at", moment, nullable=False),
    )
    op.create_index(
        "alert_case_recent",
        "alert_case",
        ["cause", "connector_name", "account_sid", "found_at", "session_id"],
    )
    op.create_index("alert_case_found", "alert_case", ["found_at"])
    op.create_table(
        "alert_watch",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
    )
    op.execute("INSERT INTO alert_watch (id, position) SELECT 1, coalesce(max(position), 0) FROM event")
