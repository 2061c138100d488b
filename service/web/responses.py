"""The JSON that goes out: the same models answer, and make the OpenAPI document."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
)

from service.domain.notice import Error, ErrorKind
from service.domain.overdue import OverdueKind
from service.domain.session import Origin, Session
from service.domain.start import CallbackMethod, Order, SipTransport, Track
from service.domain.state import State
from service.store.callback_lists import StoredCallback
from service.store.columns import written_out
from service.store.events import Event, EventKind
from service.telnyx.callback_form import Form

Time = Annotated[
    datetime,
    PlainSerializer(written_out, when_used="json"),
    Field(description="UTC, with microseconds"),
]

# As paths take it: where the two differ, typed clients cannot hand an id on.
Id = Annotated[str, Field(json_schema_extra={"format": "uuid"})]

CHANGES_MEAN: Final = (
    "fact: [before, after]. The state may be the same in both: then a further attempt to start was answered "
    "as the one before"
)


class Model(BaseModel):
    """Nothing but its fields, which nobody changes; going out, all of them are there."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_serialization_defaults_required=True)


class ErrorResponse(Model):
    kind: ErrorKind = Field(
        description="rejected: Telnyx refused the request; credentials: it refused our API key; "
        "rate_limited; unreachable: the request never left; no_answer: it left, and no usable answer came; "
        "siprec_failed: a callback said so"
    )
    status: int | None = Field(description="Telnyx's HTTP status")
    code: str | None = Field(description="Telnyx's code")
    detail: str | None = Field(description="Telnyx's words, or ours where it had none")


class AnswerResponse(Model):
    outcome: str = Field(description="accepted, refused or unanswered")
    at: Time
    siprec_sid: str | None
    error: ErrorResponse | None


class EventResponse(Model):
    sequence: int
    kind: EventKind = Field(
        description="created, changed, or merged with another session; or what the watch found out"
    )
    actor: str = Field(description="who caused it: an API key's name, telnyx, or watch")
    correction: bool = Field(description="true: by a callback that was received earlier and written later")
    state: State = Field(description="after the change")
    changes: dict[str, tuple[Any, Any]] = Field(description=CHANGES_MEAN)
    happened_at: Time
    written_at: Time


class OverdueResponse(Model):
    kind: OverdueKind = Field(
        description="not_started: accepted, and no siprec-started; no_answer: unanswered, and no callback; "
        "not_stopped: its stop was asked for, and no siprec-stopped; not_ended: started long ago, and no "
        "siprec-stopped; stopped_early: siprec-stopped that nobody asked for, while its call goes on"
    )
    since: Time = Field(description="the deadline, by the database's clock")
    why: str = Field(
        description="in words; begins with `unknown: ` where callbacks may wait on a disk, or where nobody "
        "listened"
    )


class CallResponse(Model):
    status: str = Field(
        description="Telnyx's word: ringing, in-progress, canceled, completed, failed, busy or no-answer; "
        "not-found: it did not know the call"
    )
    checked_at: Time = Field(description="when Telnyx was asked, by the database's clock")


class PresumedResponse(Model):
    ended_at: Time = Field(description="when its call ended")
    why: str


class SessionResponse(Model):
    id: Id
    state: State = Field(
        description="requested: not answered yet; unanswered: it may or may not have started; refused: it "
        "did not start, see error; accepted: Telnyx gave it a sid; started, stopped, failed: as Telnyx "
        "called back"
    )
    origin: Origin = Field(description="api: started here; adopted: started by a TeXML document")
    account_sid: str
    call_sid: str
    siprec_sid: str | None
    callback_siprec_sid: str | None = Field(
        description="the sid that callbacks use, where Telnyx's answer gave another"
    )
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
    requested_at: Time = Field(description="adopted: when its first callback was received")
    accepted_at: Time | None = Field(description="our clock")
    started_at: Time | None = Field(description="Telnyx's clock; the earliest")
    ended_at: Time | None = Field(description="Telnyx's clock; the earliest")
    stop_requested_at: Time | None
    stop_requested_by: str | None = Field(description="the API key's name")
    updated_at: Time
    attempts: int = Field(description="how often Telnyx was asked to start it")
    answer: AnswerResponse | None = Field(
        description="what Telnyx answered to the latest attempt; null with as_of"
    )
    error: ErrorResponse | None = Field(description="why it is refused, unanswered or failed")
    merged_into: Id | None = Field(description="the session that it turned out to be")
    overdue: OverdueResponse | None = Field(description="what should have happened to it by now")
    call: CallResponse | None = Field(description="its call, when Telnyx was last asked for it")
    presumed: PresumedResponse | None = Field(
        description="its end, where no callback told of one; it stays when one comes after all"
    )


class SessionWithTimeline(SessionResponse):
    timeline: list[EventResponse] = Field(
        description="the first changes, in the order in which they were written"
    )
    timeline_next_cursor: str | None = Field(
        description="where /timeline goes on with further changes; null where there are none"
    )


