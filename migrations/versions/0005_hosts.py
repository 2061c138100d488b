"""Each spool's row, and when callbacks were not listened for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005.hosts"
down_revision = "0004.overdue"
branch_labels = None
depends_on = None


def upgrade() -> None:
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    moment = sa.DateTime(timezone=True) if is_postgresql else sa.Text()

    op.create_table(
        "spool",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("seen_at", moment, nullable=False),
        sa.Column("entries", sa.Integer(), nullable=False),
        sa.Column("oldest_at", moment),
        sa.Column("waiting_since", moment),
        sa.Column("dead_letters", sa.Integer(), nullable=False),
        sa.Column("retired_at", moment),
    )
    op.create_table(
        "blind_period",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("host", sa.Text()),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("began_at", moment, nullable=False),
        sa.Column("ended_at", moment, nullable=False),
    )
    op.create_index("blind_period_ended", "blind_period", ["ended_at"])
