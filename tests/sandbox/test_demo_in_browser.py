"""The demo as whoever tries it sees it: buttons are pressed in one tab, and Now is watched in another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.bed import browser
from tests.bed.demo import Demo
from tests.web.test_docs import ARGUMENTS

SEEN = 25_000  # thousandths of a second after a button was pressed, Now says so
MENDED = 60_000
WELL = "All is well."
SERIOUS = {"serious", "critical"}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    found = browser.require()
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    browser.require()
    with Demo() as running:
        yield running


@pytest.fixture(scope="module")
def now(chromium: Browser, demo: Demo) -> Page:
    page = chromium.new_context().new_page()
    page.goto(demo.link)
    page.get_by_role("button", name="Log in").click()
    return page


def press(chromium: Browser, demo: Demo, name: str) -> None:
    """In a tab of its own, without JavaScript."""
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(demo.page)
    page.get_by_role("button", name=name).click()
    expect(page.get_by_role("button", name="Mend all")).to_be_visible()
    context.close()


def test_a_call_that_looks_unrecorded_is_seen_and_overruled(chromium: Browser, demo: Demo, now: Page) -> None:
    verdict = now.locator("#verdict")
    expect(verdict).to_have_text(WELL, timeout=MENDED)
    press(chromium, demo, "Drop callbacks")
    expect(verdict).to_contain_text("live and probably not recorded", timeout=SEEN)
    expect(now.locator(".verdict .side").first).to_have_text("Side: recorder")
    expect(now.locator(".verdict").first).to_contain_text("Check the recorder")
    row = now.locator("#overdue tbody tr").first
    expect(row).to_contain_text("v3:live-")
    session = row.locator("a").get_attribute("href")
    assert session is not None
    press(chromium, demo, "Mend all")
    expect(verdict).to_have_text(WELL, timeout=MENDED)
    expect(now.locator("#promise-title + .pair + p")).to_contain_text("They agree.")
    page = now.context.new_page()
    page.goto(demo.link.partition("/log-in/")[0] + session.removeprefix("."))
    expect(page.locator(".explain")).to_contain_text("it was overdue no longer")
    expect(page.locator(".explain")).to_contain_text("Telnyx says that it started")
    page.close()


def test_a_frozen_database_is_seen_and_nothing_is_lost(chromium: Browser, demo: Demo, now: Page) -> None:
    verdict, promise = now.locator("#verdict"), now.locator("#promise-title + .pair + p")
    expect(verdict).to_have_text(WELL, timeout=MENDED)
    press(chromium, demo, "Freeze the database")
    expect(promise).to_contain_text("on disk, kept and not shown yet", timeout=SEEN)
    expect(verdict).to_contain_text("The database takes no writes.", timeout=SEEN)
    press(chromium, demo, "Mend all")
    expect(promise).to_contain_text("They agree.", timeout=MENDED)
    expect(verdict).to_have_text(WELL, timeout=MENDED)


def test_a_dead_recorder_is_seen(chromium: Browser, demo: Demo, now: Page) -> None:
    demo.wait_for(lambda lines: "Mend all" not in lines[-1])
    press(chromium, demo, "Kill the recorder")
    expect(now.locator("#verdict")).to_contain_text("live and probably not recorded", timeout=SEEN)
    expect(now.locator(".verdict .side").first).to_have_text("Side: recorder")
    expect(now.locator("#overdue")).to_contain_text("siprec-stopped came, and nobody had asked for it")
    press(chromium, demo, "Mend all")
    expect(now.locator("#promise-title + .pair + p")).to_contain_text("They agree.", timeout=MENDED)


def test_a_day_of_made_up_history_stands_beside_the_live_calls(demo: Demo, now: Page) -> None:
    page = now.context.new_page()
    page.goto(demo.link.partition("/log-in/")[0] + "/sessions?label=demo%3Ahistory")
    expect(page.locator("#list")).to_contain_text("v3:history-")
    page.close()
    expect(now.locator("#now")).to_contain_text("of them failed")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_with_the_buttons_is_for_everybody(
    chromium: Browser, demo: Demo, scheme: Literal["light", "dark"], width: int
) -> None:
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page, complaints = context.new_page(), []
    page.on("console", lambda one: complaints.append(one.text) if one.type in {"error", "warning"} else None)
    page.goto(demo.page)
    found = Axe().run(page).response["violations"]
    assert [one["id"] for one in found if one["impact"] in SERIOUS] == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert complaints == []
    context.close()
