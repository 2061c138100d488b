"""What a page of the manual tells its reader to do: the files to write and the commands to run, in order."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"# (/\S+)\n(.*)", re.DOTALL)


@dataclass(frozen=True)
class File:
    """A block whose first line is `# /its/path`; the rest is what it holds."""

    path: str
    text: str


@dataclass(frozen=True)
class Commands:
    text: str


def section(page: str, heading: str) -> str:
    """What stands under a heading of the second or third level."""
    text = (DOCS / page).read_text(encoding="utf-8")
    (level,) = re.findall(rf"^(##+) {re.escape(heading)}$", text, re.MULTILINE)
    below = text.split(f"\n{level} {heading}\n")[1]
    return re.split(rf"^##{{1,{len(level) - 1}}} ", below, maxsplit=1, flags=re.MULTILINE)[0]


def steps(page: str, heading: str) -> list[File | Commands]:
    found: list[File | Commands] = []
    for language, text in BLOCK.findall(section(page, heading)):
        if named := NAMED.fullmatch(text):
            found.append(File(named[1], named[2]))
        elif language == "sh":
            found.append(Commands(text))
    return found


def file(page: str, heading: str, path: str) -> str:
    """What the page says that this file holds."""
    (found,) = (one.text for one in steps(page, heading) if isinstance(one, File) and one.path == path)
    return found
