"""Who is logged in to the page."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007.log_ins"
down_revision = "0006.alerts"
branch_labels = None
depends_on = None


def upgrade() -> None:
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    moment = sa.DateTime(timezone=True) if is_postgresql else sa.Text()

    op.create_table(
        "log_in_link",
        sa.Column("sha256", sa.LargeBinary(), primary_key=True),
        sa.Column("api_key_id", sa.Text(), sa.ForeignKey("api_key.id"), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("expires_at", moment, nullable=False),
        sa.Column("used_at", moment),
    )
    op.create_table(
        "log_in",
        sa.Column("sha256", sa.LargeBinary(), primary_key=True),
        sa.Column("api_key_id", sa.Text(), sa.ForeignKey("api_key.id"), nullable=False),
        sa.Column("secret_id", sa.Text(), sa.ForeignKey("api_key_secret.id")),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("expires_at", moment, nullable=False),
    )
    op.create_index("log_in_expires", "log_in", ["expires_at"])
