"""The reporting views as they are read: every column, as a value that both databases give alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import cached_property
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Dialect,
    TableClause,
    Text,
    cast,
    column,
    func,
    table,
    type_coerce,
)

from service.store.columns import UtcTime
from service.store.json import canonical_json, read_json

# As text and JSON can hold it: times are UTC with six digits and Z, days are 2026-11-28, labels are canonical
# JSON.
Plain = str | int | float | bool | None
Row = Sequence[Plain]
RFC_3339: Final = 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'


class Kind(Enum):
    """What a column holds, where it is not null."""

    TEXT = auto()
    TIME = auto()
    DAY = auto()
    WHOLE = auto()
    NUMBER = auto()
    TRUTH = auto()
    LABELS = auto()


@dataclass(frozen=True)
class View:
    """`kinds` are those of its columns that are not text, by name."""

    name: str
    columns: tuple[str, ...]
    kinds: Mapping[str, Kind]

    def kind(self, name: str) -> Kind:
        return self.kinds.get(name, Kind.TEXT)

    @cached_property
    def table(self) -> TableClause:
        """With times that compare with a datetime."""
        typed = (column(n, UtcTime if self.kind(n) is Kind.TIME else None) for n in self.columns)
        return table(self.name, *typed)

    def read(self, of: Any, dialect: Dialect) -> list[ColumnElement[Any]]:
        """Its columns of `of`, a table or a subquery, to be selected; `plain` makes values of them."""
        is_postgresql = dialect.name == "postgresql"
        return [
            _read(of.c[name], self.kind(name), is_postgresql=is_postgresql).label(name)
            for name in self.columns
        ]

    def plain(self, rows: Sequence[Sequence[Any]], dialect: Dialect) -> list[Row]:
        """What a driver gave, as plain values."""
        wanted = _ON_POSTGRESQL if dialect.name == "postgresql" else _ON_SQLITE
        places = [
            (at, wanted[kind]) for at, name in enumerate(self.columns) if (kind := self.kind(name)) in wanted
        ]
        if not places:
            return list(rows)
        made: list[list[Any]] = [list(row) for row in rows]
        for at, convert in places:
            for row in made:
                if row[at] is not None:
                    row[at] = convert(row[at])
        return [*made]


def _read(of: ColumnElement[Any], kind: Kind, *, is_postgresql: bool) -> ColumnElement[Any]:
    if not is_postgresql:  # all else is as it is kept
        return type_coerce(of, Text) if kind in (Kind.TIME, Kind.LABELS) else of
    if kind is Kind.TIME:  # by the server, which takes a fifth of what Python would
        return func.to_char(func.timezone("UTC", of), RFC_3339)
    return cast(of, Text) if kind in (Kind.DAY, Kind.LABELS) else of


def _canonical(jsonb: str) -> str:
    """The server has its own order of keys, and spaces between."""
    return canonical_json(read_json(jsonb))


_Converting = Mapping[Kind, Callable[[Any], Plain]]
_ON_SQLITE: Final[_Converting] = {Kind.TRUTH: bool}
_ON_POSTGRESQL: Final[_Converting] = {Kind.LABELS: _canonical}


def _view(name: str, columns: str, **kinds: str) -> View:
    found = {one: Kind[kind.upper()] for kind, names in kinds.items() for one in names.split()}
    ordered = tuple(columns.split())
    times = {one: Kind.TIME for one in ordered if one.endswith(("_at", "_since"))}
    return View(f"report_{name}_v1", ordered, {**times, **found})


SESSIONS: Final = _view(
    "sessions",
    "session_id origin account_sid call_sid siprec_sid callback_siprec_sid connector_name name track state "
    "requested_at accepted_at started_at ended_at stop_requested_at updated_at seconds_to_accepted "
    "seconds_to_started duration_seconds error_kind error_status error_code error_detail requested_by "
    "reference labels stop_requested_by attempts callbacks last_callback_at overdue_since overdue_why "
    "presumed_ended_at presumed_why secure sip_transport session_timeout_secs overdue_kind error_cause cause "
    "cause_text",
    number="seconds_to_accepted seconds_to_started duration_seconds",
    whole="error_status attempts callbacks session_timeout_secs",
    truth="secure",
    labels="labels",
)
CALLBACKS: Final = _view(
    "callbacks",
    "callback_id session_id event happened_at received_at deliveries verified_by problem call_sid siprec_sid "
    "last_received_at written_at answered spooled_on lateness_seconds method spooled_seconds account_sid "
    "siprec_error",
    number="lateness_seconds spooled_seconds",
    whole="deliveries answered",
)
TIMELINE: Final = _view(
    "timeline",
    "position session_id account_sid kind what before after happened_at written_at actor callback_id "
    "correction",
    whole="position",
    truth="correction",
)
ATTEMPTS: Final = _view(
    "attempts",
    "session_id number account_sid call_sid connector_name requested_at asked_at asked_by answer answered_at "
    "seconds_to_answer siprec_sid error_kind error_status error_code error_detail",
    number="seconds_to_answer",
    whole="number error_status",
)
REJECTED: Final = _view(
    "rejected",
    "rejected_id received_at reason answered method claimed_account_sid claimed_call_sid",
    whole="rejected_id answered",
)
DAILY_COUNTS: Final = (
    "asked adopted pending unanswered refused accepted started stopped failed overdue start_1s start_2s "
    "start_3s start_5s start_10s start_20s start_60s start_more start_never start_unknown "
    "failed_recorder_no_answer failed_siprec_failed refused_rejected refused_call_unknown "
    "refused_call_id_invalid refused_call_ended "
    "refused_call_not_answered refused_fields_invalid refused_credentials refused_not_authorized "
    "refused_rate_limited refused_unreachable unanswered_no_answer unanswered_telnyx_error"
)
DAILY: Final = _view(
    "daily",
    f"account_sid connector_name day {DAILY_COUNTS}".replace("overdue ", "overdue seconds_recorded "),
    day="day",
    whole=DAILY_COUNTS,
    number="seconds_recorded",
)
FAILURES: Final = _view(
    "failures",
    "account_sid connector_name day cause cause_text side sessions first_requested_at last_requested_at "
    "example_session_id",
    day="day",
    whole="sessions",
)
