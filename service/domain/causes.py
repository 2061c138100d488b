"""Why a session is not as it was asked for: causes in words, whose side they are on, what to do. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Final

from service.domain.notice import Error, ErrorKind
from service.domain.overdue import Overdue, OverdueKind
from service.domain.session import Session
from service.domain.state import State
from service.domain.value import value

# Raised with every change of the table. A code keeps its meaning: alerts, metrics and reports name it.
VERSION: Final = 1


class Side(StrEnum):
    """Who has to act. `us` is whoever runs this service, and its account at Telnyx."""

    APP = "app"
    US = "us"
    NETWORK = "network"
    TELNYX = "Telnyx"
    RECORDER = "recorder"


@value(frozen=True)
class Cause:
    """`words` is a sentence without its full stop; `what_to_do` is one sentence or more."""

    code: str
    words: str
    side: Side
    what_to_do: str


_START_FIELDS = "Compare the app's start request with Telnyx's words, which stand in the session's error."
_LOOK_FOR_CALL = "Check that the app starts with the CallSid and AccountSid of a call that is up."
_ASK_AGAIN = "The app may ask again with the same Idempotency-Key: nothing was started."
_CALL_TELNYX = "Look at status.telnyx.com; if it lasts, open a ticket there with the call's id."

_OF_THE_APP = (
    Cause("rejected", "Telnyx refused the start", Side.APP, _START_FIELDS),
    Cause("call_unknown", "Telnyx knows no such call, or no such connector", Side.APP, _LOOK_FOR_CALL),
    Cause("call_id_invalid", "Telnyx takes the CallSid for no call's id", Side.APP, _LOOK_FOR_CALL),
    Cause(
        "call_ended",
        "The call had ended before the recording was asked for",
        Side.APP,
        "Start the recording as soon as the call is answered.",
    ),
    Cause(
        "call_not_answered",
        "The call was not answered yet when the recording was asked for",
        Side.APP,
        "Start the recording once the call is answered, not while it rings.",
    ),
    Cause("fields_invalid", "Telnyx found a field of the start missing or wrong", Side.APP, _START_FIELDS),
)
_OF_OURS = (
    Cause(
        "credentials",
        "Telnyx refused our credentials",
        Side.US,
        "Put a valid TELNYX_API_KEY in place and start the service again; until then every start fails.",
    ),
    Cause(
        "not_authorized",
        "Our Telnyx API key may not do this",
        Side.US,
        "Give the key's user the right to use this account and its calls, in Telnyx's portal.",
    ),
)
_REPEATABLE = (
    Cause(
        "rate_limited",
        "Telnyx's rate limit was reached",
        Side.US,
        f"Start fewer at a time, or ask Telnyx for a higher limit. {_ASK_AGAIN}",
    ),
    Cause(
        "unreachable",
        "Telnyx could not be reached",
        Side.NETWORK,
        f"Check name resolution, firewall and proxy between this service and Telnyx. {_ASK_AGAIN}",
    ),
)
_UNANSWERED = (
    Cause(
        "no_answer",
        "No usable answer of Telnyx came, so the recording may or may not have started",
        Side.NETWORK,
        "Do not start it again blindly, or the call may be recorded twice. Check the network to Telnyx.",
    ),
    Cause(
        "telnyx_error",
        "Telnyx answered with an error of its own, so the recording may or may not have started",
        Side.TELNYX,
        f"Do not start it again blindly, or the call may be recorded twice. {_CALL_TELNYX}",
    ),
)
_FAILED = (
    Cause(
        "recorder_no_answer",
        "The recorder did not answer Telnyx",
        Side.RECORDER,
        "Check that the recorder runs, and that Telnyx reaches the host and port of its connector.",
    ),
    Cause(
        "siprec_failed",
        "Telnyx reports that the recording failed",
        Side.RECORDER,
        "Look for the call in the recorder's log; if it is not there, check the connector's host and port.",
    ),
)
_OVERDUE = (
    Cause(
        "overdue_not_started",
        "Telnyx accepted it, and never said that it started",
        Side.RECORDER,
        "Check the recorder and the network between it and Telnyx while the call lasts.",
    ),
    Cause(
        "overdue_no_answer",
        "Telnyx was asked, and neither an answer nor a callback came",
        Side.NETWORK,
        "Check the network to Telnyx, and that Telnyx reaches PUBLIC_URL.",
    ),
    Cause(
        "overdue_not_stopped",
        "It was asked to stop, and Telnyx never said that it stopped",
        Side.TELNYX,
        "Take it that the call is still being recorded. Ask to stop it once more, or end the call.",
    ),
    Cause(
        "overdue_not_ended",
        "It started long ago, and Telnyx never said that it ended",
        Side.TELNYX,
        "Ask the app whether the call still goes on; if it does, nothing is wrong.",
    ),
    Cause(
        "stopped_early",
        "It stopped though nobody asked for that, while the call goes on",
        Side.RECORDER,
        "Start the recording again while the call lasts, then look why the recorder ended it.",
    ),
    Cause(
        "unknown",
        "It is not known what became of it: callbacks may wait on a disk, or we were not listening",
        Side.US,
        "Bring the named host back, so that its spool drains, or run siprec-ledger hosts retire NAME.",
    ),
)
_PRESUMED = (
    Cause(
        "never_started",
        "The call is over, and nothing says that its recording ever started",
        Side.RECORDER,
        "Ask the recorder for this call; take it that there is no recording unless it has one.",
    ),
    Cause(
        "end_not_told",
        "The call is over, and Telnyx never said that its recording ended",
        Side.TELNYX,
        "Nothing, if it is rare. If it is not, check that Telnyx reaches PUBLIC_URL.",
    ),
)
BY_CODE: Final[Mapping[str, Cause]] = {
    cause.code: cause
    for cause in (
        *(*_OF_THE_APP, *_OF_OURS, *_REPEATABLE),
        *(*_UNANSWERED, *_FAILED, *_OVERDUE, *_PRESUMED),
    )
}


def _named(codes: Mapping[str, str]) -> dict[str, Cause]:
    return {name: BY_CODE[code] for name, code in codes.items()}


# As Telnyx writes them in its errors; https://developers.telnyx.com/development/api-fundamentals/api-errors
BY_TELNYX_CODE: Final = _named(
    {
        **dict.fromkeys(("10004", "10026", "10032"), "fields_invalid"),
        "10005": "call_unknown",
        "10009": "credentials",
        "10010": "not_authorized",
        "10011": "rate_limited",
        **dict.fromkeys(("10007", "10037"), "telnyx_error"),
        "90015": "call_id_invalid",
        "90018": "call_ended",
        "90034": "call_not_answered",
    }
)
BY_ERROR_KIND: Final[Mapping[ErrorKind, Cause]] = {kind: BY_CODE[kind] for kind in ErrorKind}
BY_SIPREC_ERROR: Final = _named({"no-answer": "recorder_no_answer"})  # the one that is documented
BY_OVERDUE_KIND: Final[Mapping[OverdueKind, Cause]] = {
    OverdueKind.NOT_STARTED: BY_CODE["overdue_not_started"],
    OverdueKind.NO_ANSWER: BY_CODE["overdue_no_answer"],
    OverdueKind.NOT_STOPPED: BY_CODE["overdue_not_stopped"],
    OverdueKind.NOT_ENDED: BY_CODE["overdue_not_ended"],
    OverdueKind.STOPPED_EARLY: BY_CODE["stopped_early"],
}
_UNKNOWN: Final = BY_CODE["unknown"]
# Where one of these is awaited and the call goes on, it is probably not recorded.
_UNRECORDED: Final = {OverdueKind.NOT_STARTED, OverdueKind.NO_ANSWER, OverdueKind.STOPPED_EARLY}


def is_unrecorded(kind: OverdueKind, *, is_unknown: bool, is_call_live: bool) -> bool:
    """The call goes on, as far as Telnyx said, and is probably not recorded: the most urgent of all."""
    return is_call_live and not is_unknown and kind in _UNRECORDED


def of(session: Session) -> Cause | None:
    """None: as far as is known, it is as it was asked for, or another session tells (`merged_into`)."""
    if session.merged_into is not None:
        return None
    overdue, error = session.watched.overdue, session.progress.error
    if overdue is not None:
        return of_overdue(overdue)
    if error is not None:
        return of_error(error)
    return _presumed(session)


def of_overdue(overdue: Overdue) -> Cause:
    return _UNKNOWN if overdue.is_unknown else BY_OVERDUE_KIND[overdue.kind]


def of_error(error: Error) -> Cause:
    """Telnyx's code says most, unless its HTTP status, which `kind` is of, says otherwise."""
    if error.kind is ErrorKind.SIPREC_FAILED:
        return BY_SIPREC_ERROR.get((error.detail or "").strip().lower(), BY_ERROR_KIND[error.kind])
    if error.kind is ErrorKind.NO_ANSWER:
        is_error = error.status is not None and error.status >= 500
        return BY_CODE["telnyx_error"] if is_error else BY_ERROR_KIND[error.kind]
    if error.kind is ErrorKind.REJECTED:
        of_status = BY_CODE["call_unknown"] if error.status == 404 else None
        return _among(_OF_THE_APP, error) or of_status or BY_ERROR_KIND[error.kind]
    if error.kind is ErrorKind.CREDENTIALS:
        of_status = BY_CODE["not_authorized"] if error.status == 403 else None
        return _among(_OF_OURS, error) or of_status or BY_ERROR_KIND[error.kind]
    return BY_ERROR_KIND[error.kind]


def is_live_and_unrecorded(session: Session) -> bool:
    overdue = session.watched.overdue
    if session.merged_into is not None or overdue is None:
        return False
    is_live = session.watched.is_call_live is True
    return is_unrecorded(overdue.kind, is_unknown=overdue.is_unknown, is_call_live=is_live)


def _among(causes: Collection[Cause], error: Error) -> Cause | None:
    named = BY_TELNYX_CODE.get(error.code or "")
    return named if named in causes else None


def _presumed(session: Session) -> Cause | None:
    state = session.progress.state
    if session.watched.presumed_ended_at is None or state.is_over:
        return None
    return BY_CODE["end_not_told" if state is State.STARTED else "never_started"]
