"""What the views work with; `service.app` builds it once."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Flask, current_app

from service.ledger.intake import Intake
from service.ledger.sessions import Sessions
from service.store.engine import Database
from service.web.cursor import Cursors
from service.wiring import Services

_NAME = "siprec-ledger"


@dataclass(frozen=True)
class Context:
    works: Services
    cursors: Cursors
    account_sid: str | None  # of a start that names none

    @property
    def database(self) -> Database:
        return self.works.database

    @property
    def control(self) -> Sessions:
        return self.works.sessions

    @property
    def intake(self) -> Intake:
        return self.works.intake

    def attach(self, app: Flask) -> None:
        app.extensions[_NAME] = self

    @classmethod
    def of(cls, app: Flask) -> Context:
        found = app.extensions[_NAME]
        assert isinstance(found, cls)
        return found


def parts() -> Context:
    """Of the app that serves this request."""
    return Context.of(current_app)
