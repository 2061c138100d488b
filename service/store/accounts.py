"""What a key that is limited to some accounts may see, as conditions of queries."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, exists, func, literal, or_, select, true

from service.domain.access import Accounts
from service.store.tables import api_key, callback, session
from service.store.watch_tables import alert

BY_TOKEN = "token"  # noqa: S105  (what vouches for a callback that nobody signed)


def sees_session(accounts: Accounts) -> ColumnElement[bool]:
    """Those of its accounts."""
    return true() if accounts is None else session.c.account_sid.in_(sorted(accounts))


def sees_callback(accounts: Accounts) -> ColumnElement[bool]:
    """Those of its accounts' sessions; of no session, those that Telnyx signed with its accounts' ids.

    Nobody signs the query of a GET, whoever signed its body.
    """
    if accounts is None:
        return true()
    is_signed = and_(callback.c.verified_by != BY_TOKEN, callback.c.method == "POST")
    own = sorted(accounts)
    # Asked of each callback by itself: joined, a database may begin with all sessions.
    of_session = select(session.c.account_sid).where(session.c.id == callback.c.session_id).scalar_subquery()
    is_unmatched = callback.c.session_id.is_(None)
    return or_(of_session.in_(own), and_(is_unmatched, is_signed, callback.c.account_sid.in_(own)))


def sees_alert(accounts: Accounts) -> ColumnElement[bool]:
    """Those of its accounts; not those of no account."""
    return true() if accounts is None else alert.c.account_sid.in_(sorted(accounts))


def sees_key(db: Connection, accounts: Accounts) -> ColumnElement[bool]:
    """Keys that reach no account beyond its own."""
    if accounts is None:
        return true()
    each: Any = func.json_each if db.dialect.name == "sqlite" else func.json_array_elements_text
    reached = each(api_key.c.accounts).table_valued("value")
    beyond = exists(literal(1)).select_from(reached).where(reached.c.value.not_in(sorted(accounts)))
    return and_(api_key.c.accounts.is_not(None), ~beyond)
