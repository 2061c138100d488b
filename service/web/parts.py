"""What the views work with; `service.app` builds it once."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Flask, current_app

from service.assembly import Assembly
from service.control import Control
from service.intake import Intake
from service.store.engine import Database
from service.web.cursor import Cursors
from service.web.door import Door

_NAME = "siprec-ledger"


@dataclass(frozen=True)
class Parts:
    works: Assembly
    door: Door
    cursors: Cursors
    account_sid: str | None  # of a start that names none

    @property
    def database(self) -> Database:
        return self.works.database

    @property
    def control(self) -> Control:
        return self.works.control

    @property
    def intake(self) -> Intake:
        return self.works.intake

    def attach(self, app: Flask) -> None:
        app.extensions[_NAME] = self

    @classmethod
    def of(cls, app: Flask) -> Parts:
        found = app.extensions[_NAME]
        assert isinstance(found, cls)
        return found


def parts() -> Parts:
    """Of the app that serves this request."""
    return Parts.of(current_app)
