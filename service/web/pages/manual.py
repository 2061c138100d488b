"""The manual at /manual: the Markdown files of docs/, as pages.

For everybody, as the API's documents are: it holds nothing of any session, and it is wanted most by who has
no key yet, and while the database, which knows the keys, does not answer. Nothing here asks the database.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Final

from flask import Blueprint, Response, send_from_directory
from markupsafe import Markup
from werkzeug.wrappers import Response as AnyResponse

from service.web import auth
from service.web.pages import markdown
from service.web.pages.markdown import Text
from service.web.pages.shell import HEADERS, render, show_problem, to
from service.web.problems import Problem

CONTENTS: Final = "README"  # the page at /manual itself; GitHub shows it for the folder
PICTURES: Final = {".png", ".svg"}

_PACKAGE = Path(__file__).resolve().parents[2]
_HOMES = (_PACKAGE / "_docs", _PACKAGE.parent / "docs")  # in the wheel; in a checkout

blueprint = Blueprint("manual", __name__, template_folder="templates")
blueprint.before_request(auth.anyone)
blueprint.register_error_handler(Exception, show_problem)


@blueprint.get("/manual")
def contents() -> Response:
    return _shown(CONTENTS)


@blueprint.get("/manual/<name>")
def page(name: str) -> AnyResponse:
    """A page by the name of its file without `.md`, or a picture by its whole name."""
    if Path(name).suffix in PICTURES:
        picture = send_from_directory(_home(), name)
        picture.headers.update(HEADERS | {"Cache-Control": "no-cache"})  # but asked for with its ETag
        return picture
    if name not in _names() or name == CONTENTS:
        raise Problem("not-found")
    return _shown(name)


def _shown(name: str) -> Response:
    others = [(one, _text(one).title) for one in _names() if one != CONTENTS]
    shown: dict[str, Any] = {"name": name, "text": _text(name), "body": _body(name), "others": others}
    return render("pages/manual.html", place="manual", key=None, **shown)


@cache
def _body(name: str) -> Markup:
    """Made once: its links are relative to the one path at which it is shown."""
    return _text(name).html(_address)


def _address(link: str) -> str | None:
    """Where what a page links to is served; None where it is not: the manual comes without the code."""
    if link.startswith(("https://", "http://", "#")):
        return link
    file, mark, part = link.partition("#")
    path = Path(file)
    if path.suffix in PICTURES and path.name == file:
        return to(f"/manual/{file}")
    if path.suffix != ".md" or path.name != file or path.stem not in _names():
        return None
    return to("/manual" if path.stem == CONTENTS else f"/manual/{path.stem}") + mark + part


@cache
def _home() -> Path:
    return next(home for home in _HOMES if home.is_dir())


@cache
def _names() -> tuple[str, ...]:
    """In the order in which the contents name them, then the rest."""
    there = sorted(path.stem for path in _home().glob("*.md"))
    linked = [link.removesuffix(".md") for link in _text(CONTENTS).links]
    return tuple(
        sorted(there, key=lambda name: (linked.index(name) if name in linked else len(linked), name))
    )


@cache
def _text(name: str) -> Text:
    return markdown.read((_home() / f"{name}.md").read_text(encoding="utf-8"))
