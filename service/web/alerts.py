"""Alerts are listed, and acknowledged by whoever looks after them."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from flask import Blueprint
from pydantic import Field

from service.domain import alerts as rules
from service.domain.access import Scope
from service.domain.causes import Side
from service.ledger import alert_notices
from service.store import alerts, processes
from service.store.alerts import Alert
from service.web import auth, context
from service.web.cursor import ListPages
from service.web.operation import Answer, operation
from service.web.problems import Problem
from service.web.requests import PageQuery
from service.web.responses import Id, Model, Time

LIST: Final = "alerts"

blueprint = Blueprint("alerts", __name__, url_prefix="/v1/alerts")
blueprint.before_request(auth.api_key)


class AlertQuery(PageQuery):
    open: bool | None = Field(default=None, description="true: open ones, false: ended ones; both unless set")


class AlertResponse(Model):
    id: Id
    cause: str = Field(description="a code that never changes its meaning")
    words: str = Field(description="what is the case, in a sentence or two")
    side: Side = Field(description="who has to act")
    what_to_do: str
    link: str = Field(description="the sessions behind it, on the page")
    connector_name: str | None
    account_sid: str | None
    opened_at: Time
    updated_at: Time
    acknowledged_at: Time | None
    acknowledged_by: str | None = Field(description="the name of the API key that did")
    ended_at: Time | None
    affected: int = Field(description="calls, now")
    total: int = Field(description="calls, since it was opened")
    example_session_id: Id | None


class AlertPage(Model):
    alerts: list[AlertResponse]
    next_cursor: str | None = Field(description="for the next page; null on the last")


@blueprint.get("")
@operation(
    "listAlerts",
    "List alerts, newest first",
    answers={200: AlertPage},
    scope=Scope.REPORTS,
    query=AlertQuery,
)
def index(query: AlertQuery) -> Answer:
    """Open and ended ones. A key that is limited to some accounts sees theirs."""
    pages = ListPages(context.current().cursors, LIST, query.filters())
    before = pages.moment_and_id(query.cursor)
    with context.current().database.read() as db:
        found = alerts.page(db, auth.accounts(), query.open, before, query.limit + 1)
    page, cursor = pages.first_of(found, query.limit, lambda one: (one.opened_at.isoformat(), one.id))
    return Answer(AlertPage(alerts=[_shown(one) for one in page], next_cursor=cursor))


@blueprint.post("/<uuid:alert_id>/ack")
@operation(
    "acknowledgeAlert",
    "Acknowledge an alert",
    answers={200: AlertResponse},
    problems=("unknown-alert",),
    scope=Scope.STOP,
)
def acknowledge(alert_id: UUID) -> Answer:
    """Somebody looks after it: nobody is reminded of it any more, but all are told if it grows, and its end.

    Who acknowledged it first stays. It stays open until its cause is gone.
    """
    services, actor = context.current().services, auth.key().name
    with context.current().database.begin() as db:
        found = alert_notices.acknowledge(
            db, str(alert_id), auth.accounts(), actor, processes.now_of(db), sends=services.sends_alerts
        )
    if found is None:
        raise Problem("unknown-alert", "No alert has this id")
    return Answer(_shown(found))


def _shown(alert: Alert) -> AlertResponse:
    cause = rules.of(alert.cause)
    is_over = alert.ended_at is not None
    return AlertResponse(
        id=alert.id,
        cause=alert.cause,
        words=rules.words(alert.subject, alert.affected, alert.total, is_over=is_over),
        side=cause.side,
        what_to_do=cause.what_to_do,
        link=f"{context.current().link_base}{rules.path(alert.subject)}",
        connector_name=alert.connector_name or None,
        account_sid=alert.account_sid or None,
        opened_at=alert.opened_at,
        updated_at=alert.updated_at,
        acknowledged_at=alert.acknowledged_at,
        acknowledged_by=alert.acknowledged_by,
        ended_at=alert.ended_at,
        affected=alert.affected,
        total=alert.total,
        example_session_id=alert.example,
    )
