"""The reports: of days, failures, causes, changes, attempts and what was rejected."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009.reports"
down_revision = "0008.sids"
branch_labels = None
depends_on = None

# As the views say UTC_DAY, or this index is not used for them.
POSTGRESQL_DAY = "CAST(requested_at AT TIME ZONE 'UTC' AS date)"
SQLITE_DAY = "CAST(substr(requested_at, 1, 10) AS text)"


def upgrade() -> None:
    day = f"({POSTGRESQL_DAY})" if op.get_bind().dialect.name == "postgresql" else SQLITE_DAY
    op.create_index("session_day", "session", ["account_sid", sa.text(day)])
    op.create_report_view("report_causes", 1)  # type: ignore[attr-defined]  # env.py makes it; so the others
    op.replace_report_view("report_sessions", 1, "0009")  # type: ignore[attr-defined]
    op.replace_report_view("report_callbacks", 1, "0009")  # type: ignore[attr-defined]
    for name in ("timeline", "attempts", "rejected", "daily", "failures"):
        op.create_report_view(f"report_{name}", 1)  # type: ignore[attr-defined]
    op.comment_on_report_views("0009")  # type: ignore[attr-defined]
