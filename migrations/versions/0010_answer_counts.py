"""How many callbacks each process answered 200, held against those that are stored."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010.answer_counts"
down_revision = "0009.reports"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "answer_count",
        sa.Column("period", sa.Text(), primary_key=True),
        sa.Column("process_id", sa.Text(), primary_key=True),
        sa.Column("answered", sa.Integer(), nullable=False),
    )
