"""What the views work with; `service.app` builds it once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from flask import Flask, current_app

from service.control import Control
from service.intake import Intake
from service.store.engine import Database
from service.watch import Watch
from service.web.cursor import Cursors
from service.web.door import Door

_NAME = "siprec-ledger"


@dataclass(frozen=True)
class Parts:
    database: Database
    control: Control
    intake: Intake
    door: Door
    cursors: Cursors
    watch: Watch
    clock: Callable[[], datetime]  # UTC
    account_sid: str | None  # of a start that names none

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
