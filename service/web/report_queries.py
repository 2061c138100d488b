"""The queries of reports: which rows, of which days, in which form."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field, StringConstraints

from service.domain import days
from service.domain.days import A_DAY, A_MOMENT, NoSuchZone, WrongMoment
from service.domain.state import State
from service.store.report_wanted import UTC_NAME, Wanted
from service.web.problems import Problem, wrong_field
from service.web.requests import MOST_LABELS, PageQuery, Text, read_time

LABEL: Final = r"^[A-Za-z0-9_.-]{1,64}:[^\x00-\x1f\x7f-\x9f]{1,255}$"


class ReportFormat(StrEnum):
    JSON = "json"
    CSV = "csv"
    NDJSON = "ndjson"


def _zone(name: str) -> str:
    try:
        days.zone(name)
    except NoSuchZone:
        raise ValueError("must be a name of the IANA time zone database, like Europe/Berlin") from None
    return name


def _day_or_time(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat() if A_DAY.fullmatch(text) else read_time(text).isoformat()
    except ValueError:
        raise ValueError(f"must be {A_MOMENT}") from None


Moment = Annotated[
    str,
    AfterValidator(_day_or_time),
    Field(json_schema_extra={"anyOf": [{"format": "date"}, {"format": "date-time"}]}),
]


class ReportQuery(PageQuery):
    """Of all reports."""

    since: Moment | None = Field(
        default=None, description="a day of `zone`, or a time (RFC 3339, with a zone): from then on"
    )
    until: Moment | None = Field(default=None, description="likewise; this moment itself is not in it")
    zone: Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(_zone)] = Field(
        default=UTC_NAME,
        description="of days, as the IANA database names it, like Europe/Berlin; UTC unless set. "
        "Times are shown in UTC all the same",
    )
    account_sid: Text | None = Field(default=None, description="Telnyx's account id")
    format: ReportFormat | None = Field(
        default=None,
        description="json: a page; csv, ndjson: all of it, from `cursor` on, without pages. "
        "As `Accept` says, unless set",
    )
    exact: bool = Field(
        default=False,
        description="of CSV: texts exactly as they are, also such as a spreadsheet would compute, and no "
        "byte order mark",
    )

    def filters(self) -> dict[str, Any]:
        found = {n: value for n, value in super().filters().items() if n not in {"format", "exact"}}
        return {n: sorted(value) if isinstance(value, list) else value for n, value in found.items()}

    def wanted(self, *, by_day: bool) -> Wanted:
        """Raises Problem for times that do not go together."""
        try:
            since, until = days.span(self.since, self.until, days.zone(self.zone), whole_days=by_day)
        except WrongMoment as wrong:
            errors = [wrong_field("query", f"/{wrong.name}", f"must be {wrong.expected}")]
            raise Problem("invalid-request", errors=errors) from wrong
        return Wanted(
            since=since, until=until, zone=self.zone, account_sid=self.account_sid, **self._further()
        )

    def _further(self) -> dict[str, Any]:
        return {}


class SessionReportQuery(ReportQuery):
    """Of those whose rows are a session's, or counts of sessions."""

    connector_name: Text | None = Field(default=None, description="as ordered")
    state: tuple[State, ...] = Field(
        default=(),
        max_length=len(State),
        description="of the session, as it is now; may be repeated, then any of them",
    )
    reference: Text | None = Field(default=None, description="the app's own; all of it must be equal")
    label: tuple[Annotated[str, StringConstraints(pattern=LABEL)], ...] = Field(
        default=(), max_length=MOST_LABELS, description="key:value; may be repeated, then all must fit"
    )

    def _further(self) -> dict[str, Any]:
        labels = tuple((key, value) for key, _, value in (label.partition(":") for label in self.label))
        return {
            "connector_name": self.connector_name,
            "states": frozenset(self.state),
            "reference": self.reference,
            "labels": labels,
        }
