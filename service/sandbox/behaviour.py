"""How the sandbox behaves: what it answers, which callbacks it sends, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, Self, get_args

from .members import (
    BadBehaviour,
    BadMember,
    flag,
    named_members,
    names,
    one_of,
    optional,
    read_members,
    replacements,
    seconds,
    skew,
    some_of,
    text,
    whole,
)
from .shapes import shape

STARTED = "siprec-started"
STOPPED = "siprec-stopped"
FAILED = "siprec-failed"
EVENTS = (STARTED, STOPPED, FAILED)

AnswerKind = Literal["accept", "timeout", "reset", "close", "unreadable", "error"]
CallStatus = Literal["ringing", "in-progress", "canceled", "completed", "failed", "busy", "no-answer"]
CallbackOrder = Literal["kept", "reversed", "free"]
TimestampFormat = Literal["iso8601", "iso8601-without-zone", "rfc2822"]


@dataclass(frozen=True)
class Answer:
    """How one kind of API request is answered.

    accept: as documented. timeout: the request is read and never answered (the connection closes after
    `delay_seconds`, or with 0 when the client or the sandbox gives up). reset: a TCP reset. close: the
    connection ends without an answer. unreadable: 200 with a page of HTML. error: `status`, in
    Telnyx's shape of errors.
    """

    kind: Annotated[AnswerKind, one_of(*get_args(AnswerKind))] = "accept"
    delay_seconds: Annotated[float, seconds] = 0.0
    times: Annotated[int | None, optional(whole(1, 1_000_000))] = None  # per call; then requests are accepted
    status: Annotated[int | None, optional(whole(300, 599))] = None  # of an error; None is 500
    code: Annotated[str | None, optional(text)] = None
    detail: Annotated[str | None, optional(text)] = None
    retry_after_seconds: Annotated[int | None, optional(whole(0, 86_400))] = None
    # what an accepting answer says otherwise, by member; None leaves one out
    fields: Annotated[Mapping[str, str | None], replacements] = field(default_factory=dict)

    def __post_init__(self) -> None:
        read_members(self)
        said = (self.status, self.code, self.detail, self.retry_after_seconds)
        if self.kind != "error" and said != (None,) * len(said):
            raise BadBehaviour("kind must be error where status, code, detail or retry_after_seconds is set")
        if self.kind != "accept" and self.fields:
            raise BadBehaviour("kind must be accept where fields are given")

    @classmethod
    def error(cls, status: int, **others: Any) -> Self:
        """An answer of this HTTP status; `others` are further members."""
        return cls(kind="error", status=status, **others)


def read_answer(value: object) -> Answer:
    """An Answer from itself, from a JSON object, or from the name of a kind alone."""
    if isinstance(value, Answer):
        return value
    if isinstance(value, str):
        return Answer(kind=value)  # type: ignore[arg-type]  # read_members refuses other names
    if not isinstance(value, Mapping):
        raise BadMember(f"must be the kind of an answer or an object, not {value!r}")
    return Answer(**named_members(Answer, value))


@dataclass(frozen=True)
class Behaviour:
    """What the sandbox does for all calls or for one; the default is a Telnyx on a good day."""

    answer: Annotated[Answer, read_answer] = Answer()  # to a start
    stop_answer: Annotated[Answer, read_answer] = Answer()
    call_answer: Annotated[Answer, read_answer] = Answer()  # to GET call
    connector_answer: Annotated[Answer, read_answer] = Answer()  # to GET connector; only for all calls
    starts: Annotated[bool | None, optional(flag)] = None  # whatever was answered; None: only if accepted
    stops: Annotated[bool | None, optional(flag)] = None  # likewise

    started_after_seconds: Annotated[float, seconds] = 0.0
    started_before_answer: Annotated[bool, flag] = False
    fails: Annotated[str | None, optional(text)] = None  # SiprecError: siprec-failed instead of -started
    duration_seconds: Annotated[float | None, optional(seconds)] = None  # then it stops by itself

    order: Annotated[CallbackOrder, one_of(*get_args(CallbackOrder))] = "kept"  # of the whole session
    drop: Annotated[frozenset[str], some_of(*EVENTS)] = frozenset()  # events that are never sent
    repeat: Annotated[int, whole(1, 100)] = 1
    repeat_at_once: Annotated[bool, flag] = False  # else one copy after the other

    forge: Annotated[bool, flag] = False  # signed with a key that is not ours
    unsigned: Annotated[bool, flag] = False  # without the two headers
    clock_skew_seconds: Annotated[float, skew] = 0.0  # added to telnyx-timestamp
    timestamp_format: Annotated[TimestampFormat, one_of(*get_args(TimestampFormat))] = "iso8601"
    # fields of the callback to add or replace (AccountSid, Timestamp, …); None leaves one out
    fields: Annotated[Mapping[str, str | None], replacements] = field(default_factory=dict)

    attempts: Annotated[int, whole(1, 20)] = 3
    backoff_seconds: Annotated[float, seconds] = 0.1  # doubles with every attempt
    patience_seconds: Annotated[float, seconds] = 2.0  # how long a receiver may take

    # what GET call says, instead of the truth
    call_status: Annotated[CallStatus | None, optional(one_of(*get_args(CallStatus)))] = None
    # all others are answered 404; None: all are known
    known_accounts: Annotated[frozenset[str] | None, optional(names)] = None
    known_calls: Annotated[frozenset[str] | None, optional(names)] = None
    known_connectors: Annotated[frozenset[str] | None, optional(names)] = None
    ended_is_unknown: Annotated[bool, flag] = False  # 404 at the stop of a session that is over

    def __post_init__(self) -> None:
        read_members(self)
        if self.patience_seconds == 0:
            raise BadBehaviour("patience_seconds must be more than 0")
        if self.started_before_answer and self.order == "reversed":
            raise BadBehaviour("started_before_answer cannot be had with the order reversed")

    @classmethod
    def from_json(cls, document: object) -> Self:
        """The behaviour a JSON object describes; what it does not name is default. Raises BadBehaviour."""
        return cls(**named_members(cls, document))

    def with_fields(self, fields: Mapping[str, str | None]) -> Self:
        """The same, with these fields of callbacks replaced as well. Raises BadBehaviour."""
        checked = replace(self, fields=fields).fields
        return replace(self, fields={**self.fields, **checked})

    def to_json(self) -> dict[str, Any]:
        return dict(shape(self))
