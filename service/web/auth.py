"""Who may come in. Every blueprint names one of these; a test sees to it."""

from __future__ import annotations

import hmac
import time
from typing import Final

from flask import current_app, g, request

from service.domain.access import Access, Accounts
from service.domain.session import Session
from service.ledger.errors import UnknownSession
from service.store import keys
from service.store.keys import ApiKey, RecognisedKey
from service.web import context, waiting
from service.web.operation import declared
from service.web.problems import Problem

CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="siprec-ledger"'}


def api_key() -> None:
    """Apps: a key in force, as `Authorization: Bearer`, with the scope that the route declares.

    DatabaseUnavailable at once while nothing answers. What a scope lets them see of which accounts, the
    queries decide.
    """
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not text.strip():
        raise Problem("key-missing", "Send Authorization: Bearer <key>", headers=CHALLENGE)
    found = _recognised(text.strip())
    if found is None:
        raise Problem("key-unknown", "siprec-ledger keys list shows which are in force", headers=CHALLENGE)
    g.api_key = found
    _require_scope(found.access)


def metrics_reader() -> None:
    """Who has METRICS_TOKEN, whether or not the database answers; else an app's key, as `api_key` has it."""
    token = context.current().metrics_token
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    given = text.strip().encode("utf-8", "replace")
    if token is None or scheme.lower() != "bearer" or not hmac.compare_digest(given, token.encode()):
        api_key()


def _recognised(text: str) -> RecognisedKey | None:
    services, recent = context.current().services, context.current().recent_keys
    if waiting.is_woken() and (known := recent.find(text)):
        return known
    now, looked_at = services.clock(), time.monotonic()
    with services.database.read() as db:
        found = keys.recognise(db, text, now)
    if found is not None:
        services.last_used.use(found.secret_id, now)
        recent.add(text, found, looked_at)
    return found


def anyone() -> None:
    """The health checks, the API documents, the manual, and what stands at /."""


def _require_scope(access: Access) -> None:
    assert request.endpoint is not None  # there is no blueprint without one
    scope = declared[current_app.view_functions[request.endpoint]].scope
    assert scope is not None, f"{request.endpoint} declares no scope"
    if not access.allows(scope):
        raise Problem("scope-missing", f"It needs {scope}; an operator, or a key with admin, can add it")


def key() -> ApiKey:
    """The one that this request came with."""
    found = g.api_key
    assert isinstance(found, ApiKey)
    return found


def accounts() -> Accounts:
    """Those that the key of this request reaches."""
    return key().access.accounts


def known(found: Session | None) -> Session:
    """What was asked for with `accounts`. Raises UnknownSession."""
    if found is None:
        raise UnknownSession
    return found
