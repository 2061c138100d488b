"""The SQL that makes a role of PostgreSQL which reads the reporting views, and nothing else."""

from __future__ import annotations

import re
from typing import Final

from sqlalchemy import Connection, text

from service.store.columns import quoted

NAME: Final = re.compile(r"(?!pg_)[a-z_][a-z0-9_]{0,62}")  # as nobody has to quote it
MOST_CONNECTIONS: Final = 5
STATEMENT_TIMEOUT: Final = "5min"
IDLE_TIMEOUT: Final = "1min"  # an open transaction keeps VACUUM from what it could see


class NoReports(Exception):
    """The database has none of the reporting views."""

    def __init__(self) -> None:
        super().__init__("the database has no reports yet: run siprec-ledger db upgrade")


def sql(db: Connection, name: str) -> str:
    """Statements that may be run again, as they have to be for views that a later release adds.

    `name` fits NAME. The database, the schema and the views are those that `db`, a PostgreSQL, has now.
    Raises NoReports.
    """
    database, schema = db.execute(text("SELECT current_database(), current_schema()")).one()
    views = db.scalars(_VIEWS).all()
    if not views:
        raise NoReports
    listed = ",\n    ".join(f"{quoted([schema])}.{view}" for view in views)
    return f"""\
-- Makes the role {name}, which may read the reports. To be run by who may make roles, with psql.
-- It sees the sessions of all accounts: PostgreSQL knows nothing of what API keys are limited to.
-- Run it again after an upgrade that adds views.
BEGIN;
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}') THEN
        CREATE ROLE {name} LOGIN CONNECTION LIMIT {MOST_CONNECTIONS};
    END IF;
END $$;
ALTER ROLE {name} SET default_transaction_read_only = on;
ALTER ROLE {name} SET statement_timeout = '{STATEMENT_TIMEOUT}';
ALTER ROLE {name} SET idle_in_transaction_session_timeout = '{IDLE_TIMEOUT}';
GRANT CONNECT ON DATABASE {quoted([database])} TO {name};
GRANT USAGE ON SCHEMA {quoted([schema])} TO {name};
GRANT SELECT ON
    {listed}
TO {name};
COMMIT;
-- It has no password yet. In psql: \\password {name}
"""


_VIEWS: Final = text(
    "SELECT relname FROM pg_class WHERE relkind = 'v' AND relnamespace = current_schema()::regnamespace"
    r" AND relname ~ '^report_\w+_v[0-9]+$' ORDER BY relname"
)
