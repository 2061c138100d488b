"""For every route and every scope: who may, and who may not."""

from __future__ import annotations

import re

from flask import Flask

from service.domain.access import Scope
from service.web.operation import declared
from tests.web.indoors import Caller, Indoors
from tests.web.test_auth import AN_ID, OPEN, PAGES

# A new route has to be given its scope here, and a new scope its routes.
NEEDED = {
    ("POST", "/v1/sessions"): Scope.START,
    ("GET", "/v1/sessions"): Scope.READ,
    ("GET", "/v1/sessions/<uuid:session_id>"): Scope.READ,
    ("GET", "/v1/sessions/<uuid:session_id>/timeline"): Scope.READ,
    ("GET", "/v1/sessions/<uuid:session_id>/explain"): Scope.READ,
    ("GET", "/v1/sessions/<uuid:session_id>/callbacks"): Scope.READ,
    ("POST", "/v1/sessions/<uuid:session_id>/stop"): Scope.STOP,
    ("GET", "/v1/callbacks"): Scope.READ,
    ("GET", "/v1/events"): Scope.READ,
    ("GET", "/metrics"): Scope.REPORTS,
    ("GET", "/v1/alerts"): Scope.REPORTS,
    ("POST", "/v1/alerts/<uuid:alert_id>/ack"): Scope.STOP,
    ("GET", "/v1/reports/sessions"): Scope.REPORTS,
    ("GET", "/v1/reports/callbacks"): Scope.REPORTS,
    ("GET", "/v1/reports/timeline"): Scope.REPORTS,
    ("GET", "/v1/reports/attempts"): Scope.REPORTS,
    ("GET", "/v1/reports/rejected"): Scope.REPORTS,
    ("GET", "/v1/reports/daily"): Scope.REPORTS,
    ("GET", "/v1/reports/failures"): Scope.REPORTS,
    ("GET", "/v1/keys"): Scope.ADMIN,
    ("POST", "/v1/keys"): Scope.ADMIN,
    ("GET", "/v1/keys/<uuid:key_id>"): Scope.ADMIN,
    ("PATCH", "/v1/keys/<uuid:key_id>"): Scope.ADMIN,
    ("DELETE", "/v1/keys/<uuid:key_id>"): Scope.ADMIN,
    ("POST", "/v1/keys/<uuid:key_id>/secrets"): Scope.ADMIN,
    ("DELETE", "/v1/keys/<uuid:key_id>/secrets/<uuid:secret_id>"): Scope.ADMIN,
}
WITHOUT_A_ROUTE = {Scope.EVIDENCE}  # it fills fields of answers


def routes(app: Flask) -> set[tuple[str, str]]:
    return {
        (method, rule.rule)
        for rule in app.url_map.iter_rules()
        if rule.rule not in OPEN and rule.endpoint.partition(".")[0] not in PAGES
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }


def is_let_in(client: Caller, method: str, rule: str) -> bool:
    answer = client.open(re.sub(r"<uuid:\w+>", AN_ID, rule), method=method, json={})
    if answer.status_code != 403:
        assert answer.status_code in {200, 404, 422}, (method, rule, answer.text)
        return True
    assert method == "HEAD" or answer.json["title"] == "API key lacks the scope"
    assert answer.mimetype == "application/problem+json"
    return False


def test_every_route_says_which_scope_it_needs(indoors: Indoors) -> None:
    assert routes(indoors.app) == set(NEEDED)
    assert set(NEEDED.values()) | WITHOUT_A_ROUTE == set(Scope)
    for rule in indoors.app.url_map.iter_rules():
        for method in rule.methods or ():
            if (method, rule.rule) in NEEDED:
                scope = declared[indoors.app.view_functions[rule.endpoint]].scope
                assert scope is NEEDED[method, rule.rule], (method, rule.rule)


def test_a_scope_opens_its_routes_and_no_other(indoors: Indoors) -> None:
    for scope in Scope:
        client = indoors.limited(scope)
        for (method, rule), needed in NEEDED.items():
            assert is_let_in(client, method, rule) == (needed is scope), (scope, method, rule)
            if method == "GET":
                assert is_let_in(client, "HEAD", rule) == (needed is scope), (scope, rule)


def test_all_scopes_but_one_open_all_routes_but_its_own(indoors: Indoors) -> None:
    for scope in Scope:
        client = indoors.limited(*(set(Scope) - {scope}))
        for (method, rule), needed in NEEDED.items():
            assert is_let_in(client, method, rule) == (needed is not scope), (scope, method, rule)


def test_a_key_of_before_scopes_may_all_but_administer(indoors: Indoors) -> None:
    client = indoors.client
    with indoors.context.database.begin() as db:
        db.exec_driver_sql("UPDATE api_key SET scopes = NULL, accounts = NULL")
    for (method, rule), needed in NEEDED.items():
        assert is_let_in(client, method, rule) == (needed is not Scope.ADMIN), (method, rule)
    indoors.started()
    indoors.tell("siprec-started")
    assert indoors.client.get("/v1/callbacks").json["callbacks"][0]["fields"]


def test_a_scope_that_a_later_release_knows_opens_nothing(indoors: Indoors) -> None:
    client = indoors.client
    with indoors.context.database.begin() as db:
        db.exec_driver_sql("""UPDATE api_key SET scopes = '["calls:listen", "sessions:read"]'""")
    assert [rule for (method, rule) in NEEDED if is_let_in(client, method, rule)] == [
        rule for (_, rule), scope in NEEDED.items() if scope is Scope.READ
    ]


def test_the_document_says_which_scope_is_needed(indoors: Indoors) -> None:
    paths = indoors.stranger.get("/openapi.json").json["paths"]
    for (method, rule), scope in NEEDED.items():
        operation = paths[re.sub(r"<uuid:(\w+)>", r"{\1}", rule)][method.lower()]
        assert f"`{scope}`" in operation["description"], (method, rule)
        assert "API key lacks the scope" in operation["responses"]["403"]["description"]


def test_what_callbacks_said_is_shown_only_with_its_scope(indoors: Indoors) -> None:
    session_id = indoors.started()
    indoors.tell("siprec-failed", SiprecError="busy")
    reader, witness = indoors.limited(Scope.READ), indoors.limited(Scope.READ, Scope.EVIDENCE)
    for path in ("/v1/callbacks", f"/v1/sessions/{session_id}/callbacks"):
        (shown,), (whole,) = (one.get(path).json["callbacks"] for one in (reader, witness))
        assert ["SiprecError", "busy"] in whole["fields"]
        assert shown == {**whole, "fields": None}
