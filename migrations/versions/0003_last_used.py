"""When each secret of a key was used last."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003.last_used"
down_revision = "0002.numbering"
branch_labels = None
depends_on = None


def upgrade() -> None:
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    moment = sa.DateTime(timezone=True) if is_postgresql else sa.Text()
    op.add_column("api_key_secret", sa.Column("last_used_at", moment))
