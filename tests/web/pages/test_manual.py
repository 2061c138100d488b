"""The manual as the service shows it."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Literal
from urllib.parse import urldefrag, urljoin

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser

from service.store.errors import Outage
from service.web.pages import markdown
from service.web.pages.shell import POLICY
from tests.house import House
from tests.web.indoors import Indoors, JsonResponse
from tests.web.pages.test_in_browser import Visit, chromium  # noqa: F401 (a fixture)

DOCS = Path(__file__).parents[3] / "docs"
NAMES = sorted(path.stem for path in DOCS.glob("*.md"))
LOOKED_AT_CLOSELY = {"README", "apps", "developers"}  # tables, code, lists; axe takes seconds for a long page
only_sqlite = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)


class Seen(HTMLParser):
    """What links, ids and attributes a page has."""

    def __init__(self, answer: JsonResponse) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.attributes: set[str] = set()
        assert answer.status_code == 200, answer.text
        self.feed(answer.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            self.attributes.add(name)
            if name == "id":
                self.ids.add(value or "")
            if name in {"href", "src"} and not (value or "").startswith(("data:", "http")):
                self.links.append(value or "")


def address(name: str) -> str:
    return "/manual" if name == "README" else f"/manual/{name}"


@only_sqlite
@pytest.mark.parametrize("name", NAMES)
def test_every_link_of_every_page_leads_somewhere(indoors: Indoors, name: str) -> None:
    page = Seen(indoors.stranger.get(address(name)))
    for link in page.links:
        path, part = urldefrag(urljoin(f"http://localhost{address(name)}", link))
        answer = indoors.stranger.get(path.removeprefix("http://localhost"), headers={"Accept": "text/html"})
        assert answer.status_code in {200, 303}, link  # 303: what needs a log-in
        if part:
            assert part in Seen(answer).ids, link


@only_sqlite
@pytest.mark.parametrize("name", NAMES)
def test_nothing_on_a_page_is_against_its_policy(indoors: Indoors, name: str) -> None:
    answer = indoors.stranger.get(address(name))
    assert answer.headers["Content-Security-Policy"] == POLICY
    assert "style" not in Seen(answer).attributes


@only_sqlite
def test_all_pages_are_named_on_each(indoors: Indoors) -> None:
    for name in NAMES:
        links = {
            urljoin(f"http://localhost{address(name)}", link)
            for link in Seen(indoors.stranger.get(address(name))).links
        }
        assert {f"http://localhost{address(other)}" for other in NAMES} <= links


@only_sqlite
def test_it_can_be_read_while_the_database_does_not_answer(indoors: Indoors) -> None:
    indoors.context.database.close()
    indoors.context.database.breaker.failed(Outage.ALL, "gone")
    assert indoors.stranger.get("/manual/operators").status_code == 200


@only_sqlite
def test_a_picture_is_shown_and_asked_for_once(indoors: Indoors) -> None:
    assert "flow.svg" in "".join(Seen(indoors.stranger.get("/manual")).links)
    answer = indoors.stranger.get("/manual/flow.svg")
    assert answer.mimetype == "image/svg+xml"
    assert answer.headers["Content-Security-Policy"] == POLICY  # whoever opens it alone, too
    same = {"If-None-Match": answer.headers["ETag"]}
    assert indoors.stranger.get("/manual/flow.svg", headers=same).status_code == 304


@only_sqlite
def test_a_path_that_is_no_page_is_none(indoors: Indoors) -> None:
    for path in (
        "README",
        "nothing",
        "..%2fREADME",
        "apps.md",
        "..%2fpyproject.toml",
        "nothing.png",
        "%2e%2e/x.png",
    ):
        assert indoors.stranger.get(f"/manual/{path}").status_code == 404, path


def test_what_looks_like_html_is_text() -> None:
    made = markdown.read("# A\n\n<script>x</script> [a](javascript:x) ![b](x.png)\n").html(lambda link: link)
    assert "<script" not in made
    assert "javascript" not in re.findall(r'href="([^"]*)', made)


def test_a_link_to_what_is_not_served_is_its_words() -> None:
    made = markdown.read("# A\n\nsee [the **figures**](../x.md), [this](a.md)\n").html(
        lambda link: None if ".." in link else f"../{link}"
    )
    assert '<p>see the <strong>figures</strong>, <a href="../a.md">this</a></p>' in made


def test_headings_have_the_anchors_that_github_gives_them() -> None:
    read = markdown.read("# `db backup`, and why\n\n## Two\n\n## Two\n\n## How to add …\n")
    assert [one.anchor for one in read.headings] == ["db-backup-and-why", "two", "two-1", "how-to-add-"]


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1280, "light")])
def test_nothing_is_in_the_way_of_anybody(
    chromium: Browser,  # noqa: F811
    served: House,
    width: int,
    scheme: Literal["light", "dark"],
) -> None:
    """axe-core finds nothing serious, nothing is wider than the window, and the browser has no complaints."""
    visit = Visit(chromium, served, width=width, scheme=scheme)
    for name in NAMES:
        visit.go(address(name))
        if name in LOOKED_AT_CLOSELY:
            found = Axe().run(visit.page).response["violations"]
            serious = [one for one in found if one["impact"] in {"serious", "critical"}]
            assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in serious] == [], name
        too_wide = visit.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert too_wide <= 0, name
        visit.picture(f"manual-{name}-{width}-{scheme}")
    assert visit.complaints == []
    visit.context.close()
