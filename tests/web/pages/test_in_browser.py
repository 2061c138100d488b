"""Sessions, and one session, in a real browser: with JavaScript and without, narrow and wide, in the dark."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from service.sandbox import EVENTS, Behaviour
from tests.bed import browser
from tests.house import House
from tests.web.test_docs import ARGUMENTS

SCREENSHOTS = os.environ.get("SCREENSHOTS")  # a folder, for who wants to look at them


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    program = browser.require()
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield running
        running.close()


class Visit:
    """Somebody who is logged in, and all that went wrong during the visit."""

    def __init__(
        self,
        chromium: Browser,
        house: House,
        *,
        scripts: bool = True,
        width: int = 1280,
        scheme: Literal["light", "dark"] = "light",
    ) -> None:
        self.house = house
        self.context = chromium.new_context(
            viewport={"width": width, "height": 900},
            java_script_enabled=scripts,
            color_scheme=scheme,
            accept_downloads=True,
        )
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", lambda one: self.complaints.append(one.text) if one.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.route("**/*", self._pass_on)
        self.go("/log-in")
        self.page.get_by_label("API key").fill(house.key)
        self.page.get_by_role("button", name="Log in").click()

    def _pass_on(self, route: Route) -> None:
        if urlsplit(route.request.url).netloc == urlsplit(self.house.web.url).netloc:
            route.continue_()
        else:
            self.complaints.append(f"asked elsewhere: {route.request.url}")
            route.abort()

    def go(self, path: str) -> None:
        self.page.goto(f"{self.house.web.url}{path}")

    def picture(self, name: str) -> None:
        if SCREENSHOTS:
            self.page.screenshot(path=f"{SCREENSHOTS}/pages-{name}.png", full_page=True)


@pytest.fixture
def live(served: House) -> str:
    """The reference of a call that the sandbox records now."""
    served.sandbox.behave(Behaviour())
    reference = f"claim {os.urandom(4).hex()}"
    answer = served.start(
        f"v3:{reference[6:]}", reference=reference, connector_name="recorder", labels={"team": "fraud"}
    )
    served.wait_for(answer.json()["id"], "started")
    return reference


@pytest.mark.parametrize("scripts", [True, False], ids=["script", "no script"])
def test_a_session_is_found_exported_and_stopped(
    chromium: Browser, served: House, live: str, scripts: bool, tmp_path: Path
) -> None:
    visit = Visit(chromium, served, scripts=scripts)
    page = visit.page
    page.get_by_role("link", name="Sessions", exact=True).click()
    page.get_by_role("searchbox").fill(live)
    page.get_by_role("button", name="Search").click()
    expect(page.locator("#list tbody tr")).to_have_count(1)
    with page.expect_download() as started:
        page.get_by_role("link", name="Export as CSV").click()
    started.value.save_as(tmp_path / "export.csv")
    with (tmp_path / "export.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))
    assert len(rows) == 3
    assert live in rows[1]
    assert rows[2] == ["# rows: 1"]
    page.locator("#list tbody a").first.click()
    session_id = page.url.rpartition("/")[2]
    expect(page.locator(".explain")).to_contain_text("started")
    visit.picture("one-started")
    page.get_by_role("link", name="Stop recording").click()
    visit.picture("stop")
    page.get_by_role("button", name="Stop recording").click()
    expect(page.get_by_role("status")).to_contain_text("Telnyx took the stop")
    assert served.wait_for(session_id, "stopped")["stop_requested_at"] is not None
    if scripts:  # without a reload
        expect(page.locator(".explain")).to_contain_text("stopped", timeout=20_000)
    else:
        page.reload()
        expect(page.locator(".explain")).to_contain_text("stopped")
    page.get_by_role("button", name="Raw bytes").first.click()
    expect(page.locator("pre.raw").first).to_contain_text("SiprecEvent=siprec-started")
    assert visit.complaints == []
    visit.context.close()


def test_a_double_click_stops_once(chromium: Browser, served: House, live: str) -> None:
    visit = Visit(chromium, served)
    (found,) = served.get("/v1/sessions", reference=live).json()["sessions"]
    visit.go(f"/sessions/{found['id']}/stop")
    visit.page.get_by_role("button", name="Stop recording").dblclick()
    visit.page.wait_for_url("**/sessions/*?done=*")
    served.wait_for(found["id"], "stopped")
    asked = [
        one
        for one in served.sandbox.requests
        if one.fields == {"Status": "stopped"} and found["siprec_sid"] in one.path
    ]
    assert len(asked) == 1
    visit.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_is_in_the_way_of_anybody(
    chromium: Browser, served: House, live: str, width: int, scheme: Literal["light", "dark"]
) -> None:
    """axe-core finds nothing serious, and nothing is wider than the window."""
    served.sandbox.behave(Behaviour(drop=frozenset(EVENTS)))
    lost = served.start("v3:lost", reference="=cmd", labels={"tier": "\N{SNOWMAN}"}).json()["id"]
    (found,) = served.get("/v1/sessions", reference=live).json()["sessions"]
    served.sandbox.behave(Behaviour())
    visit = Visit(chromium, served, width=width, scheme=scheme)
    paths = {
        "sessions": "/sessions",
        "filter": "/sessions?state=started&state=accepted&reference=none&label=team:fraud",
        "wrong": "/sessions?requested_after=x",
        "search": "/sessions?q=nothing+like+it",
        "one": f"/sessions/{found['id']}",
        "lost": f"/sessions/{lost}",
        "stop": f"/sessions/{lost}/stop",
    }
    for name, path in paths.items():
        visit.go(path)
        if name == "sessions":
            visit.page.locator("#sql summary").click()
        found_by_axe = Axe().run(visit.page).response["violations"]
        serious = [one for one in found_by_axe if one["impact"] in {"serious", "critical"}]
        assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in serious] == [], name
        too_wide = visit.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert too_wide <= 0, name
        visit.picture(f"{name}-{width}-{scheme}")
    visit.page.goto(f"{served.web.url}/sessions/{found['id']}")
    assert [one for one in visit.complaints if "422" not in one and "404" not in one] == []
    visit.context.close()


def test_a_keyboard_is_enough(chromium: Browser, served: House, live: str) -> None:
    visit = Visit(chromium, served)
    visit.go("/sessions")
    visit.page.keyboard.press("Tab")
    expect(visit.page.locator(":focus")).to_have_text("Skip to content")
    visit.page.locator("#q").focus()
    visit.page.keyboard.type(live)
    visit.page.keyboard.press("Enter")
    visit.page.wait_for_url("**/sessions?reference=*")
    visit.page.locator("#list tbody a").first.focus()
    visit.page.keyboard.press("Enter")
    visit.page.wait_for_url("**/sessions/*-*")
    visit.context.close()
