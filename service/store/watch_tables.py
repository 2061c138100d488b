"""The tables of what did not happen: what is due, hosts, what they answered, alerts; and who is logged in."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, LargeBinary, Table, Text

from service.store.columns import UtcTime, index_where
from service.store.tables import metadata

IS_OVERDUE = "overdue_kind IS NOT NULL"

# What the watch looks at next: which callbacks neither read nor lock.
due = Table(
    "due",
    metadata,
    # No foreign key: it would lock the session's row, if ever so little.
    Column("session_id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("since", UtcTime, nullable=False),  # when the event it runs from was numbered
    Column("next_at", UtcTime, nullable=False),  # in the year 9999: it stays, and is looked at no more
    Column("tried_at", UtcTime),  # when Telnyx was asked for the call, or would have been
)
Index("due_next", due.c.next_at)

session_watch = Table(
    "session_watch",
    metadata,
    Column("session_id", Text, primary_key=True),
    Column("requested_at", UtcTime, nullable=False),  # its session's, so that a list needs no sorting
    Column("overdue_kind", Text),  # null: it is not
    Column("overdue_since", UtcTime),
    Column("overdue_why", Text),
    Column("call_status", Text),  # Telnyx's word
    Column("call_checked_at", UtcTime),
    Column("presumed_ended_at", UtcTime),
    Column("presumed_why", Text),
)
index_where(
    "session_watch_overdue",
    *(session_watch.c[name] for name in ("overdue_kind", "overdue_since", "session_id")),
    where=IS_OVERDUE,
)
index_where(
    "session_watch_newest",
    *(session_watch.c[name] for name in ("overdue_kind", "requested_at", "session_id")),
    where=IS_OVERDUE,
)

# One row: who has locked it looks at what was numbered behind the position.
watch = Table(
    "watch",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("position", BigInteger, nullable=False),
)

spool = Table(
    "spool",
    metadata,
    Column("id", Text, primary_key=True),  # it is kept in the folder too
    Column("host", Text, nullable=False),
    Column("seen_at", UtcTime, nullable=False),
    Column("entries", Integer, nullable=False),
    Column("oldest_at", UtcTime),  # by the host's clock
    Column("waiting_since", UtcTime),  # seen with entries ever since, without a gap; null: it has none
    Column("dead_letters", Integer, nullable=False),
    Column("retired_at", UtcTime),  # somebody said that it never comes back
)

blind_period = Table(
    "blind_period",
    metadata,
    Column("id", Text, primary_key=True),
    Column("host", Text),  # null: nobody listened
    Column("why", Text, nullable=False),
    Column("began_at", UtcTime, nullable=False),
    Column("ended_at", UtcTime, nullable=False),
)
Index("blind_period_ended", blind_period.c.ended_at)

# How many callbacks each process answered 200, of those that it received in a period (`domain.ids`).
answer_count = Table(
    "answer_count",
    metadata,
    Column("period", Text, primary_key=True),
    Column("process_id", Text, primary_key=True),
    Column("answered", Integer, nullable=False),
)

alert = Table(
    "alert",
    metadata,
    Column("id", Text, primary_key=True),
    Column("cause", Text, nullable=False),
    Column("connector_name", Text, nullable=False),  # empty: of none; so is the account
    Column("account_sid", Text, nullable=False),
    Column("opened_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    Column("reminded_at", UtcTime),
    Column("acknowledged_at", UtcTime),
    Column("acknowledged_by", Text),
    Column("ended_at", UtcTime),
    Column("affected", Integer, nullable=False),  # calls, now
    Column("total", Integer, nullable=False),  # calls, since it was opened
    Column("example", Text),  # a session's id
    Column("notice", Integer, nullable=False),  # the number of the latest that is to be sent
    Column("notice_kind", Text, nullable=False),
    Column("noticed_affected", Integer, nullable=False),  # of it
    Column("noticed_at", UtcTime, nullable=False),
    Column("notice_sent", Integer, nullable=False),
    Column("notice_tries", Integer, nullable=False),
    Column("notice_at", UtcTime),  # when it is to be tried next; null: all are sent
)
index_where(
    "alert_open",
    *(alert.c[name] for name in ("cause", "connector_name", "account_sid")),
    where="ended_at IS NULL",
    unique=True,
)
Index("alert_newest", alert.c.opened_at, alert.c.id)
Index("alert_notice", alert.c.notice_at)

# A session that an alert is about, or may soon be. Without foreign keys, whose locks callbacks would meet.
alert_case = Table(
    "alert_case",
    metadata,
    Column("session_id", Text, primary_key=True),
    Column("cause", Text, primary_key=True),
    Column("connector_name", Text, nullable=False),
    Column("account_sid", Text, nullable=False),
    Column("found_at", UtcTime, nullable=False),
)
Index(
    "alert_case_recent",
    *(alert_case.c[name] for name in ("cause", "connector_name", "account_sid", "found_at", "session_id")),
)
Index("alert_case_found", alert_case.c.found_at)

# One row: who has locked it evaluates alerts. Failures up to the position are cases already.
alert_watch = Table(
    "alert_watch",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("position", BigInteger, nullable=False),
)

log_in_link = Table(
    "log_in_link",
    metadata,
    Column("sha256", LargeBinary, primary_key=True),
    Column("api_key_id", Text, ForeignKey("api_key.id"), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime, nullable=False),
    Column("used_at", UtcTime),
)

log_in = Table(
    "log_in",
    metadata,
    Column("sha256", LargeBinary, primary_key=True),  # of what the cookie holds
    Column("api_key_id", Text, ForeignKey("api_key.id"), nullable=False),
    Column("secret_id", Text, ForeignKey("api_key_secret.id")),  # null: by a link
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime, nullable=False),
)
Index("log_in_expires", log_in.c.expires_at)
