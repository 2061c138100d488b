"""Messages about alerts: each change has its number, its row in the database, and its event."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection

from service.domain.access import Accounts
from service.domain.alerts import NoticeKind
from service.store import alerts, events
from service.store.alerts import Alert
from service.store.events import ALERT, Action, AlertEventKind

_KINDS: Final = {
    NoticeKind.OPENED: AlertEventKind.OPENED,
    NoticeKind.ACKNOWLEDGED: AlertEventKind.ACKNOWLEDGED,
    NoticeKind.ENDED: AlertEventKind.ENDED,
}


def acknowledge(
    db: Connection, alert_id: str, accounts: Accounts, actor: str, now: datetime, *, sends: bool
) -> Alert | None:
    """The alert as it is then; the first who acknowledges it stays. None: there is none that is seen."""
    found = alerts.find(db, alert_id, accounts, locks=True)
    if found is None or found.acknowledged_at is not None or found.ended_at is not None:
        return found
    values = {"acknowledged_at": now, "acknowledged_by": actor}
    notify(db, found, NoticeKind.ACKNOWLEDGED, values, actor, now, sends=sends)
    return alerts.find(db, alert_id, accounts)


def notify(
    db: Connection,
    of: Alert,
    kind: NoticeKind,
    values: Mapping[str, Any],
    actor: str,
    now: datetime,
    *,
    sends: bool,
) -> None:
    """Change it, with its next message; what was not sent of before is not sent any more."""
    message = {
        "notice": of.notice + 1,
        "notice_kind": kind,
        "noticed_affected": of.affected,
        "noticed_at": now,
        "notice_tries": 0,
        "notice_at": now if sends else None,
        "updated_at": now,
    }
    alerts.change(db, of.id, {**message, **values})
    write_event(db, of, kind, actor, now)


def write_event(db: Connection, of: Alert, kind: NoticeKind, actor: str, now: datetime) -> None:
    """In the feed: who reads only it knows of alerts, too. Updates and reminders are not."""
    if kind not in _KINDS:
        return
    is_open = kind is NoticeKind.OPENED
    facts: dict[str, tuple[object, object]] = {
        "cause": (None if is_open else of.cause, of.cause),
        "connector_name": (None if is_open else of.connector_name, of.connector_name),
        "calls": (None, of.total),
    }
    events.add_action(db, Action(ALERT, of.id, _KINDS[kind], actor, facts, of.account_sid or None), now)
