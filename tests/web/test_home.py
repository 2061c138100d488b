"""What somebody sees who knows only our address."""

from __future__ import annotations

import re

import pytest

from tests.web.indoors import Indoors

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)

OF_A_BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize(
    "accept", [None, "*/*", "application/json", "application/json, text/html;q=0.5", "image/png"]
)
def test_a_program_is_told_in_json(indoors: Indoors, accept: str | None) -> None:
    answer = indoors.stranger.get("/", headers={"Accept": accept} if accept else {})
    assert (answer.status_code, answer.mimetype, answer.headers["Vary"]) == (
        200,
        "application/json",
        "Accept",
    )
    assert answer.json["service"] == "siprec-ledger"
    for place in ("documentation", "openapi", "health", "readiness"):
        assert indoors.stranger.get(answer.json[place]).status_code == 200
    assert indoors.client.get(answer.json["sessions"]).status_code == 200


def test_a_browser_is_led_to_the_log_in_which_leads_on(indoors: Indoors) -> None:
    answer = indoors.stranger.get("/", headers={"Accept": OF_A_BROWSER})
    assert (answer.status_code, answer.mimetype, answer.headers["Vary"]) == (303, "text/html", "Accept")
    assert answer.headers["Location"] == "./log-in?next=%2F"  # relative, for a proxy may add a prefix
    links = re.findall(r'(?:href|src)="(?!data:|#)([^"]+)"', indoors.stranger.get("/log-in").text)
    assert {"./docs", "./openapi.json", "./healthz", "./readyz"} <= set(links)
    for link in set(links) - {"./"}:
        assert indoors.stranger.get(f"/{link.removeprefix('./')}").status_code == 200, link


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_it_tells_nothing_that_is_not_for_everybody(indoors: Indoors, accept: str) -> None:
    text = indoors.stranger.get("/", headers={"Accept": accept}).text
    for secret in (
        indoors.sandbox.api_key,
        indoors.sandbox.public_key,
        "ledger.example",
        "callbacks/",
        "account-1",
    ):
        assert secret not in text
