"""The row whose lock is held by who numbers events."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002.numbering"
down_revision = "0001.ledger"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table("numbering", sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False))
    op.execute("INSERT INTO numbering (id) VALUES (1)")
