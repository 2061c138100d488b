"""What is due, what is overdue, and what Telnyx says of calls."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004.overdue"
down_revision = "0003.last_used"
branch_labels = None
depends_on = None


def upgrade() -> None:
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    moment = sa.DateTime(timezone=True) if is_postgresql else sa.Text()

    op.create_table(
        "due",
        sa.Column("session_id", sa.Text(), primary_key=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("since", moment, nullable=False),
        sa.Column("next_at", moment, nullable=False),
        sa.Column("tried_at", moment),
    )
    op.create_index("due_next", "due", ["next_at"])
    op.create_table(
        "session_watch",
        sa.Column("session_id", sa.Text(), primary_key=True),  # a foreign key would lock out callbacks here
        sa.Column("requested_at", moment, nullable=False),
        sa.Column("overdue_kind", sa.Text()),
        sa.Column("overdue_since", moment),
        sa.Column("overdue_why", sa.Text()),
        sa.Column("call_status", sa.Text()),
        sa.Column("call_checked_at", moment),
        sa.Column("presumed_ended_at", moment),
        sa.Column("presumed_why", sa.Text()),
    )
    is_overdue = sa.text("overdue_kind IS NOT NULL")
    for name, order in (("session_watch_overdue", "overdue_since"), ("session_watch_newest", "requested_at")):
        op.create_index(
            name,
            "session_watch",
            ["overdue_kind", order, "session_id"],
            sqlite_where=is_overdue,
            postgresql_where=is_overdue,
        )
    op.create_table(
        "watch",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
    )
    op.execute("INSERT INTO watch (id, position) VALUES (1, 0)")
    op.replace_report_view("report_sessions", 1, "0004")  # type: ignore[attr-defined]  # env.py makes it
