"""The JSON and the queries that come in: the same models validate, and make the OpenAPI document."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    TypeAdapter,
)
from pydantic.config import JsonDict

from service.domain.overdue import OverdueKind
from service.domain.session import Session
from service.domain.start import CallbackMethod, Order, SipTransport, Track
from service.domain.state import State
from service.store.feed import Wanted
from service.store.session_lists import Filter
from service.web.cloud_events import EventType
from service.web.responses import Model

# No NUL, no control characters, no lone surrogates: no database column and no log line takes them.
PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f]+$"
LARGEST_INTEGER = 2**31 - 1
MOST_LABELS = 32
LONGEST_WAIT = 20  # seconds


def _without_controls(text: str) -> str:
    if not re.fullmatch(PRINTABLE[1:-1], text):
        raise ValueError("must not hold control characters")
    return text


def _no_dots(text: str) -> str:
    if text in {".", ".."}:
        raise ValueError("must not be . or ..")
    return text


def _whole(number: object) -> object:
    # To JSON 90 and 90.0 are the same number, and to some of its writers too.
    return int(number) if isinstance(number, float) and number.is_integer() else number


def _timeout(seconds: int) -> int:
    if 0 < seconds < 90:
        raise ValueError("must be 0 (off), or at least 90")
    return seconds


def _written_out(text: object) -> object:
    if not isinstance(text, str) or not re.match(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d", text):
        raise ValueError("must be a time as RFC 3339 writes it, with a zone")
    return text


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("must be a time between the years 1 and 9999 in UTC") from None


def _by_name(schema: JsonDict) -> None:
    """In words that makers of clients know; pydantic's patternProperties are none to them."""
    patterns = schema.pop("patternProperties")
    assert isinstance(patterns, dict)
    for pattern, value in patterns.items():
        schema |= {"propertyNames": {"pattern": pattern}, "additionalProperties": value}


Text = Annotated[
    str,
    StringConstraints(min_length=1, max_length=255),
    AfterValidator(_without_controls),
    Field(json_schema_extra={"pattern": PRINTABLE}),
]
Sid = Annotated[Text, AfterValidator(_no_dots), Field(json_schema_extra={"not": {"enum": [".", ".."]}})]
LabelKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
Timeout = Annotated[
    int,
    Field(
        ge=0,
        le=LARGEST_INTEGER,
        json_schema_extra={"anyOf": [{"const": 0}, {"type": "integer", "minimum": 90}]},
    ),
    AfterValidator(_timeout),
    BeforeValidator(_whole),
]
# Written out, or pydantic takes a number for seconds since 1970.
QueryTime = Annotated[AwareDatetime, BeforeValidator(_written_out), AfterValidator(_in_utc)]


def read_time(text: str) -> datetime:
    """UTC. Raises ValueError."""
    return _TIME.validate_python(text)


_TIME: TypeAdapter[datetime] = TypeAdapter(QueryTime)

Milestone = Literal["requested", "unanswered", "refused", "accepted", "started", "stopped", "failed", "over"]
IsOverdue = Literal["true", "false", "not_started", "no_answer", "not_stopped", "not_ended", "stopped_early"]
Cursor = Annotated[str, StringConstraints(min_length=1, max_length=2000)]


class Empty(Model):
    """No field at all."""


AN_ORDER: dict[str, JsonValue] = {
    "call_sid": "v3:9X2vxPDhtnLZxvK3Ab",
    "connector_name": "recorder",
    "track": "both_tracks",
    "reference": "claim-77",
    "labels": {"team": "fraud"},
}


