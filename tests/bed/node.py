"""Packages for node, as a folder's package.json pins them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

INSTALL_SECONDS = 900  # one of them may have to be compiled
RETRIES = 1  # where there is no network, that is to be known soon


def install(folder: Path, whose: str) -> None:
    """Those that the folder's package.json pins, if node and npm are here. Needs the network once."""
    if not (shutil.which("node") and shutil.which("npm")) or versions(folder) == pinned(folder):
        return
    print(f"Installing {whose} packages for node, once", flush=True)
    command = ["npm", "install", f"--fetch-retries={RETRIES}", "--no-package-lock", "--no-audit", "--no-fund"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_SECONDS)
    except subprocess.TimeoutExpired:
        print(f"npm did not end within {INSTALL_SECONDS} s", file=sys.stderr)
        return
    if done.returncode:
        print(done.stderr[-2000:], file=sys.stderr)


def versions(folder: Path) -> dict[str, str]:
    """Of those that are installed."""
    manifests = {name: folder / "node_modules" / name / "package.json" for name in pinned(folder)}
    return {
        name: str(json.loads(path.read_text())["version"])
        for name, path in manifests.items()
        if path.exists()
    }


def pinned(folder: Path) -> dict[str, str]:
    dependencies: dict[str, str] = json.loads((folder / "package.json").read_text())["dependencies"]
    return dependencies
