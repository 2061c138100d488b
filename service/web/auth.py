"""Who may come in. Every blueprint names one of these; a test sees to it."""

from __future__ import annotations

from typing import Final

from flask import g, request

from service.store import keys
from service.store.keys import ApiKey
from service.web import context
from service.web.problems import Problem

CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="siprec-ledger"'}


def api_key() -> None:
    """Apps: a key in force, as `Authorization: Bearer`. DatabaseUnavailable at once while nothing answers."""
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not text.strip():
        raise Problem("key-missing", "Send Authorization: Bearer <key>", headers=CHALLENGE)
    services = context.current().services
    with services.database.read() as db:
        found = keys.recognise(db, text.strip(), services.clock())
    if found is None:
        raise Problem("key-unknown", "siprec-ledger keys list shows which are in force", headers=CHALLENGE)
    g.api_key = found


def anyone() -> None:
    """The health checks and the API documents."""


def key() -> ApiKey:
    """The one that this request came with."""
    found = g.api_key
    assert isinstance(found, ApiKey)
    return found
