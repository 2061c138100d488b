"""Sessions are found by the id that Telnyx gave them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008.sids"
down_revision = "0007.log_ins"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Callbacks change neither column of a session that was started here: they need not keep an index up.
    _index("session_attempt_sid", "session_attempt", "siprec_sid")
    _index("session_callback_sid", "session", "callback_siprec_sid")


def _index(name: str, table: str, column: str) -> None:
    is_given = sa.text(f"{column} IS NOT NULL")
    op.create_index(name, table, [column], sqlite_where=is_given, postgresql_where=is_given)
