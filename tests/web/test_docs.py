"""The page of the API documents, in a real browser that may go nowhere else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import ConsoleMessage, Locator, Page, Route, expect, sync_playwright

from tests.bed import browser
from tests.house import House

ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass
class Visit:
    """A look at the page, and all that went wrong during it."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def visit(served: House) -> Iterator[Visit]:
    chromium = browser.require()
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        page = running.new_page(viewport={"width": 1280, "height": 1400})
        seen = Visit(page)

        def hear(message: ConsoleMessage) -> None:
            if message.type in {"error", "warning"}:
                seen.complaints.append(message.text)

        def pass_on(route: Route) -> None:
            seen.asked.append(route.request.url)
            if urlsplit(route.request.url).netloc == urlsplit(served.web.url).netloc:
                route.continue_()
            else:
                route.abort()

        page.on("console", hear)
        page.on("pageerror", lambda error: seen.complaints.append(str(error)))
        page.route("**/*", pass_on)
        page.add_init_script(
            "addEventListener('securitypolicyviolation', "
            "event => console.error('policy', event.violatedDirective, event.blockedURI))"
        )
        page.goto(f"{served.web.url}/docs", wait_until="networkidle")
        yield seen
        running.close()


def test_every_operation_is_shown(visit: Visit, served: House) -> None:
    paths = served.get("/openapi.json").json()["paths"]
    wanted = {(method.upper(), path) for path, operations in paths.items() for method in operations}
    blocks = visit.page.locator(".opblock")
    expect(blocks).to_have_count(len(wanted))
    shown = {
        (
            block.locator(".opblock-summary-method").inner_text(),
            block.locator(".opblock-summary-path").inner_text().replace("\u200b", ""),
        )
        for block in blocks.all()
    }
    assert shown == wanted
    expect(visit.page.locator(".info .title")).to_contain_text("siprec-ledger")
    place = blocks.first.bounding_box()
    assert place is not None
    assert place["width"] > 900  # of 1280: nothing of ours makes it narrow


def test_an_operation_can_be_tried_out(visit: Visit) -> None:
    block = visit.page.locator("#operations-health-getHealth")
    block.locator(".opblock-summary-control").click()
    block.get_by_role("button", name="Try it out").click()
    block.get_by_role("button", name="Execute").click()
    answer = block.locator(".live-responses-table")
    expect(answer.locator(".response-col_status")).to_contain_text(["200"])
    expect(answer).to_contain_text('"status": "ok"')


def test_a_key_opens_the_operations_that_need_one(visit: Visit, served: House) -> None:
    page = visit.page
    page.get_by_role("button", name="Authorize").first.click()
    page.locator(".modal-ux input").fill(served.key)
    page.locator(".modal-ux").get_by_role("button", name="Apply credentials").click()
    page.locator(".modal-ux").get_by_role("button", name="Close").click()
    block = page.locator("#operations-sessions-listSessions")
    block.locator(".opblock-summary-control").click()
    block.get_by_role("button", name="Try it out").click()
    block.get_by_role("button", name="Execute").click()
    expect(block.locator(".live-responses-table .response-col_status")).to_contain_text(["200"])
    expect(block.locator(".curl-command")).to_contain_text("Authorization: Bearer YOUR_API_KEY")
    assert served.key not in page.locator("body").inner_text()


def test_the_models_that_an_operation_takes_are_shown(visit: Visit) -> None:
    block = visit.page.locator("#operations-sessions-startSession")
    block.locator(".opblock-summary-control").click()
    expect(block.locator(".opblock-section-request-body")).to_contain_text("call_sid")
    expect(block.locator(".parameters")).to_contain_text("Idempotency-Key")


def test_answers_are_folded_until_somebody_looks(visit: Visit) -> None:
    block = visit.page.locator("#operations-sessions-stopSession")
    block.locator(".opblock-summary-control").click()
    answers = block.locator("details.answers")
    expect(answers.locator("summary")).to_have_text(re.compile("Responses: 202, 400, 401, 403, 404, .*, 503"))
    expect(answers.locator(".responses-table")).to_be_hidden()
    answers.locator("summary").click()
    expect(answers.locator(".responses-table")).to_be_visible()


def test_a_link_to_an_operation_opens_it(visit: Visit, served: House) -> None:
    def body(operation: str) -> Locator:
        return visit.page.locator(f"#operations-sessions-{operation} .opblock-body")

    visit.page.goto(
        f"{served.web.url}/docs#/sessions/getSession"
    )  # from the page itself: it is not loaded anew
    expect(body("getSession")).to_be_visible()
    visit.page.reload(wait_until="networkidle")
    expect(body("getSession")).to_be_visible()
    expect(body("listCallbacks")).to_be_hidden()


def test_the_page_at_the_address_itself_leads_here(visit: Visit, served: House) -> None:
    visit.page.goto(f"{served.web.url}/")
    visit.page.get_by_role("link", name="API docs").click()
    expect(visit.page.locator(".info .title")).to_contain_text("siprec-ledger")


def test_nothing_is_complained_of_and_nothing_is_asked_elsewhere(visit: Visit, served: House) -> None:
    """After all that the tests above did; alone, it looks at the mere page."""
    assert visit.complaints == []
    origins = {f"{urlsplit(url).scheme}://{urlsplit(url).netloc}" for url in visit.asked}
    assert origins == {served.web.url}


def test_the_page_s_policy_is_strict(served: House) -> None:
    policy = served.get("/docs").headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "http" not in policy
