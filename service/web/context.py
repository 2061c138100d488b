"""What the views work with; `service.app` builds it once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from flask import Flask, Response, current_app, url_for

from service.canary.mark import CanaryKeys
from service.ledger.sessions import Sessions
from service.store.engine import Database
from service.web.cloud_events import Rendered
from service.web.cursor import Cursors
from service.web.recent_conditions import RecentConditions
from service.web.recent_keys import RecentKeys
from service.wiring import Services

NAME: Final = "siprec-ledger"


@dataclass(frozen=True)
class Context:
    services: Services
    cursors: Cursors
    canary_keys: CanaryKeys
    account_sid: str | None  # of a start that names none
    url: str  # where apps reach us; "/" where only they know
    link_base: str  # stands before the paths in links; empty: whoever follows one has reached us already
    has_inside: bool  # a listener of its own for all but callbacks
    rendered: Rendered  # under the public URL, which names this ledger wherever apps reach it
    metrics_token: str | None = None  # opens /metrics, and nothing else
    conditions: RecentConditions = field(default_factory=RecentConditions)
    recent_keys: RecentKeys = field(default_factory=RecentKeys)

    @property
    def database_url(self) -> str:
        """A secret."""
        return self.services.database_url

    @property
    def database(self) -> Database:
        return self.services.database

    @property
    def sessions(self) -> Sessions:
        return self.services.sessions

    def attach(self, app: Flask) -> None:
        app.extensions[NAME] = self


def current() -> Context:
    """Of the app that serves this request."""
    context = current_app.extensions[NAME]
    assert isinstance(context, Context)
    return context


def link(endpoint: str, **arguments: Any) -> str:
    """The address of a view: a path, or all of it where INTERNAL_URL says what stands before."""
    return current().link_base + url_for(endpoint, **arguments)


def add_spool_age(response: Response) -> Response:
    """Who reads shall know of callbacks that wait to be written, and are not shown yet."""
    depth = current().services.backlog.depth()
    if depth is not None and depth.age is not None:
        response.headers["Ledger-Spool-Age"] = f"{depth.age:.3f}"
    return response
