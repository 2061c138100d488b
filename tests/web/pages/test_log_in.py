"""Logging in to the pages, and out."""

from __future__ import annotations

import pytest

from tests.web.indoors import Indoors
from tests.web.pages.visitor import Visitor, leads_to, token


@pytest.fixture
def visitor(indoors: Indoors) -> Visitor:
    return Visitor(indoors)


def test_a_stranger_is_led_to_the_form(visitor: Visitor) -> None:
    assert leads_to(visitor.get("/"), "/") == "/log-in?next=%2F"


def test_a_key_logs_in(indoors: Indoors, visitor: Visitor) -> None:
    assert leads_to(visitor.log_in(indoors.key), "/log-in") == "/"
    page = visitor.get("/")
    assert page.status_code == 200
    assert "<h1>" in page.text
    assert "Logged in as </span>app-1" in page.text


def test_logging_out_ends_the_log_in_itself(indoors: Indoors, visitor: Visitor) -> None:
    visitor.log_in(indoors.key)
    kept = visitor.cookies()
    assert leads_to(visitor.send("/log-out", token=token(visitor.get("/"))), "/log-out") == "/log-in"
    for name, text in kept.items():
        visitor.client.set_cookie(name, text)
    assert leads_to(visitor.get("/"), "/") == "/log-in?next=%2F"
