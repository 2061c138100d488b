"""API keys are made, changed and revoked by those that may: nobody grants what they do not hold."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from flask import Blueprint

from service.domain.access import Access, Scope
from service.ledger import keys as ledger_keys
from service.store import keys
from service.store.keys import KeyWithSecrets
from service.web import auth, context, key_models
from service.web.cursor import ListPages
from service.web.key_models import KeyChange, KeyPage, KeyRequest, KeyResponse, NewKeyResponse, SecretRequest
from service.web.operation import Answer, operation
from service.web.problems import Problem, wrong_field
from service.web.requests import PageQuery

blueprint = Blueprint("keys", __name__, url_prefix="/v1/keys")
blueprint.before_request(auth.api_key)


@blueprint.get("")
@operation(
    "listKeys", "List API keys, oldest first", answers={200: KeyPage}, scope=Scope.ADMIN, query=PageQuery
)
def index(query: PageQuery) -> Answer:
    """An asking key that is limited to some accounts sees those that reach no account beyond its own."""
    pages = ListPages(context.current().cursors, "keys", {})
    after = pages.place(query.cursor)
    with context.current().database.read() as db:
        found = keys.page(db, auth.accounts(), after[0] if after else None, query.limit + 1)
    page, cursor = pages.first_of(found, query.limit, lambda one: (one.id,))
    return Answer(KeyPage(keys=[key_models.key(one, _now()) for one in page], next_cursor=cursor))


@blueprint.post("")
@operation(
    "createKey",
    "Make an API key",
    answers={201: NewKeyResponse},
    problems=("right-not-held", "key-name-taken"),
    scope=Scope.ADMIN,
    body=KeyRequest,
)
def create(body: KeyRequest) -> Answer:
    """Its text is in this answer, and never again: only its hash is kept."""
    now = _now()
    _check_future(body.expires_at, now)
    _check_grant(body.access())
    with context.current().database.begin() as db:
        text, made = ledger_keys.create(db, body.name, body.access(), body.expires_at, auth.key().name, now)
    location = context.link("keys.show", key_id=made.id)
    return Answer(key_models.new_key(made, text, now), 201, {"Location": location})


@blueprint.get("/<uuid:key_id>")
@operation(
    "getKey",
    "Show an API key",
    answers={200: KeyResponse},
    problems=("unknown-key",),
    scope=Scope.ADMIN,
)
def show(key_id: UUID) -> Answer:
    with context.current().database.read() as db:
        found = _known(keys.find(db, str(key_id), auth.accounts()))
    return Answer(key_models.key(found, _now()))


@blueprint.patch("/<uuid:key_id>")
@operation(
    "changeKey",
    "Change what an API key may do",
    answers={200: KeyResponse},
    problems=("unknown-key", "right-not-held"),
    scope=Scope.ADMIN,
    body=KeyChange,
)
def change(key_id: UUID, body: KeyChange) -> Answer:
    """From its next request on. Rights may always be taken away, whoever gave them."""
    with context.current().database.begin() as db:
        before = _known(keys.find(db, str(key_id), auth.accounts(), locks=True))
        after = body.access(before.access)
        _check_grant(after, before.access)
        changed = ledger_keys.change(db, before, after, auth.key().name, _now())
    return Answer(key_models.key(changed, _now()))


@blueprint.delete("/<uuid:key_id>")
@operation(
    "revokeKey",
    "Revoke an API key",
    answers={200: KeyResponse},
    problems=("unknown-key",),
    scope=Scope.ADMIN,
)
def revoke(key_id: UUID) -> Answer:
    """All its secrets: from now on it opens nothing. Its name stays taken, because reports show it."""
    return _revoked(key_id, None)


@blueprint.post("/<uuid:key_id>/secrets")
@operation(
    "createKeySecret",
    "Give an API key another secret",
    answers={201: NewKeyResponse},
    problems=("unknown-key", "right-not-held", "too-many-secrets"),
    scope=Scope.ADMIN,
    body=SecretRequest,
    body_is_required=False,
)
def rotate(key_id: UUID, body: SecretRequest) -> Answer:
    """The earlier one stays in force until it ends or is revoked; two may be in force at once.

    A key that was revoked, or has expired, opens again with it.
    """
    now = _now()
    _check_future(body.expires_at, now)
    with context.current().database.begin() as db:
        found = _known(keys.find(db, str(key_id), auth.accounts(), locks=True))
        _check_grant(found.access)  # whoever has its text has its rights
        text, rotated = ledger_keys.rotate(db, found, body.expires_at, auth.key().name, now)
    return Answer(key_models.new_key(rotated, text, now), 201)


@blueprint.delete("/<uuid:key_id>/secrets/<uuid:secret_id>")
@operation(
    "revokeKeySecret",
    "Revoke one secret of an API key",
    answers={200: KeyResponse},
    problems=("unknown-key", "unknown-secret"),
    scope=Scope.ADMIN,
)
def revoke_secret(key_id: UUID, secret_id: UUID) -> Answer:
    """From now on it opens nothing."""
    return _revoked(key_id, str(secret_id))


def _revoked(key_id: UUID, secret_id: str | None) -> Answer:
    with context.current().database.begin() as db:
        found = _known(keys.find(db, str(key_id), auth.accounts(), locks=True))
        if secret_id is not None and secret_id not in {secret.id for secret in found.secrets}:
            raise Problem("unknown-secret", "This API key has no secret of this id")
        revoked = ledger_keys.revoke(db, found, secret_id, auth.key().name, _now())
    return Answer(key_models.key(revoked or found, _now()))


def _known(found: KeyWithSecrets | None) -> KeyWithSecrets:
    if found is None:
        raise Problem("unknown-key", "No API key has this id")
    return found


def _check_grant(wanted: Access, held: Access | None = None) -> None:
    if not auth.key().access.may_grant(wanted, held):
        raise Problem("right-not-held", "Grant only scopes and accounts that the asking key has itself")


def _check_future(expires_at: datetime | None, now: datetime) -> None:
    if expires_at is not None and expires_at <= now:
        raise Problem("invalid-request", errors=[wrong_field("body", "/expires_at", "a time to come")])


def _now() -> datetime:
    return context.current().services.clock()
