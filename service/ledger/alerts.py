"""What opens alerts, keeps them up to date, and ends them: by one process at a time."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from service.domain import alerts as rules
from service.domain import causes
from service.domain.alerts import WINDOW, Figures, NoticeKind, Subject
from service.domain.ids import new_id
from service.ledger.alert_notices import notify, write_event
from service.store import alert_cases, alerts, feed
from service.store.alert_cases import Case
from service.store.alerts import Alert
from service.store.engine import Database
from service.store.events import WATCH

# A transaction holds SQLite's write lock; callbacks get their turn between two.
MOST_IN_TRANSACTION: Final = 20
PAUSE_SECONDS: Final = 0.02
SAVE_EVERY: Final = 1000  # positions, where nothing failed


class Evaluation:
    """Of this process; whose turn it is, the database decides. `sends`: somebody is told of alerts.

    A process that dies leaves nothing behind but what is committed: cases are found again from the saved
    position, and each counts once.
    """

    def __init__(self, database: Database, *, sends: bool) -> None:
        self._database = database
        self._sends = sends
        self._position = 0  # up to here this process, or another, has made cases of failures

    def run(self, now: datetime) -> None:
        """`now` is UTC, by the database's clock. Raises DatabaseError."""
        while not self._find_failures(now):
            time.sleep(PAUSE_SECONDS)
        self._find_overdue(now)
        self._decide(now)
        self._forget(now)

    def _find_failures(self, now: datetime) -> bool:
        """Whether that was all."""
        with self._database.read() as db:
            saved, last = alerts.position(db), feed.last(db).position
            known = max(saved, self._position)
            after = saved if known > last else known  # the database was put back to an earlier state
            until = min(last, after + alert_cases.MOST_EVENTS)
            ids = alert_cases.failures(db, after, until, now - WINDOW) if until > after else []
            cases = [
                Case(
                    one.id,
                    Subject(
                        causes.of_error(error).code, one.order.connector_name or "", one.order.account_sid
                    ),
                )
                for one in alert_cases.failed_sessions(db, ids)
                if one.merged_into is None and (error := one.progress.error) is not None
            ]
        is_saved = self._add(cases, now) if cases else True
        if is_saved and (cases or until - saved >= SAVE_EVERY):
            with self._database.begin() as db:
                alerts.move(db, until)
        if is_saved:
            self._position = until
        return until == last or not is_saved

    def _find_overdue(self, now: datetime) -> None:
        with self._database.read() as db:
            cases = []
            for group in alert_cases.overdue_groups(db):
                code = _code(group)
                if code is not None:
                    subject = Subject(code, group.connector_name, group.account_sid)
                    cases += [Case(id, subject) for id in alert_cases.overdue_ids(db, group, code)]
        self._add(cases, now)

    def _add(self, cases: list[Case], now: datetime) -> bool:
        """False: it is somebody else's turn, who finds them too."""
        for start in range(0, len(cases), MOST_IN_TRANSACTION):
            if start:
                time.sleep(PAUSE_SECONDS)
            with self._database.begin() as db:
                if alerts.take_turn(db) is None:
                    return False
                alert_cases.add_cases(db, cases[start : start + MOST_IN_TRANSACTION], now)
        return True

    def _decide(self, now: datetime) -> None:
        with self._database.read() as db:
            found = _figures(db, now)
            known = alerts.open_alerts(db)
        changes = [
            subject
            for subject in dict.fromkeys([*known, *found])
            if _is_change(subject, known.get(subject), found.get(subject, Figures()), now)
        ]
        for subject in changes:
            with self._database.begin() as db:
                if alerts.take_turn(db) is None:
                    return
                # As it stands now, and locked, or who acknowledges it may number a message as we do.
                standing = alerts.lock_open(db, subject)
                self._apply(db, subject, standing, found.get(subject, Figures()), now)

    def _apply(
        self, db: Connection, subject: Subject, standing: Alert | None, figures: Figures, now: datetime
    ) -> None:
        if standing is None:
            if rules.is_to_open(subject.cause, figures):
                self._open(db, subject, figures, now)
        elif rules.is_to_end(figures):
            notify(
                db,
                standing,
                NoticeKind.ENDED,
                {"ended_at": now, "affected": 0},
                WATCH,
                now,
                sends=self._sends,
            )
        else:
            alerts.figures_now(db, standing.id, figures, now)
            if (kind := _notice(standing, figures, now)) is not None:
                changed = replace(standing, affected=figures.affected)
                notify(db, changed, kind, {}, WATCH, now, sends=self._sends)

    def _open(self, db: Connection, subject: Subject, figures: Figures, now: datetime) -> None:
        new = Alert(
            id=new_id(),
            cause=subject.cause,
            connector_name=subject.connector_name,
            account_sid=subject.account_sid,
            opened_at=now,
            updated_at=now,
            acknowledged_at=None,
            acknowledged_by=None,
            ended_at=None,
            affected=figures.affected,
            total=alert_cases.count_cases(db, subject),  # further ones are added as they are found
            example=figures.example,
            notice=1,
            notice_kind=NoticeKind.OPENED,
            noticed_affected=figures.affected,
            noticed_at=now,
            notice_sent=0,
            notice_tries=0,
            notice_at=now if self._sends else None,
        )
        alerts.add(db, new)
        write_event(db, new, NoticeKind.OPENED, WATCH, now)

    def _forget(self, now: datetime) -> None:
        with self._database.read() as db:
            old = alert_cases.old_cases(db, now - WINDOW)
        for start in range(0, len(old), MOST_IN_TRANSACTION):
            with self._database.begin() as db:
                alert_cases.delete_cases(db, old[start : start + MOST_IN_TRANSACTION])
            time.sleep(PAUSE_SECONDS)


def _figures(db: Connection, now: datetime) -> dict[Subject, Figures]:
    since = now - WINDOW
    recent = alert_cases.recent_cases(db, since)
    # What is overdue is affected while it is; of failures, those of the last minutes are.
    found = {
        subject: Figures(0 if rules.is_overdue(subject.cause) else count, count, example=example)
        for subject, (count, example) in recent.items()
    }
    for group in alert_cases.overdue_groups(db):
        if (code := _code(group)) is not None:
            subject = Subject(code, group.connector_name, group.account_sid)
            before = found.get(subject, Figures())
            found[subject] = replace(before, affected=before.affected + group.count, example=group.example)
    for subject, figures in found.items():
        if 0 < figures.recent < rules.FEWEST:
            found[subject] = replace(figures, started=alert_cases.started(db, subject, since))
    return found


def _code(group: alert_cases.OverdueGroup) -> str | None:
    return rules.of_overdue(group.kind, is_unknown=group.is_unknown, is_call_live=group.is_call_live)


def _is_change(subject: Subject, known: Alert | None, figures: Figures, now: datetime) -> bool:
    if known is None:
        return rules.is_to_open(subject.cause, figures)
    return figures.affected != known.affected or _notice(known, figures, now) is not None


def _notice(standing: Alert, figures: Figures, now: datetime) -> NoticeKind | None:
    return rules.next_notice(
        figures,
        noticed_affected=standing.noticed_affected,
        noticed_at=standing.noticed_at,
        is_acknowledged=standing.acknowledged_at is not None,
        now=now,
    )
