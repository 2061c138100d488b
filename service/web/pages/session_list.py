"""The page Sessions: found by a filter, or by whatever somebody has in hand."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from flask import request
from pydantic import ValidationError
from werkzeug.wrappers import Response

from service.domain.access import Scope
from service.domain.session import Session
from service.store import session_counts, session_lists, session_search, session_sql
from service.store.session_lists import Filter
from service.store.session_search import Found
from service.web import auth, context
from service.web.cursor import InvalidCursor, ListPages
from service.web.pages import session_csv
from service.web.pages.session_csv import Place
from service.web.pages.shell import HEADERS, go, page, render
from service.web.requests import PRINTABLE, SessionQuery

LONGEST_SEARCH: Final = 400  # a label's name and value, and more
MOST_EXPORTED: Final = 10_000  # rows
LOCAL_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,6})?)?")
TIMES: Final = ("requested_after", "requested_before")
FIELDS: Final = {
    "call_sid": "Call id",
    "reference": "Reference",
    "connector_name": "Connector",
    "account_sid": "Account",
}
OVERDUE: Final = {
    "true": "overdue",
    "false": "not overdue",
    "not_started": "not started in time",
    "no_answer": "no answer in time",
    "not_stopped": "not stopped in time",
    "not_ended": "runs for long",
    "stopped_early": "stopped early",
}


@page("/sessions", scope=Scope.READ)
def session_list() -> Response:
    text = request.args.get("q", "").strip()
    if text:
        return _search(text)
    try:
        query = _query()
        return _list(query)
    except ValidationError as error:
        wrong = [(_field(one["loc"]), one["msg"].removeprefix("Value error, ")) for one in error.errors()]
    except InvalidCursor:
        wrong = [("cursor", "this page is of another list: begin with the newest")]
    return render("pages/sessions.html", 422, **{**_frame(_given()), "wrong": wrong})


@page("/sessions.csv", scope=Scope.READ)
def export_sessions() -> Response:
    """Of what the list shows, all its pages, the newest MOST_EXPORTED; a wrong filter leads to the list."""
    try:
        query = _query()
    except ValidationError:
        return go("/sessions", **_kept(_given()))
    now, fetch = context.current().services.clock(), _fetching(query.filter())
    response = Response(session_csv.lines(fetch, MOST_EXPORTED), content_type="text/csv; charset=utf-8")
    response.headers.update(HEADERS)
    response.headers["Content-Disposition"] = f'attachment; filename="sessions-{now:%Y%m%dT%H%M%SZ}.csv"'
    return response


def _list(query: SessionQuery) -> Response:
    wanted, pages = query.filter(), ListPages(context.current().cursors, "sessions", query.filters())
    before = pages.moment_and_id(query.cursor)
    accounts, database = auth.accounts(), context.current().database
    with database.read() as db:
        counts = session_counts.by_state(db, wanted, accounts)
        found = session_lists.page(db, wanted, accounts, before, query.limit + 1)
    shown, cursor = pages.first_of(found, query.limit, lambda one: (one.requested_at.isoformat(), one.id))
    given = _given()
    return render(
        "pages/sessions.html",
        **_frame(given),
        sessions=shown,
        counts=counts,
        is_counted=session_counts,
        most_counted=session_counts.most_counted(wanted),
        next_cursor=cursor,
        sql=session_sql.of(wanted, accounts, MOST_EXPORTED, is_sqlite=database.is_sqlite),
        most=MOST_EXPORTED,
    )


def _search(text: str) -> Response:
    found = Found()
    with context.current().database.read() as db:
        if (own := own_id(text)) is not None:
            found = session_search.by_id(db, own, auth.accounts())
        if not found.session_ids and len(text) <= LONGEST_SEARCH and re.fullmatch(PRINTABLE[1:-1], text):
            found = session_search.by_text(db, text, auth.accounts())
    anchor = f"#callback-{found.callback_id}" if found.callback_id else ""
    places: list[tuple[str, dict[str, Any], str]] = [
        (f"/sessions/{id}{anchor}", {}, f"Session {id}") for id in found.session_ids
    ]
    places += [("/sessions", *_place_of(one)) for one in found.filters]
    if len(places) == 1:
        path, filters, _ = places[0]
        return go(path, **filters)
    return render("pages/search.html", 200 if places else 404, place="sessions", text=text, places=places)


def _place_of(fits: Filter) -> tuple[dict[str, Any], str]:
    """What the list is narrowed to, and in words."""
    if fits.labels:
        ((name, value),) = fits.labels
        return {"label": f"{name}:{value}"}, f"Sessions with the label {name}: {value}"
    if fits.reference is not None:
        return {"reference": fits.reference}, f"Sessions with the reference {fits.reference}"
    return {"call_sid": fits.call_sid}, f"Sessions on the call {fits.call_sid}"


def own_id(text: str) -> str | None:
    """An id of ours as the ledger writes it; None: it is none."""
    try:
        return str(UUID(text))
    except ValueError:
        return None


def _fetching(wanted: Filter) -> session_csv.FetchPage:
    database, accounts = context.current().database, auth.accounts()

    def fetch(before: Place | None, limit: int) -> Sequence[Session]:
        with database.read() as db:
            return session_lists.page(db, wanted, accounts, before, limit)

    return fetch


def _given() -> dict[str, Any]:
    """What the address says, as the API takes it: a form sends empty fields, and times without a zone."""
    given: dict[str, Any] = {}
    for name, values in request.args.to_dict(flat=False).items():
        filled = tuple(dict.fromkeys(value for value in values if value.strip()))
        if filled and name != "q":
            is_many = name in SessionQuery.model_fields and SessionQuery.model_fields[name].default == ()
            given[name] = filled if is_many else filled[0]
    for name in TIMES:
        if LOCAL_TIME.fullmatch(str(given.get(name, ""))):
            given[name] += f"{'' if given[name].count(':') == 2 else ':00'}Z"
    return given


def _query() -> SessionQuery:
    """Raises ValidationError."""
    return SessionQuery.model_validate(_given())


def _kept(given: Mapping[str, Any], **changed: Any) -> dict[str, Any]:
    """The filter for a link, with these changes; pages begin anew."""
    return {**{name: value for name, value in given.items() if name != "cursor"}, **changed}


def _frame(given: dict[str, Any]) -> dict[str, Any]:
    """What the template needs to draw the filter."""
    shown = {name: value for name, value in given.items() if name not in {"limit", "cursor"}}
    return {
        "place": "sessions",
        "given": given,
        "fields": FIELDS,
        "overdue_words": OVERDUE,
        "kept": lambda **changed: {n: v for n, v in _kept(given, **changed).items() if v not in {None, ()}},
        "is_filtered": bool(shown),
        "is_narrowed": bool(set(shown) - {"state"}),
        "wrong": [],
        "local": lambda name: str(given.get(name, "")).removesuffix("Z"),
    }


def _field(loc: tuple[Any, ...]) -> str:
    return str(loc[0]) if loc else "filter"
