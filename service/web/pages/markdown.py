"""Markdown made HTML that our pages' policy and a screen reader are content with."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererProtocol
from markdown_it.token import Token
from markupsafe import Markup, escape

NOT_OF_SLUG: Final = re.compile(r"[^\w\- ]")  # what GitHub leaves out of a heading's anchor

# Where what a link names is; None: nowhere, and its text stands alone.
Address = Callable[[str], str | None]

_parser = MarkdownIt("commonmark", {"html": False}).enable("table")


@dataclass(frozen=True)
class Heading:
    level: int
    words: str
    anchor: str


@dataclass(frozen=True)
class Text:
    """A text that was read. It is kept as tokens, for where links lead is known only when it is shown."""

    _tokens: Sequence[Token]
    headings: Sequence[Heading]
    links: Sequence[str]

    @property
    def title(self) -> str:
        return self.headings[0].words

    def html(self, address: Address) -> Markup:
        tokens = [_addressed(token, address) for token in self._tokens]
        return Markup(_parser.renderer.render(tokens, _parser.options, {}))  # noqa: S704 (it escapes)


def read(text: str) -> Text:
    """The first heading is the title."""
    tokens = _parser.parse(text)
    headings = list(_with_anchors(tokens))
    links = [
        str(one.attrs["href"]) for token in tokens for one in token.children or () if "href" in one.attrs
    ]
    return Text(list(_for_readers(tokens)), headings, links)


def _with_anchors(tokens: Sequence[Token]) -> Iterator[Heading]:
    """Each heading gets the anchor that GitHub gives it, so that the same links lead there."""
    taken: dict[str, int] = {}
    for opening, inside in pairwise(tokens):
        if opening.type != "heading_open":
            continue
        words = "".join(one.content for one in inside.children or ())
        slug = NOT_OF_SLUG.sub("", words.lower()).replace(" ", "-")
        count = taken.get(slug, 0)
        taken[slug] = count + 1
        opening.attrs["id"] = anchor = f"{slug}-{count}" if count else slug
        yield Heading(int(opening.tag[1]), words, anchor)


def _for_readers(tokens: Sequence[Token]) -> Iterator[Token]:
    """Wide tables and code scroll by themselves, by the keyboard too; a heading without words is none."""
    for at, token in enumerate(tokens):
        if token.attrs.pop("style", "") == "text-align:right":  # of a cell; the policy forbids styles
            token.attrs["class"] = "end"
        if token.type == "th_open" and not tokens[at + 1].content:
            token.tag = tokens[at + 2].tag = "td"
        if token.type == "table_open":
            yield _html('<div class="scroll" tabindex="0" role="group" aria-label="Table">')
        yield token
        if token.type == "table_close":
            yield _html("</div>")


def _html(text: str) -> Token:
    return Token("html_block", "", 0, content=text)


def _addressed(token: Token, address: Address) -> Token:
    if not token.children:
        return token
    children: list[Token] = []
    is_text_alone = False
    for one in token.children:
        if one.type == "link_open":
            found = address(str(one.attrs["href"]))
            is_text_alone = found is None
            if found is not None:
                children.append(one.copy(attrs={**one.attrs, "href": found}))
        elif one.type == "link_close":
            if not is_text_alone:
                children.append(one)
        elif one.type == "image":
            found = address(str(one.attrs["src"]))
            if found is not None:
                children.append(one.copy(attrs={**one.attrs, "src": found}))
        else:
            children.append(one)
    return token.copy(children=children)


def _code(_: RendererProtocol, tokens: Sequence[Token], at: int, *_more: object) -> str:
    """A block of code: it scrolls, so the keyboard has to reach it."""
    language = escape(tokens[at].info.strip() or "text")
    content = escape(tokens[at].content)
    return f'<pre tabindex="0" data-language="{language}"><code>{content}</code></pre>\n'


_parser.add_render_rule("fence", _code)
_parser.add_render_rule("code_block", _code)
