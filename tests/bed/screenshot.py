"""Makes docs/now.png: the ledger's page while the demo's callbacks are dropped, as a program."""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import FloatRect, expect, sync_playwright

from tests.bed import browser
from tests.bed.demo import Demo

PICTURE = Path(__file__).parents[2] / "docs" / "now.png"
ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage", "--force-color-profile=srgb"]
WIDTH, MARGIN = 1200, 16
LARGEST_BYTES = 200_000
SECONDS = 60_000  # in thousandths
UNRECORDED = "1 call is live and probably not recorded."


def main() -> int:
    program = browser.find()
    if program is None:
        print("No Chromium found (CHROMIUM=/path names one).", file=sys.stderr)
        return 1
    with Demo() as demo, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        context = chromium.new_context(viewport={"width": WIDTH, "height": 1000}, color_scheme="light")
        page, buttons = context.new_page(), context.new_page()
        page.goto(demo.link)
        page.get_by_role("button", name="Log in").click()
        expect(page.locator("#verdict")).to_have_text("All is well.", timeout=SECONDS)
        demo.wait_for(lambda lines: sum("tells siprec-started of v3:live-" in line for line in lines) > 1)
        buttons.goto(demo.page)
        buttons.get_by_role("button", name="Drop callbacks").click()
        expect(page.locator("#verdict")).to_have_text(UNRECORDED, timeout=SECONDS)
        expect(page.locator("#overdue")).to_be_visible()
        promise = page.locator("section", has=page.locator("#promise-title")).bounding_box()
        assert promise is not None
        tall = promise["y"] + promise["height"] + MARGIN
        clip: FloatRect = {"x": 0, "y": 0, "width": WIDTH, "height": tall}
        page.screenshot(path=PICTURE, full_page=True, clip=clip)
        chromium.close()
    size = PICTURE.stat().st_size
    print(f"{PICTURE.name}: {size:,} bytes")
    return 0 if size < LARGEST_BYTES else 1


if __name__ == "__main__":
    sys.exit(main())
