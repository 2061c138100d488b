"""How the sandbox behaves: what it answers, which callbacks it sends, and what is wrong with them."""

from collections.abc import Mapping
from dataclasses import field, replace
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, StrictBool, TypeAdapter
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from .validation import Replacements, number, read

Event = Literal["siprec-started", "siprec-stopped", "siprec-failed"]
STARTED: Event = "siprec-started"
STOPPED: Event = "siprec-stopped"
FAILED: Event = "siprec-failed"
EVENTS: tuple[Event, ...] = (STARTED, STOPPED, FAILED)

AnswerKind = Literal["accept", "timeout", "reset", "close", "unreadable", "error"]
CallStatus = Literal["ringing", "in-progress", "canceled", "completed", "failed", "busy", "no-answer"]
CallbackOrder = Literal["kept", "reversed", "free"]
TimestampFormat = Literal["iso8601", "iso8601-without-zone", "rfc2822"]
Seconds = Annotated[float, number(0, 86_400)]

STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=STRICT)
class Answer:
    """How one kind of API request is answered.

    accept: as documented. timeout: the request is read and never answered (the connection closes after
    `delay_seconds`, or with 0 when the client or the sandbox gives up). reset: a TCP reset. close: the
    connection ends without an answer. unreadable: 200 with a page of HTML. error: `status`, in
    Telnyx's shape of errors.
    """

    kind: AnswerKind = "accept"
    delay_seconds: Seconds = 0.0
    times: Annotated[int, number(1, 1_000_000)] | None = None  # per call; then requests are accepted
    status: Annotated[int, number(300, 599)] | None = None  # of an error; None is 500
    code: str | None = None
    detail: str | None = None
    retry_after_seconds: Annotated[int, number(0, 86_400)] | None = None
    # what an accepting answer says otherwise, by member; None leaves one out
    fields: Replacements = field(default_factory=dict)

    def __post_init__(self) -> None:
        of_errors = (self.status, self.code, self.detail, self.retry_after_seconds)
        if self.kind != "error" and any(each is not None for each in of_errors):
            raise PydanticCustomError(
                "members", "kind must be error where status, code, detail or retry_after_seconds is set"
            )
        if self.kind != "accept" and self.fields:
            raise PydanticCustomError("members", "kind must be accept where fields are given")

    @classmethod
    def error(cls, status: int, **others: Any) -> Self:
        """An answer of this HTTP status; `others` are further members."""
        return cls(kind="error", status=status, **others)


def _named_by_kind(value: object) -> object:
    if not isinstance(value, str | Mapping | Answer):
        raise ValueError("must be the kind of an answer or an object")  # noqa: TRY004 (pydantic's)
    return {"kind": value} if isinstance(value, str) else value


Answering = Annotated[Answer, BeforeValidator(_named_by_kind)]  # the kind alone will do


@dataclass(frozen=True, config=STRICT)
class Behaviour:
    """What the sandbox does for all calls or for one; the default is a Telnyx on a good day."""

    answer: Answering = Answer()  # to a start
    stop_answer: Answering = Answer()
    call_answer: Answering = Answer()  # to GET call
    connector_answer: Answering = Answer()  # to GET connector; only for all calls
    starts: StrictBool | None = None  # whatever was answered; None: only if accepted
    stops: StrictBool | None = None  # likewise

    started_after_seconds: Seconds = 0.0
    started_before_answer: StrictBool = False
    fails: str | None = None  # SiprecError: siprec-failed instead of -started
    duration_seconds: Seconds | None = None  # then it stops by itself

    order: CallbackOrder = "kept"  # of the whole session
    drop: frozenset[Event] = frozenset()  # events that are never sent
    repeat: Annotated[int, number(1, 100)] = 1
    repeat_at_once: StrictBool = False  # else one copy after the other

    forge: StrictBool = False  # signed with a key that is not ours
    unsigned: StrictBool = False  # without the two headers
    # added to telnyx-timestamp: ten years either way, so that nonsense can be played too
    clock_skew_seconds: Annotated[float, number(-3.2e8, 3.2e8)] = 0.0
    timestamp_format: TimestampFormat = "iso8601"
    fields: Replacements = field(default_factory=dict)  # of the callback (AccountSid, Timestamp, …)

    attempts: Annotated[int, number(1, 20)] = 3
    backoff_seconds: Seconds = 0.1  # doubles with every attempt
    timeout_seconds: Annotated[float, number(0.001, 86_400)] = 2.0  # how long a receiver may take

    call_status: CallStatus | None = None  # what GET call says, instead of the truth
    # all others are answered 404; None: all are known
    known_accounts: frozenset[str] | None = None
    known_calls: frozenset[str] | None = None
    known_connectors: frozenset[str] | None = None
    connector_port: Annotated[int, number(1, 65535)] = 5060  # of every connector; 5061 is for secure sessions
    ended_is_unknown: StrictBool = False  # 404 at the stop of a session that is over

    def __post_init__(self) -> None:
        if self.started_before_answer and self.order == "reversed":
            raise PydanticCustomError("members", "started_before_answer cannot be had with order reversed")

    @classmethod
    def from_json(cls, document: object) -> Self:
        """The behaviour a JSON object describes; what it does not name is default. Raises Invalid."""
        return read(cls, document)

    def with_fields(self, fields: Mapping[str, str | None]) -> Self:
        """The same, with these fields of callbacks replaced as well."""
        return replace(self, fields={**self.fields, **fields})

    def to_json(self) -> dict[str, Any]:
        return dict(TypeAdapter(Behaviour).dump_python(self, mode="json"))