class StartRequest(Model):
    """What to record. Every field of Telnyx's form but StatusCallback, which is always ours."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, json_schema_extra={"examples": [AN_ORDER]}
    )

    call_sid: Sid = Field(description="the call to record")
    account_sid: Sid | None = Field(default=None, description="default: the service's TELNYX_ACCOUNT_SID")
    connector_name: Text | None = Field(default=None, description="a SIPREC connector of the account")
    name: Text | None = Field(default=None, description="may be used to stop the session from TeXML")
    track: Track | None = Field(default=None, description="Telnyx's default: both_tracks")
    include_metadata_custom_headers: bool | None = Field(
        default=None, description="custom parameters go into the recording metadata, not into SIP headers"
    )
    secure: bool | None = Field(
        default=None, description="SRTP and TLS; the connector's port must then be 5061"
    )
    session_timeout_secs: Timeout | None = Field(
        default=None, description="0 (off), or at least 90; Telnyx's default: 1800"
    )
    sip_transport: SipTransport | None = Field(default=None, description="Telnyx's default: udp")
    status_callback_method: CallbackMethod = Field(
        default=CallbackMethod.POST,
        description="POST unless set; POST is signed, GET only as far as our URL is secret",
    )
    reference: Text | None = Field(default=None, description="the app's own, to find it again")
    labels: Annotated[dict[LabelKey, Text], Field(max_length=MOST_LABELS)] = Field(
        default_factory=dict,
        description="the app's own, to find and group by",
        json_schema_extra=_by_name,
    )

    def order(self, account_sid: str) -> Order:
        return Order(**{**self.model_dump(), "account_sid": account_sid})


class WaitQuery(Model):
    wait: Milestone | None = Field(
        default=None,
        description="answer once the session is in this state or past it, or over; at once where it was "
        "merged into another",
    )
    wait_seconds: int = Field(
        default=LONGEST_WAIT,
        ge=0,
        le=LONGEST_WAIT,
        description="for so long at most, then as it is; 20 unless set",
    )

    def is_met_by(self, session: Session) -> bool:
        """So there is nothing to wait for."""
        if self.wait is None or session.merged_into is not None:
            return True
        return session.has_reached(self._least())

    def states(self) -> set[State]:
        """Those of a session that it may be met by."""
        return {state for state in State if state.has_reached(self._least())}

    def _least(self) -> State | None:
        """None: that it is over."""
        return None if self.wait in (None, "over") else State(self.wait)


class PageQuery(Model):
    limit: int = Field(default=50, ge=1, le=250, description="entries per page; 50 unless set")
    cursor: Cursor | None = Field(
        default=None, description="next_cursor of the page before, with the same filters"
    )

    def filters(self) -> dict[str, JsonValue]:
        """Those that are set, by name: what a cursor is bound to."""
        return self.model_dump(mode="json", exclude={"limit", "cursor"}, exclude_defaults=True)


class SessionQuery(PageQuery):
    state: tuple[State, ...] = Field(
        default=(), max_length=len(State), description="as it is now; may be repeated, then any of them"
    )
    call_sid: Text | None = Field(default=None, description="as ordered, or as Telnyx called back")
    account_sid: Text | None = Field(default=None, description="likewise")
    connector_name: Text | None = Field(default=None, description="as ordered")
    reference: Text | None = Field(default=None, description="the app's own; all of it must be equal")
    label: tuple[
        Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}:[^\x00-\x1f\x7f-\x9f]{1,255}$")], ...
    ] = Field(default=(), max_length=MOST_LABELS, description="key:value; may be repeated, then all must fit")
    requested_after: QueryTime | None = Field(default=None, description="RFC 3339, with a zone; exclusive")
    requested_before: QueryTime | None = Field(default=None, description="RFC 3339, with a zone; exclusive")
    overdue: IsOverdue | None = Field(
        default=None, description="whether something should have happened to it by now; or what"
    )

    def filter(self) -> Filter:
        labels = tuple((key, value) for key, _, value in (label.partition(":") for label in self.label))
        wanted = self.model_dump(exclude={"state", "label", "overdue", "limit", "cursor"})
        return Filter(**wanted, states=frozenset(self.state), labels=labels, overdue=self._overdue())

    def _overdue(self) -> OverdueKind | bool | None:
        if self.overdue is None:
            return None
        return self.overdue == "true" if self.overdue in ("true", "false") else OverdueKind(self.overdue)

    def filters(self) -> dict[str, JsonValue]:
        states: list[JsonValue] = [*sorted(set(self.state))]
        found = super().filters()
        # One alone stands in cursors as it did when there could be no more.
        return {**found, "state": states if len(states) > 1 else states[0]} if states else found


class CallbackPageQuery(PageQuery):
    fields: bool = Field(
        default=True,
        description="true, unless set: what each said, if the API key has evidence:read; "
        "every such reading becomes an event",
    )

    def filters(self) -> dict[str, JsonValue]:
        return {name: value for name, value in super().filters().items() if name != "fields"}


class CallbackQuery(CallbackPageQuery):
    problem: bool | None = Field(default=None, description="whether something is wrong with it")


class EventQuery(Model):
    after: Cursor = Field(
        default="start",
        description="`next` of the page before; start; now; or a time (RFC 3339, with a zone): what was "
        "numbered from then on. start unless set",
    )
    limit: int = Field(default=100, ge=1, le=1000, description="events per page; 100 unless set")
    type: tuple[EventType, ...] = Field(default=(), description="may be repeated, then any of them")
    account_sid: Text | None = Field(default=None, description="the session's, as it stood after the event")
    connector_name: Text | None = Field(default=None, description="as ordered")
    session_id: UUID | None = Field(default=None, description="events of sessions merged into it too")
    wait: int = Field(
        default=0, ge=0, le=LONGEST_WAIT, description="for so many seconds at most, until there is an event"
    )

    def wanted(self) -> Wanted:
        return Wanted(
            types=frozenset(one.subject_and_kind for one in self.type),
            account_sid=self.account_sid,
            connector_name=self.connector_name,
            session_id=str(self.session_id) if self.session_id else None,
        )
