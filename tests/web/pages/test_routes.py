"""Each page: its path and method, who may see it, and what a form needs."""

from __future__ import annotations

import re

import pytest

from service.web import auth
from service.web.pages import guard
from tests.web.indoors import Indoors
from tests.web.pages.visitor import Visitor, leads_to
from tests.web.test_auth import AN_ID

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)

# Of anybody: none of these shows anything of a session. All that POST check origin and token.
OPEN = {
    ("GET", "/log-in"),
    ("POST", "/log-in"),
    ("GET", "/log-in/<text>"),
    ("POST", "/log-in/<text>"),
    ("POST", "/log-out"),
    ("GET", "/assets/<name>"),
}
MANUAL = {("GET", "/manual"), ("GET", "/manual/<name>")}  # of anybody too
# For who is logged in: method and path -> the scope. What stands at / sees to its own.
SHUT: dict[tuple[str, str], str] = {
    ("GET", "/sessions"): "sessions:read",
    ("GET", "/sessions.csv"): "sessions:read",
    ("GET", "/sessions/<session_id>"): "sessions:read",
    ("POST", "/sessions/<session_id>/callbacks/<callback_id>"): "evidence:read",
    ("GET", "/sessions/<session_id>/stop"): "sessions:stop",
    ("POST", "/sessions/<session_id>/stop"): "sessions:stop",
}


def routes(indoors: Indoors, blueprint: str) -> dict[tuple[str, str], str]:
    """Method and path -> endpoint."""
    return {
        (method, rule.rule): rule.endpoint
        for rule in indoors.app.url_map.iter_rules()
        if rule.endpoint.partition(".")[0] == blueprint
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }


def filled(path: str) -> str:
    return re.sub(r"<[^>]+>", AN_ID, path)


def test_the_pages_are_these(indoors: Indoors) -> None:
    assert set(routes(indoors, "log_in")) == OPEN
    assert set(routes(indoors, "manual")) == MANUAL
    found = routes(indoors, "pages")
    assert {where: guard.scopes[indoors.app.view_functions[name]] for where, name in found.items()} == SHUT


def test_the_guards_are_these(indoors: Indoors) -> None:
    assert indoors.app.before_request_funcs["pages"] == [guard.logged_in]
    assert indoors.app.before_request_funcs["log_in"] == [auth.anyone]
    assert indoors.app.before_request_funcs["manual"] == [auth.anyone]


def test_a_stranger_is_led_from_each_page_to_the_form(indoors: Indoors) -> None:
    for method, path in {*SHUT, ("GET", "/")}:
        visitor = Visitor(indoors)
        answer = visitor.get(filled(path)) if method == "GET" else visitor.send(filled(path))
        assert leads_to(answer, filled(path)).partition("?")[0] == "/log-in"


def test_every_form_needs_its_token(indoors: Indoors) -> None:
    visitor = Visitor(indoors)
    visitor.log_in(indoors.key)
    for method, path in {*OPEN, *SHUT}:
        if method == "POST":
            assert visitor.send(filled(path)).status_code == 403, path
            assert visitor.send(filled(path), token="x").status_code == 403, path
    assert visitor.get("/").status_code == 200


def test_an_asset_is_none_but_ours(indoors: Indoors) -> None:
    visitor = Visitor(indoors)
    for name in ("page.css", "page.js"):
        assert visitor.get(f"/assets/{name}").status_code == 200
    for name in ("..%2fshell.py", "../shell.py", "x"):
        assert visitor.get(f"/assets/{name}").status_code == 404
