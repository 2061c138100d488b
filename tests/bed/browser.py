"""Finds a Chromium for the tests that look at pages; run as a program, tries to install one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome")
ON_A_MAC = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")


def find() -> Path | None:
    """The browser that CHROMIUM names, else the first one known to be installed."""
    for name in (os.environ.get("CHROMIUM", ""), *NAMES, str(ON_A_MAC)):
        if found := shutil.which(name):
            return Path(found)
    return None


def require() -> Path:
    """For a test: a browser, or the test is skipped. In CI it fails instead, so that none is lost unseen."""
    if browser := find():
        return browser
    if in_ci():
        pytest.fail("no Chromium in CI")
    pytest.skip("no Chromium on this machine")


def in_ci() -> bool:
    return os.environ.get("CI", "").lower() not in {"", "0", "false"}


def install() -> None:
    """Only where it asks nobody: as root on Debian and its like."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return
    print("Installing chromium for the browser tests", flush=True)
    quietly = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", "chromium"]):
        done = subprocess.run(
            ["apt-get", "-qq", *command],
            env=quietly,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            print(done.stderr, file=sys.stderr)


def main() -> int:
    if find() is None:
        install()
    if find() is not None:
        return 0
    print("No Chromium found (CHROMIUM=/path names one): the browser tests are left out.", file=sys.stderr)
    return 1 if in_ci() else 0


if __name__ == "__main__":
    sys.exit(main())
