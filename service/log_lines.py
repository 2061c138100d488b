"""What a line of the log looks like: a fact in words and its fields, masked, as text or as JSON."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

LONGEST_VALUE: Final = 2000  # characters
LONGEST_TRACEBACK: Final = 8000
LONGEST_LINE: Final = 16 * 1024
SHORT: Final = 200  # each value of a line that would be longer

CALLBACKS: Final = "/callbacks"
LOG_IN: Final = "/log-in"  # a link of the pages holds a secret after it
# Callback URLs hold a secret, and a GET's query holds the callback. A decoded path may hold blanks and
# anything else, so all that follows is masked, not only the next word.
_SECRET_REST = re.compile(rf"({CALLBACKS}|{LOG_IN})(?:[/?%]|\\x)[^\n]*", re.IGNORECASE)
# Our own keys, bearer tokens, the secret of a webhook, the password in a URL.
_SECRETS = re.compile(
    r"\b(slk_)[\w-]+|\b(bearer\s+)[^\s\"']+|\b(whsec_)[\w+/=-]+|(://[^\s:/@]*:)[^\s/@]+(?=@)", re.IGNORECASE
)
# Written as +49…, %2B49…, tel:… or sip:…@, or bare, where it is no part of a word, a time or an id.
_WRITTEN_PHONE = r"\+\d(?:[ ().-]{0,2}\d){5,17}|%2B\d{6,18}|\b(?:tel|sips?):\+?\d{5,18}"
_PHONE = re.compile(rf"(?:{_WRITTEN_PHONE}|(?<![\w.:/-])\d{{10,15}}(?![\w:-]|\.\d))", re.IGNORECASE)
_PHONE_IN_ID = re.compile(_WRITTEN_PHONE, re.IGNORECASE)
# What a terminal or a reader of lines could take for something else than text.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_BARE = re.compile(r"[^\s\"=\\]+")  # a value that needs no quotation marks
# Ids of ours and of Telnyx are shown though they be all digits; an app may give anything for one of Telnyx's.
_ID = re.compile(r"_(?:id|sid)$")


def fields(**named: object) -> dict[str, Any]:
    """As `extra` of a log call: ids and numbers, which a search finds by their names. None: left out.

    An exception as `error` is written out, and tells failures of one kind from those of another.
    """
    return {"fields": named}


def fact(**named: object) -> dict[str, Any]:
    """The same of a line that is never counted instead of written, however often its like comes."""
    return {"fields": named, "is_fact": True}


def fields_of(record: logging.LogRecord) -> Mapping[str, object]:
    found = getattr(record, "fields", {})
    return {name: value for name, value in found.items() if value is not None}


def one_line(text: str) -> str:
    """The same without control characters: they could forge further lines, or speak to a terminal."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def masked(text: str) -> str:
    """The same without secrets, what follows /callbacks or /log-in in a path, and most of phone numbers."""
    return _masked(text, _PHONE)


def _masked(text: str, phone: re.Pattern[str]) -> str:
    text = _SECRET_REST.sub(r"\1/***", text)
    text = _SECRETS.sub(lambda found: f"{next(filter(None, found.groups()))}***", text)
    return phone.sub(lambda found: f"***{found[0][-2:]}", text)


def utc(seconds: float) -> str:
    """RFC 3339, with microseconds."""
    return f"{datetime.fromtimestamp(seconds, UTC).isoformat(timespec='microseconds')[:-6]}Z"


def json_line(written: float, level: str, logger: str, message: str, /, **more: object) -> str:
    """`written` in seconds since 1970. What else is named may not replace these four."""
    first = {"time": utc(written), "level": level, "logger": logger, "message": message}
    document = first | {name: value for name, value in more.items() if name not in first}
    line = json.dumps(document, ensure_ascii=False)
    if len(line) <= LONGEST_LINE:
        return line
    short = {name: value[:SHORT] if isinstance(value, str) else value for name, value in document.items()}
    return json.dumps(short, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """As a person reads it. Continued lines, as of a traceback, are indented: none looks like ours."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        record.message = one_line(masked(record.message))
        pairs = [f"{name}={_quoted(_plain(name, value))}" for name, value in fields_of(record).items()]
        return " ".join([super().formatMessage(record), *pairs])

    def formatException(self, ei: object) -> str:  # noqa: N802 (logging's name)
        lines = masked(super().formatException(ei)).split("\n")  # type: ignore[arg-type]
        return "\n".join(f"    {one_line(line)}" for line in lines)


class JsonFormatter(logging.Formatter):
    """An object per line: time, level, logger, message, the fields, and a traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        message = _cut(one_line(masked(record.getMessage())))
        more = {name: _plain(name, value) for name, value in fields_of(record).items()}
        if record.exc_info and record.exc_info[1] is not None:
            lines = masked(self.formatException(record.exc_info)).split("\n")
            more["traceback"] = "\n".join(map(one_line, lines))[-LONGEST_TRACEBACK:]
        return json_line(record.created, record.levelname, record.name, message, **more)


def _plain(name: str, value: object) -> str | int | float | bool:
    """As JSON can hold it, and a log may."""
    if isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, BaseException):
        value = ": ".join(filter(None, [type(value).__name__, str(value)]))
    if isinstance(value, datetime):
        return utc(value.timestamp())
    text = str(value)
    return _cut(one_line(_masked(text, _PHONE_IN_ID if _ID.search(name) else _PHONE)))


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"


def _quoted(value: str | float) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    return value if _BARE.fullmatch(value) else json.dumps(value, ensure_ascii=False)
