"""Sessions are looked for by whatever somebody has in hand: an id of any kind, a reference, a label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, bindparam, select, union

from service.domain.access import Accounts
from service.store import session_lists
from service.store.accounts import sees_session
from service.store.session_lists import Filter
from service.store.tables import callback, callback_repeat, session, session_attempt

MOST_OF_A_SID = 20  # sessions


@dataclass(frozen=True)
class Found:
    """What a text leads to: sessions themselves, by id, and filters that it fits."""

    session_ids: tuple[str, ...] = ()
    callback_id: str | None = None  # of one of the session's, where that is what was looked for
    filters: tuple[Filter, ...] = ()


def by_id(db: Connection, wanted: str, accounts: Accounts) -> Found:
    """`wanted` is an id of ours: of a session, of a callback, or of any of its deliveries."""
    if db.scalar(_of_accounts(accounts), {"wanted": wanted}):
        return Found((wanted,))
    callback_id = db.scalar(_REPEAT, {"wanted": wanted}) or wanted
    session_id = db.scalar(_CALLBACK, {"wanted": callback_id})
    if session_id is None or not db.scalar(_of_accounts(accounts), {"wanted": session_id}):
        return Found()
    return Found((session_id,), callback_id)


def by_text(db: Connection, wanted: str, accounts: Accounts) -> Found:
    """`wanted` is whole: nothing is found by a part of it."""
    name, colon, value = wanted.partition(":")
    filters = [Filter(call_sid=wanted), Filter(reference=wanted)]
    if colon and name and value:
        filters.append(Filter(labels=((name, value),)))
    fits = [one for one in filters if session_lists.page(db, one, accounts, None, 1)]
    of_sid = db.scalars(_SIDS, {"wanted": wanted, "most": MOST_OF_A_SID}).all()
    # One by one: asked for together, SQLite begins with all sessions of the accounts. As they stand today:
    # one that was merged into another is found where it went.
    living = _of_accounts(accounts).where(session.c.merged_into.is_(None))
    known = [one for one in sorted(of_sid, reverse=True) if db.scalar(living, {"wanted": one})]
    return Found(tuple(known), filters=tuple(fits))


def _of_accounts(accounts: Accounts) -> Select[Any]:
    return _SESSION.where(sees_session(accounts))


_SESSION = select(session.c.id).where(session.c.id == bindparam("wanted"))
_CALLBACK = select(callback.c.session_id).where(callback.c.id == bindparam("wanted"))
_REPEAT = select(callback_repeat.c.callback_id).where(callback_repeat.c.id == bindparam("wanted"))
_SIDS = union(
    select(session_attempt.c.session_id.label("id")).where(
        session_attempt.c.siprec_sid == bindparam("wanted")
    ),
    select(session.c.id).where(session.c.callback_siprec_sid == bindparam("wanted")),
).limit(bindparam("most"))
