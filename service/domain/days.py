"""The days of a time zone as spans of UTC: 23 or 25 hours where the clocks change. Pure."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

ONE: Final = timedelta(days=1)
A_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
A_MOMENT: Final = "a day, like 2026-11-28, or a time with its zone, like 2026-11-28T12:00:00Z"


class NoSuchZone(ValueError):
    """Not a name of the IANA time zone database."""


class WrongMoment(ValueError):
    """`name` (since or until) is not what is `expected`."""

    def __init__(self, name: str, expected: str) -> None:
        super().__init__(f"{name} must be {expected}")
        self.name = name
        self.expected = expected


def zone(name: str) -> ZoneInfo:
    """Raises NoSuchZone."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:  # OSError: a folder of the database, or too long a name
        raise NoSuchZone(name) from error


def begin(day: date, of: ZoneInfo) -> datetime:
    """Its first moment, in UTC; a day without a midnight begins later. Raises OverflowError."""
    midnight = datetime.combine(day, time(), of)
    return midnight.astimezone(UTC)


def day_of(moment: datetime, of: ZoneInfo) -> date:
    """That `moment` lies in. Raises OverflowError."""
    return moment.astimezone(of).date()


def is_begin(moment: datetime, of: ZoneInfo) -> bool:
    try:
        return begin(day_of(moment, of), of) == moment
    except OverflowError:
        return False


def span(
    since: str | None, until: str | None, of: ZoneInfo, *, whole_days: bool
) -> tuple[datetime | None, datetime | None]:
    """In UTC; each text is a day of the zone, or a time with a zone of its own. Raises WrongMoment."""
    first, last = _moment("since", since, of), _moment("until", until, of)
    for name, moment in (("since", first), ("until", last)):
        if whole_days and moment is not None and not is_begin(moment, of):
            raise WrongMoment(name, f"a day, or the moment in which one begins in {of.key}")
    if first is not None and last is not None and first > last:
        raise WrongMoment("until", "a moment that is not before since")
    return first, last


def _moment(name: str, text: str | None, of: ZoneInfo) -> datetime | None:
    if text is None:
        return None
    try:
        if A_DAY.fullmatch(text):
            return begin(date.fromisoformat(text), of)
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise WrongMoment(name, A_MOMENT)
        return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise WrongMoment(name, A_MOMENT) from error