class TimelinePage(Model):
    timeline: list[EventResponse] = Field(description="in the order in which they were written")
    next_cursor: str | None = Field(description="for the next page; null on the last")


class SessionPage(Model):
    sessions: list[SessionResponse]
    next_cursor: str | None = Field(description="for the next page; null on the last")


class CallbackResponse(Model):
    id: Id
    session_id: Id | None = Field(description="null where it belongs to no session that we know")
    event: str | None = Field(description="SiprecEvent, as Telnyx wrote it")
    happened_at: Time | None = Field(description="its Timestamp")
    received_at: Time = Field(description="when it first came")
    last_received_at: Time = Field(description="when it last came")
    deliveries: int = Field(description="how often it came")
    verified_by: str = Field(description="the fingerprint of the key that signed it, or token")
    problem: str | None = Field(description="what is wrong with it")
    method: str
    account_sid: str | None
    call_sid: str | None
    siprec_sid: str | None
    error: str | None = Field(description="SiprecError")
    fields: list[tuple[str, str]] | None = Field(
        description="all that it says, as far as it is text; null with fields=false, "
        "and where the API key lacks evidence:read"
    )


class CallbackPage(Model):
    callbacks: list[CallbackResponse]
    next_cursor: str | None = Field(description="for the next page; null on the last")


class Alive(Model):
    status: str


class DatabaseHealth(Model):
    answers: bool = Field(description="reads are served")
    takes_writes: bool = Field(description="callbacks, starts and stops are written")
    unavailable_since: Time | None = Field(description="null while it takes writes")


class SpoolState(StrEnum):
    ON = "on"
    OFF = "off"
    UNUSABLE = "unusable"


class SpoolHealth(Model):
    state: SpoolState = Field(description="on: takes callbacks; off: SPOOL is off; unusable: full or broken")
    entries: int = Field(default=0, description="callbacks of this host that wait for the database")
    oldest_seconds: float | None = Field(default=None, description="how long the oldest has waited")
    dead_letters: int = Field(default=0, description="entries that cannot be written: see spool list")


class NumberingHealth(Model):
    unnumbered: int | None = Field(
        description="events without a position when we last looked, 10,000 at most; null: not known yet"
    )
    lag_seconds: float | None = Field(description="every event committed longer ago has its position")


class Ready(Model):
    ready: bool = Field(description="the database or the spool takes callbacks")
    database: DatabaseHealth
    spool: SpoolHealth
    numbering: NumberingHealth
    rejected: int | None = Field(default=None, description="rejected callbacks in the database, if known")


def session(shown: Session) -> SessionResponse:
    return SessionResponse(**session_members(shown))


def session_members(shown: Session) -> dict[str, Any]:
    """Of SessionResponse."""
    progress, answer = shown.progress, shown.answer
    return {
        "id": shown.id,
        "origin": shown.origin,
        **{name: getattr(shown.order, name) for name in Order.__dataclass_fields__},
        "state": progress.state,
        "siprec_sid": progress.siprec_sid,
        "callback_siprec_sid": progress.other_siprec_sid,
        "requested_by": shown.requested_by,
        "requested_at": shown.requested_at,
        "accepted_at": progress.accepted_at,
        "started_at": progress.started_at,
        "ended_at": progress.ended_at,
        "stop_requested_at": progress.stop_requested_at,
        "stop_requested_by": progress.stop_requested_by,
        "updated_at": shown.updated_at,
        "attempts": shown.attempts,
        "answer": answer
        and {
            "outcome": answer.kind.label,
            "at": answer.received_at,
            "siprec_sid": answer.siprec_sid,
            "error": _error(answer.error),
        },
        "error": _error(progress.error),
        "merged_into": shown.merged_into,
        **shown.watched.facts(),
    }


def event(shown: Event) -> EventResponse:
    return EventResponse.model_validate(shown, from_attributes=True)


def callback(shown: StoredCallback, *, with_evidence: bool) -> CallbackResponse:
    parsed, notice, came = shown.callback, shown.callback.notice, shown.callback.delivery
    return CallbackResponse(
        id=came.id,
        session_id=parsed.session_id,
        event=parsed.event,
        happened_at=notice.happened_at,
        received_at=notice.received_at,
        last_received_at=shown.last_received_at,
        deliveries=shown.deliveries,
        verified_by=parsed.verified_by,
        problem="; ".join(filter(None, [parsed.problem, shown.contradiction])) or None,
        method=came.method,
        account_sid=notice.account_sid,
        call_sid=notice.call_sid,
        siprec_sid=notice.siprec_sid,
        error=notice.error.detail if notice.error else None,
        fields=Form.of(came.method, came.query, came.body).texts if with_evidence else None,
    )


def _error(error: Error | None) -> dict[str, Any] | None:
    return error.facts() if error else None
