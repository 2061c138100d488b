"""The pages in a real browser that may go nowhere else."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from click.testing import CliRunner
from playwright.sync_api import Browser, ConsoleMessage, Page, Route, expect, sync_playwright
from sqlalchemy import delete

from service.cli import main
from service.sandbox import Sandbox
from service.store.watch_tables import session_watch
from service.web.pages.figures import KEPT_SECONDS
from tests.bed import browser
from tests.house import House, wait_until
from tests.ledger.watching import add_session, overdue
from tests.web.test_docs import ARGUMENTS

WELL = "All is well."
ILL = "1 call is live and probably not recorded."
SERIOUS = {"serious", "critical"}


@dataclass
class Look:
    """One at the pages, and all that went wrong during it."""

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)

    def log_in(self, key: str) -> None:
        self.page.goto(f"{self.url}/")
        self.page.get_by_label("API key").fill(key)
        self.page.get_by_role("button", name="Log in").click()
        expect(self.page.locator("#verdict")).to_be_visible()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    found = browser.require()
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def beheld(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    path = tmp_path_factory.mktemp("beheld") / "ledger.sqlite3"
    shutil.copy(sqlite_template, path)
    with Sandbox() as sandbox, House(f"sqlite:///{path}", sandbox) as built:
        yield built


@pytest.fixture
def ill(beheld: House) -> Iterator[str]:
    """The id of a call that is live and not recorded, for as long as the test runs."""
    with beheld.database.begin() as db:
        found = add_session(db, call_sid="v3:live")
        overdue(db, found, "not_started", "Nothing was heard for 20 s.", call_status="in-progress")
    time.sleep(KEPT_SECONDS)  # what the test before saw is shown so long
    yield found
    mend(beheld)


def mend(house: House) -> None:
    with house.database.begin() as db:
        db.execute(delete(session_watch))


def look(
    chromium: Browser,
    house: House,
    *,
    width: int = 1280,
    scheme: Literal["light", "dark"] = "light",
    javascript: bool = True,
) -> Look:
    context = chromium.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=javascript
    )
    page = context.new_page()
    seen = Look(page, house.web.url)

    def hear(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            seen.complaints.append(message.text)

    def pass_on(route: Route) -> None:
        if urlsplit(route.request.url).netloc == urlsplit(house.web.url).netloc:
            route.continue_()
        else:
            seen.complaints.append(route.request.url)
            route.abort()

    page.on("console", hear)
    page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    page.route("**/*", pass_on)
    page.add_init_script(
        "addEventListener('securitypolicyviolation', "
        "event => console.error('policy', event.violatedDirective, event.blockedURI))"
    )
    return seen


@pytest.mark.parametrize("javascript", [True, False])
def test_a_link_logs_in_and_the_button_out(chromium: Browser, beheld: House, javascript: bool) -> None:
    with beheld.database.read() as db:
        name = db.exec_driver_sql("SELECT name FROM api_key").scalar_one()
    command = ["login", "--key", name, "--url", beheld.web.url]
    done = CliRunner().invoke(main, command, env={"DATABASE_URL": beheld.web.env["DATABASE_URL"]})
    seen = look(chromium, beheld, javascript=javascript)
    seen.page.goto(done.stdout.strip())
    seen.page.get_by_role("button", name="Log in").click()
    expect(seen.page.locator("#verdict")).to_be_visible()
    assert seen.page.url == f"{beheld.web.url}/"
    seen.page.get_by_role("button", name="Log out").click()
    expect(seen.page.get_by_label("API key")).to_be_visible()
    seen.page.goto(f"{beheld.web.url}/")
    expect(seen.page.get_by_label("API key")).to_be_visible()
    assert seen.complaints == []
    seen.page.context.close()
    secret = done.stdout.strip().rpartition("/")[2]
    wait_until(lambda: '"GET /log-in/***" 200' in beheld.web.log)
    assert secret not in beheld.web.log


def test_what_goes_wrong_is_seen_without_reload_and_so_is_its_end(chromium: Browser, beheld: House) -> None:
    seen = look(chromium, beheld)
    seen.log_in(beheld.key)
    verdict = seen.page.locator("#verdict")
    expect(verdict).to_have_text(WELL, timeout=30_000)
    seen.page.evaluate("window.isTheSame = true")
    details = seen.page.locator("details").first
    details.locator("summary").click()
    details.locator("summary").focus()
    with beheld.database.begin() as db:
        found = add_session(db, call_sid="v3:seen-live")
        overdue(db, found, "not_started", "Nothing was heard for 20 s.", call_status="in-progress")
    expect(verdict).to_have_text(ILL, timeout=30_000)
    expect(seen.page.locator("#overdue")).to_contain_text("v3:seen-live")
    expect(details).to_have_attribute("open", "")
    expect(details.locator("summary")).to_be_focused()
    mend(beheld)
    expect(verdict).to_have_text(WELL, timeout=30_000)
    expect(seen.page.locator("#overdue")).to_have_count(0)
    assert seen.page.evaluate("window.isTheSame")
    assert seen.complaints == []
    seen.page.context.close()


def test_without_javascript_all_is_there(chromium: Browser, beheld: House, ill: str) -> None:
    seen = look(chromium, beheld, javascript=False)
    seen.log_in(beheld.key)
    expect(seen.page.locator("#verdict")).to_have_text(ILL)
    expect(seen.page.locator(f"#overdue-{ill}")).to_contain_text("Nothing was heard for 20 s.")
    seen.page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_axe_finds_nothing_serious(
    chromium: Browser, beheld: House, ill: str, scheme: Literal["light", "dark"], width: int
) -> None:
    seen = look(chromium, beheld, width=width, scheme=scheme)
    seen.page.goto(f"{beheld.web.url}/log-in")
    assert serious(seen.page) == []
    seen.log_in(beheld.key)
    expect(seen.page.locator(f"#overdue-{ill}")).to_be_visible()
    for summary in seen.page.locator("summary").all():
        summary.click()
    assert serious(seen.page) == []
    assert seen.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert seen.complaints == []
    seen.page.context.close()


def serious(page: Page) -> list[tuple[str, list[str]]]:
    found = Axe().run(page).response["violations"]
    return [(one["id"], [node["html"] for node in one["nodes"]]) for one in found if one["impact"] in SERIOUS]
