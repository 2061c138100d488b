"""The feed: what happened, in one order, for apps that follow it."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

from flask import Blueprint, request

from service.domain.access import Access, Scope
from service.store import feed
from service.store.feed import START, Place, Wanted
from service.web import auth, context, waiting
from service.web.cloud_events import BATCH, EventBatch, EventPage, Page
from service.web.operation import Answer, operation
from service.web.problems import Problem, wrong_field
from service.web.requests import EventQuery, read_time

CURSOR: Final = re.compile(rf"([1-9][0-9]{{0,17}})-([0-9a-f]{{{feed.DIGITS}}})", re.ASCII)
NAMED: Final = {"start": START, "now": None}

blueprint = Blueprint("feed", __name__, url_prefix="/v1/events")
blueprint.before_request(auth.api_key)
blueprint.after_request(context.add_spool_age)


@blueprint.get("")
@operation(
    "listEvents",
    "Follow what happens",
    answers={200: EventPage},
    problems=("ledger-restored",),
    scope=Scope.READ,
    query=EventQuery,
    answer_headers=("Ledger-Next",),
    alternatives={BATCH: EventBatch},
)
def index(query: EventQuery) -> Answer:
    """Every event once, in an order that never changes: go on with `after` set to the `next` of a page.

    Nothing ever appears before what was read. A page may be short, or empty, although there is more: then
    its `next` is not the `after` that was asked with. Events are CloudEvents 1.0. A key that is limited to
    some accounts follows the events of sessions that were theirs then; what is done with keys and evidence
    is for keys with `admin` that are limited to none. 409: the ledger was put back to an earlier state, in
    which the event of this cursor has not happened.

    With `wait` it answers as soon as there is an event, and with those that come in the same moment.

    Who accepts `application/cloudevents-batch+json` gets the events alone; `next` is in `Ledger-Next` too.
    """
    noted, up_to, wanted, access = waiting.noted(), waiting.up_to(), query.wanted(), auth.key().access
    rendered, shared = context.current().rendered, (wanted, access, noted, up_to, query.limit)
    after = _after(query.after) if noted is None else noted
    with context.current().database.read() as db:
        place = feed.place(db, after)
        if up_to is not None and (page := rendered.shared(shared)):
            return _answer(page)
        found = feed.places(db, wanted, access, place.position, query.limit, up_to)
        if query.wait and found.is_end:
            if not found.places:
                _wait(wanted, access, found.until, query.wait)
            elif noted is None:
                waiting.for_more(found.until.position, place)
        page = rendered.page(found, lambda positions: feed.lines(db, positions))
    if found.places:
        rendered.share(shared, page)
    return _answer(page)


def _answer(page: Page) -> Answer:
    headers = {"Ledger-Next": page.next, "Vary": "Accept"}
    if request.accept_mimetypes.best_match(["application/json", BATCH]) == BATCH:
        return Answer(page.events, headers=headers, media_type=BATCH)
    return Answer(page.document, headers=headers)


def _wait(wanted: Wanted, access: Access, until: Place, seconds: int) -> None:
    """For what is behind `until`. Returns where there is no time to wait."""
    waiting.for_events(
        until.position,
        seconds,
        until,
        session_id=wanted.session_id,
        connector_name=wanted.connector_name,
        accounts=access.accounts if wanted.account_sid is None else {wanted.account_sid},
    )


def _after(text: str) -> Place | datetime | None:
    """None: where the feed ends now. Raises Problem."""
    if text in NAMED:
        return NAMED[text]
    if found := CURSOR.fullmatch(text):
        return Place(int(found[1]), found[2])
    try:
        return read_time(text)
    except ValueError:
        expected = "start, now, the next of a page, or a time as RFC 3339 writes it, with a zone"
        raise Problem("invalid-request", errors=[wrong_field("query", "/after", expected)]) from None
