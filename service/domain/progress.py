"""What the notices of a session add up to, in whatever order they came, and what they contradict. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Protocol

from service.domain.session import Notice, NoticeKind, Progress, State


class Call(Protocol):
    """What is recorded, as callbacks name it."""

    @property
    def account_sid(self) -> str: ...

    @property
    def call_sid(self) -> str: ...


def fold(call: Call, notices: Iterable[Notice]) -> Progress:
    """What `notices` of a session, in any order and with repetitions, add up to.

    Another call's callback, or one with a second SiprecSid, moves nothing.
    """
    ordered = sorted(notices, key=lambda notice: notice.precedence)
    answer = next((notice for notice in ordered if notice.kind.is_answer), None)
    wishes = [notice for notice in ordered if notice.kind is NoticeKind.STOP_REQUESTED]
    ours = [n for n in ordered if n.kind.is_callback and n.call_sid in (None, call.call_sid)]
    callback_siprec_sid = next((notice.siprec_sid for notice in ours if notice.siprec_sid), None)
    heard = [notice for notice in ours if notice.siprec_sid in (None, callback_siprec_sid)]
    vouched = [_vouched(notice) for notice in heard]
    if answer:
        vouched.append(answer.kind.state)
    return Progress(
        state=max(vouched, key=lambda state: state.rank, default=State.REQUESTED),
        answer_siprec_sid=answer.siprec_sid if answer else None,
        callback_siprec_sid=callback_siprec_sid,
        accepted_at=answer.received_at if answer and answer.kind is NoticeKind.ACCEPTED else None,
        started_at=_earliest(notice.time for notice in heard if notice.kind is NoticeKind.STARTED),
        ended_at=_earliest(
            notice.time for notice in heard if notice.kind in (NoticeKind.STOPPED, NoticeKind.FAILED)
        ),
        stop_requested_at=_earliest(notice.received_at for notice in wishes),
        refusal=answer.error if answer else None,
        failure=next((notice.error for notice in heard if notice.kind is NoticeKind.FAILED), None),
    )


def _vouched(notice: Notice) -> State:
    if notice.kind is NoticeKind.OTHER and notice.siprec_sid:
        return State.ACCEPTED  # whatever it says, Telnyx knows the session by a sid
    return notice.kind.state


def _earliest(times: Iterable[datetime | None]) -> datetime | None:
    return min((time for time in times if time), default=None)


def contradiction(call: Call, progress: Progress, notice: Notice) -> str | None:
    """What a callback says against what we know of its session, in words; None if nothing."""
    found = []
    if notice.call_sid not in (None, call.call_sid):
        found.append("CallSid is another call's: it moved nothing")
    if notice.account_sid not in (None, call.account_sid):
        found.append("AccountSid is not the one that was asked for")
    if (
        notice.siprec_sid
        and progress.callback_siprec_sid
        and notice.siprec_sid != progress.callback_siprec_sid
    ):
        found.append("SiprecSid is not the one that came first: it moved nothing")
    elif notice.siprec_sid and progress.answer_siprec_sid and notice.siprec_sid != progress.answer_siprec_sid:
        found.append("SiprecSid is not the one that Telnyx answered")
    return "; ".join(found) or None


def changes(before: Progress | None, after: Progress) -> dict[str, tuple[object, object]]:
    """Fact -> (before, after), for the facts that differ; `before` is None where there was no session."""
    old, new = before.facts() if before else {}, after.facts()
    return {name: (old.get(name), value) for name, value in new.items() if old.get(name) != value}
