"""Who may come in. Every blueprint names one of these; a test sees to it."""

from __future__ import annotations

from flask import g, request

from service.store import keys
from service.store.keys import ApiKey
from service.web.context import parts
from service.web.problems import Problem

CHALLENGE = {"WWW-Authenticate": 'Bearer realm="siprec-ledger"'}


def api_key() -> None:
    """Apps: a key in force, as `Authorization: Bearer`."""
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not text.strip():
        raise Problem(401, "no-key", "An API key is needed: Authorization: Bearer <key>", headers=CHALLENGE)
    with parts().database.read() as db:
        key = keys.recognise(db, text.strip(), parts().works.clock())
    if key is None:
        raise Problem(401, "wrong-key", "This API key is not known here, or was revoked", headers=CHALLENGE)
    g.api_key = key


def anyone() -> None:
    """The health checks and the API documents."""


def asking() -> ApiKey:
    """The key that this request came with."""
    key = g.api_key
    assert isinstance(key, ApiKey)
    return key
