"""What the notices of a session add up to, in whatever order they were written, and what they contradict."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime

from service.domain.notice import Error, Notice, NoticeKind
from service.domain.session import LockedSession, Progress
from service.domain.start import Order
from service.domain.state import State

MOST_FOLDED = 256  # callbacks of one session; Telnyx sends two or three

Call = Order | LockedSession  # what is recorded, as callbacks name it


def fold(call: Call, notices: Iterable[Notice]) -> Progress:
    """What `notices` of a session, in any order and with repetitions, add up to.

    There is one answer at most. Of the callbacks those count that name this call or none, and no sid, the
    answer's, or the one other that was received first; further ones, and those after the first MOST_FOLDED,
    move nothing. So in order of receipt no state ever sinks.
    """
    received = sorted(notices, key=lambda notice: notice.receipt)
    answer = next((notice for notice in received if notice.kind.is_answer), None)
    wish = next((notice for notice in received if notice.kind is NoticeKind.STOP_REQUESTED), None)
    answer_sid = answer.siprec_sid if answer else None
    ours = [n for n in first(received) if n.call_sid in (None, call.call_sid)]
    other_sid = next((n.siprec_sid for n in ours if n.siprec_sid not in (None, answer_sid)), None)
    own = [n for n in ours if n.siprec_sid is None or n.siprec_sid == answer_sid]
    others = [n for n in ours if other_sid is not None and n.siprec_sid == other_sid]
    # What Telnyx answered knows best when it was: others tell only what it does not.
    by_trust = [own, others] if answer_sid else [own + others]
    states = [_state_of(notice) for notice in (*own, *others)] + ([answer.kind.state] if answer else [])
    return Progress(
        state=max(states, key=lambda state: state.rank, default=State.REQUESTED),
        answer_siprec_sid=answer_sid,
        callback_siprec_sid=other_sid,
        accepted_at=answer.received_at if answer and answer.kind is NoticeKind.ACCEPTED else None,
        started_at=_earliest(by_trust, {NoticeKind.STARTED}),
        ended_at=_earliest(by_trust, {NoticeKind.STOPPED, NoticeKind.FAILED}),
        stop_requested_at=wish.received_at if wish else None,
        stop_requested_by=wish.actor if wish else None,
        refusal=answer.error if answer else None,
        failure=_failure(by_trust),
    )


def first(received: Iterable[Notice]) -> list[Notice]:
    """The callbacks of `received`, which is sorted by receipt, that may move a session."""
    return [notice for notice in received if notice.kind.is_callback][:MOST_FOLDED]


def first_account(received: Iterable[Notice]) -> str | None:
    """The AccountSid that was received first: an adopted session's. `received` is sorted by receipt."""
    return next((notice.account_sid for notice in received if notice.account_sid), None)


def _state_of(notice: Notice) -> State:
    if notice.kind is NoticeKind.OTHER and notice.siprec_sid:
        return State.ACCEPTED  # whatever it says, Telnyx knows the session by a sid
    return notice.kind.state


def _earliest(by_trust: Iterable[Iterable[Notice]], kinds: Collection[NoticeKind]) -> datetime | None:
    for notices in by_trust:
        times = [notice.time for notice in notices if notice.kind in kinds and notice.time]
        if times:
            return min(times)
    return None


def _failure(by_trust: Iterable[Iterable[Notice]]) -> Error | None:
    for notices in by_trust:
        failed = [notice for notice in notices if notice.kind is NoticeKind.FAILED]
        if failed:
            return min(failed, key=lambda notice: notice.precedence).error
    return None


def contradiction(call: Call, progress: Progress, notice: Notice, *, is_folded: bool = True) -> str | None:
    """What is wrong between a callback and its session, or its receipts, in words; None if nothing."""
    found = [implausible(notice)] if implausible(notice) else []
    if not is_folded:
        found.append(f"more than {MOST_FOLDED} callbacks of this session came before: it moved nothing")
    if notice.call_sid not in (None, call.call_sid):
        found.append("CallSid is another call's: it moved nothing")
    if notice.account_sid not in (None, call.account_sid):
        found.append("AccountSid is not the one that was asked for")
    if notice.siprec_sid and progress.sids and notice.siprec_sid not in progress.sids:
        found.append("SiprecSid is neither the answer's nor the first other one: it moved nothing")
    elif notice.siprec_sid and progress.answer_siprec_sid not in (None, notice.siprec_sid):
        found.append("SiprecSid is not the one that Telnyx answered")
    return "; ".join(filter(None, found)) or None


def implausible(notice: Notice) -> str | None:
    if notice.happened_at is None or notice.time_is_plausible:
        return None
    return "Timestamp is too far from when it came, and set no time"


def changes(before: Progress | None, after: Progress) -> dict[str, tuple[object, object]]:
    """Fact -> (before, after), for the facts that differ; `before` is None where there was no session."""
    old, new = before.facts() if before else {}, after.facts()
    return {name: (old.get(name), value) for name, value in new.items() if old.get(name) != value}
