"""Who may come in: nobody without a key, wherever there is no good reason to let everybody in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from flask import Flask

from service.store import keys
from service.web import auth
from service.web.pages import guard
from tests.web.indoors import Indoors

HOOKS = {auth.api_key, auth.anyone, auth.metrics_reader, guard.logged_in}
# Telnyx's door is not among the routes: it stands in front of them, and has its own judge.
OPEN = {
    "/",
    "/healthz",
    "/readyz",
    "/openapi.json",
    "/docs",
    "/docs/<name>",
}
# Their own test has them: pages/test_routes.py.
PAGES = {"pages", "log_in", "manual"}
AN_ID = "018f0000-0000-7000-8000-000000000000"


def shut_doors(app: Flask) -> Iterator[tuple[str, str]]:
    for rule in app.url_map.iter_rules():
        if rule.rule not in OPEN and rule.endpoint.partition(".")[0] not in PAGES:
            for method in sorted(rule.methods or ()):
                yield method, re.sub(r"<uuid:\w+>", AN_ID, rule.rule)


def revoked(indoors: Indoors) -> str:
    now = datetime.now(UTC)
    with indoors.context.database.begin() as db:
        text = keys.create(db, "left the company", now)
        keys.revoke(db, "left the company", now)
    return f"Bearer {text}"


def expired(indoors: Indoors) -> str:
    now = datetime.now(UTC)
    with indoors.context.database.begin() as db:
        return f"Bearer {keys.create(db, 'of last year', now, expires_at=now)}"


def of_another_secret(indoors: Indoors) -> str:
    with indoors.context.database.begin() as db:
        one = keys.create(db, "one", datetime.now(UTC))
        other = keys.create(db, "other", datetime.now(UTC))
    return f"Bearer {one[:37]}{other[37:]}"


STRANGERS: dict[str, Callable[[Indoors], str | None]] = {
    "no header": lambda _: None,
    "an empty one": lambda _: "",
    "the scheme alone": lambda _: "Bearer",
    "another scheme": lambda indoors: indoors.client.environ_base["HTTP_AUTHORIZATION"].replace(
        "Bearer", "Basic"
    ),
    "nonsense": lambda _: "Bearer nonsense",
    "nonsense of the right shape": lambda _: f"Bearer slk_{'0' * 32}_{'x' * 43}",
    "not ASCII": lambda _: "Bearer slk_\xfc\xff",
    "Telnyx's own key": lambda indoors: f"Bearer {indoors.sandbox.api_key}",
    "the secret of another key": of_another_secret,
    "a revoked key": revoked,
    "an expired key": expired,
}


NOT_SENT = {"no header", "an empty one", "the scheme alone", "another scheme"}
TITLES = {True: "API key missing", False: "API key unknown or revoked"}


def test_every_door_but_the_open_ones_is_shut_to_strangers(indoors: Indoors) -> None:
    doors = list(shut_doors(indoors.app))
    assert len(doors) > 4
    for name, stranger in STRANGERS.items():
        said = stranger(indoors)
        headers = {} if said is None else {"Authorization": said}
        for method, path in doors:
            answer = indoors.stranger.open(path, method=method, headers=headers)
            assert (name, method, path, answer.status_code) == (name, method, path, 401)
            assert answer.mimetype == "application/problem+json"
            assert method == "HEAD" or answer.json["title"] == TITLES[name in NOT_SENT]
            assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
            assert method == "HEAD" or answer.json["request_id"] == answer.headers["X-Request-Id"]
    assert indoors.sandbox.requests == []


def test_a_key_in_force_opens(indoors: Indoors) -> None:
    assert indoors.client.get("/v1/sessions").status_code == 200


def test_the_scheme_may_be_written_in_any_case(indoors: Indoors) -> None:
    said = {"Authorization": f"bEARER {indoors.key}"}
    assert indoors.stranger.get("/v1/sessions", headers=said).status_code == 200


def test_a_revoked_key_opens_nothing_from_then_on(indoors: Indoors) -> None:
    with indoors.context.database.begin() as db:
        client = indoors.bearing(keys.create(db, "leaver", datetime.now(UTC)))
    assert client.get("/v1/sessions").status_code == 200
    with indoors.context.database.begin() as db:
        keys.revoke(db, "leaver", datetime.now(UTC))
    assert client.get("/v1/sessions").status_code == 401


def test_the_open_doors_are_those_of_the_plan(indoors: Indoors) -> None:
    rules = list(indoors.app.url_map.iter_rules())
    pages = {rule.rule for rule in rules if rule.endpoint.partition(".")[0] in PAGES}
    assert {rule.rule for rule in rules} - pages - OPEN == {
        "/metrics",
        "/v1/alerts",
        "/v1/alerts/<uuid:alert_id>/ack",
        "/v1/callbacks",
        "/v1/events",
        "/v1/keys",
        "/v1/keys/<uuid:key_id>",
        "/v1/keys/<uuid:key_id>/secrets",
        "/v1/keys/<uuid:key_id>/secrets/<uuid:secret_id>",
        "/v1/reports/sessions",
        "/v1/reports/callbacks",
        "/v1/reports/timeline",
        "/v1/reports/attempts",
        "/v1/reports/rejected",
        "/v1/reports/daily",
        "/v1/reports/failures",
        "/v1/sessions",
        "/v1/sessions/<uuid:session_id>",
        "/v1/sessions/<uuid:session_id>/callbacks",
        "/v1/sessions/<uuid:session_id>/stop",
        "/v1/sessions/<uuid:session_id>/timeline",
        "/v1/sessions/<uuid:session_id>/explain",
    }


def test_every_blueprint_names_who_may_come_in_before_all_else(indoors: Indoors) -> None:
    for name in indoors.app.blueprints:
        hooks = indoors.app.before_request_funcs[name]
        assert [hook for hook in hooks if hook in HOOKS] == hooks[:1], name
    for rule in indoors.app.url_map.iter_rules():
        assert rule.endpoint.partition(".")[0] in indoors.app.blueprints, rule.rule
