"""The JSON that goes in and out. The same models validate, answer, and make the OpenAPI document."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    StringConstraints,
)

from service.siprec import CallbackMethod, ErrorKind, Order, Origin, Session, SipTransport, State, Track
from service.store.callbacks import KeptCallback
from service.store.events import Event
from service.store.schema import Age
from service.store.sessions import Filter

# No NUL, no control characters, no lone surrogates: no database column and no log line wants them.
PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f]+$"
LARGEST_INTEGER = 2**31 - 1
MOST_LABELS = 32


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
Time = Annotated[
    datetime,
    PlainSerializer(lambda t: t.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"), when_used="json"),
    Field(description="UTC, with microseconds"),
]
# Written out, or pydantic takes a number for seconds since 1970.
AskedTime = Annotated[AwareDatetime, BeforeValidator(_written_out), AfterValidator(_in_utc)]


Cursor = Annotated[str, StringConstraints(min_length=1, max_length=2000)]


class Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Nothing(Shape):
    """No field at all."""


AN_ORDER: dict[str, JsonValue] = {
    "call_sid": "v3:9X2vxPDFrqpTYwsAIbt0",
    "connector_name": "recorder",
    "track": "both_tracks",
    "reference": "claim 77",
    "labels": {"team": "fraud"},
}


class StartRequest(Shape):
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
        default=CallbackMethod.POST, description="POST is signed, GET only as far as our URL is secret"
    )
    reference: Text | None = Field(default=None, description="the app's own, to find it again")
    labels: Annotated[dict[LabelKey, Text], Field(max_length=MOST_LABELS)] = Field(
        default_factory=dict,
        description="the app's own, to find and group by",
        json_schema_extra={"additionalProperties": False},  # pydantic tells the pattern of the keys only
    )

    def order(self, account_sid: str) -> Order:
        return Order(**{**self.model_dump(), "account_sid": account_sid})


class ErrorShape(Shape):
    kind: ErrorKind = Field(
        description="rejected: Telnyx refused what was asked; credentials: it refused us; rate_limited; "
        "unreachable: the request never left; no_answer: it left, and no usable answer came; "
        "siprec_failed: a callback said so"
    )
    status: int | None = Field(description="Telnyx's HTTP status")
    code: str | None = Field(description="Telnyx's code")
    detail: str | None = Field(description="Telnyx's words, or ours where it had none")


class AnswerShape(Shape):
    outcome: str = Field(description="accepted, refused or unanswered")
    at: Time
    siprec_sid: str | None
    error: ErrorShape | None


class EventShape(Shape):
    sequence: int
    state: State = Field(description="after the change")
    changes: dict[str, tuple[Any, Any]] = Field(description="fact: [before, after]")
    happened_at: Time
    written_at: Time


class SessionShape(Shape):
    id: str
    state: State = Field(
        description="requested: not answered yet; unanswered: it may or may not have started; refused: it "
        "did not start, see error; accepted: Telnyx gave it a sid; started, stopped, failed: as Telnyx "
        "called back"
    )
    origin: Origin = Field(description="api: asked for here; adopted: a TeXML document started it")
    account_sid: str
    call_sid: str
    siprec_sid: str | None
    callback_siprec_sid: str | None = Field(description="what callbacks call it, where that differs")
    connector_name: str | None
    name: str | None
    track: Track | None
    include_metadata_custom_headers: bool | None
    secure: bool | None
    session_timeout_secs: int | None
    sip_transport: SipTransport | None
    status_callback_method: CallbackMethod
    reference: str | None
    labels: dict[str, str]
    requested_by: str | None = Field(description="the API key's name")
    requested_at: Time = Field(description="adopted: when it was first heard of")
    accepted_at: Time | None = Field(description="our clock")
    started_at: Time | None = Field(description="Telnyx's clock; the earliest heard")
    ended_at: Time | None = Field(description="Telnyx's clock; the earliest heard")
    stop_requested_at: Time | None
    updated_at: Time
    attempts: int = Field(description="how often Telnyx was asked to start it")
    answer: AnswerShape | None = Field(description="what Telnyx answered to the latest attempt")
    error: ErrorShape | None = Field(description="why it is refused, unanswered or failed")
    merged_into: str | None = Field(description="it turned out to be this session")


class SessionWithTimeline(SessionShape):
    timeline: list[EventShape] = Field(description="every change, in the order in which it was written")


class SessionPage(Shape):
    sessions: list[SessionShape]
    next_cursor: str | None = Field(description="for the next page; null on the last")


class CallbackShape(Shape):
    id: str
    session_id: str | None = Field(description="null where it belongs to no session that we know")
    event: str | None = Field(description="SiprecEvent, as Telnyx wrote it")
    happened_at: Time | None = Field(description="its Timestamp")
    received_at: Time = Field(description="when it first came")
    deliveries: int = Field(description="how often it came")
    verified_by: str = Field(description="the fingerprint of the key that signed it, or token")
    problem: str | None = Field(description="what is wrong with it")
    method: str
    account_sid: str | None
    call_sid: str | None
    siprec_sid: str | None
    error: str | None = Field(description="SiprecError")
    fields: list[tuple[str, str]] = Field(description="all that it says, as far as it is text")


class CallbackList(Shape):
    callbacks: list[CallbackShape] = Field(description="in the order in which they first came")


class SessionQuery(Shape):
    state: State | None = Field(default=None, description="as it is now")
    call_sid: Text | None = Field(default=None, description="as it was asked for, or as Telnyx called back")
    account_sid: Text | None = Field(default=None, description="likewise")
    connector_name: Text | None = Field(default=None, description="as it was asked for")
    reference: Text | None = Field(default=None, description="the app's own; all of it must be equal")
    label: tuple[
        Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}:[^\x00-\x1f\x7f-\x9f]{1,255}$")], ...
    ] = Field(default=(), max_length=MOST_LABELS, description="key:value; may be repeated, then all must fit")
    requested_after: AskedTime | None = Field(default=None, description="RFC 3339, with a zone; exclusive")
    requested_before: AskedTime | None = Field(default=None, description="RFC 3339, with a zone; exclusive")
    limit: int = Field(default=50, ge=1, le=250, description="sessions per page; 50 unless asked otherwise")
    cursor: Cursor | None = Field(
        default=None, description="next_cursor of the page before, with the same filters"
    )

    def filter(self) -> Filter:
        labels = tuple((key, value) for key, _, value in (label.partition(":") for label in self.label))
        wanted = self.model_dump(exclude={"label", "limit", "cursor"})
        return Filter(**wanted, labels=labels)


class CallbackPage(Shape):
    callbacks: list[CallbackShape]
    next_cursor: str | None = Field(description="for the next page; null on the last")


class CallbackQuery(Shape):
    problem: bool | None = Field(default=None, description="whether something is wrong with it")
    limit: int = Field(default=50, ge=1, le=250, description="callbacks per page; 50 unless asked otherwise")
    cursor: Cursor | None = Field(
        default=None, description="next_cursor of the page before, with the same filter"
    )


class Alive(Shape):
    status: str


class DatabaseHealth(Shape):
    reachable: bool
    schema_age: Age | None = Field(default=None, description="against this release; newer is fine")


class SpoolState(StrEnum):
    ON = "on"
    OFF = "off"
    BROKEN = "broken"  # its folder cannot be written to


class SpoolHealth(Shape):
    state: SpoolState
    entries: int = Field(default=0, description="callbacks of this host that wait for the database")
    oldest_seconds: float | None = Field(default=None, description="how long the oldest has waited")
    set_aside: int = Field(default=0, description="files that cannot be drained; a person has to look")


class Ready(Shape):
    ready: bool = Field(description="the database or the spool takes callbacks")
    database: DatabaseHealth
    spool: SpoolHealth
    refused: int | None = Field(description="callbacks in quarantine; null without a database")


def session(shown: Session) -> dict[str, Any]:
    """The members of SessionShape."""
    progress, answer = shown.progress, shown.answer
    return {
        "id": shown.id,
        "origin": shown.origin,
        **{name: getattr(shown.order, name) for name in Order.__dataclass_fields__},
        "state": progress.state,
        "siprec_sid": progress.siprec_sid,
        "callback_siprec_sid": progress.callback_siprec_sid,
        "requested_by": shown.requested_by,
        "requested_at": shown.requested_at,
        "accepted_at": progress.accepted_at,
        "started_at": progress.started_at,
        "ended_at": progress.ended_at,
        "stop_requested_at": progress.stop_requested_at,
        "updated_at": shown.updated_at,
        "attempts": shown.attempts,
        "answer": answer
        and {
            "outcome": answer.news.label,
            "at": answer.heard_at,
            "siprec_sid": answer.siprec_sid,
            "error": _error(answer.error),
        },
        "error": _error(progress.error),
        "merged_into": shown.merged_into,
    }


def event(shown: Event) -> EventShape:
    return EventShape(
        sequence=shown.sequence,
        state=shown.state,
        changes={fact: (before, after) for fact, (before, after) in shown.changes.items()},
        happened_at=shown.happened_at,
        written_at=shown.written_at,
    )


def callback(shown: KeptCallback, fields: list[tuple[str, str]]) -> CallbackShape:
    said = shown.notice
    return CallbackShape(
        id=shown.id,
        session_id=shown.session_id,
        event=shown.event,
        happened_at=said.happened_at,
        received_at=shown.evidence.received_at,
        deliveries=shown.deliveries,
        verified_by=shown.evidence.verified_by,
        problem="; ".join(filter(None, [shown.problem, shown.contradiction])) or None,
        method=shown.evidence.method,
        account_sid=said.account_sid,
        call_sid=said.call_sid,
        siprec_sid=said.siprec_sid,
        error=said.error.detail if said.error else None,
        fields=fields,
    )


def _error(error: Any) -> dict[str, Any] | None:
    return error and {"kind": error.kind, "status": error.status, "code": error.code, "detail": error.detail}
