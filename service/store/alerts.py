"""Alerts, which of their messages are to be sent, and whose turn it is to evaluate them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    insert,
    or_,
    select,
    update,
)

from service.domain.access import Accounts
from service.domain.alerts import Figures, NoticeKind, Subject
from service.store.accounts import sees_alert
from service.store.watch_tables import alert, alert_watch


@dataclass(frozen=True)
class Alert:
    """Times are UTC. `affected` calls now, `total` since it was opened; `example` is a session's id.

    `notice` numbers its messages; `notice_at` is when the latest is to be tried, None once it is sent.
    """

    id: str
    cause: str
    connector_name: str
    account_sid: str
    opened_at: datetime
    updated_at: datetime
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    ended_at: datetime | None
    affected: int
    total: int
    example: str | None
    notice: int
    notice_kind: NoticeKind
    noticed_affected: int
    noticed_at: datetime
    notice_sent: int
    notice_tries: int
    notice_at: datetime | None

    @property
    def subject(self) -> Subject:
        return Subject(self.cause, self.connector_name, self.account_sid)


_COLUMNS: Final = [alert.c[field.name] for field in fields(Alert)]


def take_turn(db: Connection) -> int | None:
    """Up to where failures are cases. Nobody else evaluates until this transaction ends.

    None: somebody does.
    """
    query = select(alert_watch.c.position).with_for_update(skip_locked=True, key_share=True)
    found: int | None = db.scalar(query)
    return found


def position(db: Connection) -> int:
    found: int = db.execute(select(alert_watch.c.position)).scalar_one()
    return found


def move(db: Connection, to: int) -> None:
    db.execute(update(alert_watch).where(alert_watch.c.position < to).values(position=to))


def open_alerts(db: Connection) -> dict[Subject, Alert]:
    found = [_alert(row) for row in db.execute(select(*_COLUMNS).where(alert.c.ended_at.is_(None)))]
    return {one.subject: one for one in found}


def lock_open(db: Connection, subject: Subject) -> Alert | None:
    """The one that is open; nobody else changes it until the transaction ends."""
    query = select(*_COLUMNS).where(is_of(subject), alert.c.ended_at.is_(None))
    row = db.execute(query.with_for_update(key_share=True)).one_or_none()
    return None if row is None else _alert(row)


def find(db: Connection, alert_id: str, accounts: Accounts, *, locks: bool = False) -> Alert | None:
    query = select(*_COLUMNS).where(alert.c.id == alert_id, sees_alert(accounts))
    row = db.execute(query.with_for_update(key_share=True) if locks else query).one_or_none()
    return None if row is None else _alert(row)


def page(
    db: Connection, accounts: Accounts, is_open: bool | None, before: tuple[datetime, str] | None, limit: int
) -> list[Alert]:
    """The newest first, those opened before that place."""
    query = select(*_COLUMNS).where(sees_alert(accounts))
    if is_open is not None:
        query = query.where(alert.c.ended_at.is_(None) if is_open else alert.c.ended_at.is_not(None))
    if before is not None:
        opened_at, alert_id = before
        earlier = and_(alert.c.opened_at == opened_at, alert.c.id < alert_id)
        query = query.where(or_(alert.c.opened_at < opened_at, earlier))
    query = query.order_by(alert.c.opened_at.desc(), alert.c.id.desc()).limit(limit)
    return [_alert(row) for row in db.execute(query)]


def add(db: Connection, new: Alert) -> None:
    db.execute(insert(alert).values({field.name: getattr(new, field.name) for field in fields(Alert)}))


def change(db: Connection, alert_id: str, values: Mapping[str, Any]) -> None:
    db.execute(update(alert).where(alert.c.id == alert_id).values(dict(values)))


def figures_now(db: Connection, alert_id: str, figures: Figures, now: datetime) -> None:
    """Without a message."""
    change(db, alert_id, {"affected": figures.affected, "example": figures.example, "updated_at": now})


def lease_notice(db: Connection, now: datetime, lease: timedelta) -> Alert | None:
    """One whose message is to be sent now; nobody else sends it before the lease is over."""
    due: Select[Any] = select(*_COLUMNS).where(alert.c.notice_at <= now).order_by(alert.c.notice_at).limit(1)
    row = db.execute(due.with_for_update(skip_locked=True, key_share=True)).one_or_none()
    if row is None:
        return None
    found = _alert(row)
    change(db, found.id, {"notice_at": now + lease, "notice_tries": found.notice_tries + 1})
    return found


def next_notice_at(db: Connection) -> datetime | None:
    return db.scalar(
        select(alert.c.notice_at).where(alert.c.notice_at.is_not(None)).order_by(alert.c.notice_at).limit(1)
    )


def notice_sent(db: Connection, sent: Alert) -> None:
    """A later message, which came up meanwhile, is still to be sent."""
    is_it = and_(alert.c.id == sent.id, alert.c.notice_sent < sent.notice)
    db.execute(update(alert).where(is_it).values(notice_sent=sent.notice))
    is_latest = and_(alert.c.id == sent.id, alert.c.notice == sent.notice)
    db.execute(update(alert).where(is_latest).values(notice_at=None, notice_tries=0))


def postpone_notice(db: Connection, failed: Alert, until: datetime | None) -> None:
    """None: it is given up."""
    is_latest = and_(alert.c.id == failed.id, alert.c.notice == failed.notice)
    db.execute(update(alert).where(is_latest).values(notice_at=until))


def is_of(subject: Subject) -> ColumnElement[bool]:
    return and_(*(alert.c[name] == text for name, text in values_of(subject).items()))


def values_of(subject: Subject) -> dict[str, str]:
    names = ("cause", "connector_name", "account_sid")
    return {name: getattr(subject, name) for name in names}


def _alert(row: Row[Any]) -> Alert:
    values = row._asdict()
    return Alert(**{**values, "notice_kind": NoticeKind(values["notice_kind"])})
