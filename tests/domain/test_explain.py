"""A session is explained in plain sentences, each naming the line or the deadline that it rests on."""

# ruff: noqa: E501 (sentences stand whole)

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.explain import Explanation, Problem, explain
from service.domain.explain_lines import Line
from service.domain.notice import Error, ErrorKind, Notice, NoticeKind
from service.domain.overdue import NOTHING, Overdue, OverdueKind, Watched
from service.domain.progress import changes, fold
from service.domain.session import Origin, Progress, Session
from service.domain.start import Order
from service.domain.state import State

TEN = datetime(2026, 11, 28, 10, tzinfo=UTC)
ORDER = Order("account-1", "call-1")
STILL_UP = "its call goes on: it is probably not being recorded"


def at(seconds: float) -> datetime:
    return TEN + timedelta(seconds=seconds)


ACCEPTED = Notice(NoticeKind.ACCEPTED, at(1.5), siprec_sid="sid-1")
STARTED = Notice(NoticeKind.STARTED, at(3), at(2), time_is_plausible=True, siprec_sid="sid-1", digest=b"1")
STOPPED = Notice(NoticeKind.STOPPED, at(9), at(8), time_is_plausible=True, siprec_sid="sid-1", digest=b"2")
FAILED = Notice(
    *(NoticeKind.FAILED, at(9), at(8)),
    time_is_plausible=True,
    siprec_sid="sid-1",
    digest=b"3",
    error=Error(ErrorKind.SIPREC_FAILED, detail="no-answer"),
)
WISH = Notice(NoticeKind.STOP_REQUESTED, at(5), actor="app-1")


def refused(kind: ErrorKind, status: int | None = None, detail: str | None = None) -> Notice:
    notice = NoticeKind.UNANSWERED if kind is ErrorKind.NO_ANSWER else NoticeKind.REFUSED
    return Notice(notice, at(2), error=Error(kind, status, detail=detail))


def plain(facts: dict[str, Any]) -> dict[str, Any]:
    """As the database gives it back."""

    def out(one: Any) -> Any:
        return one.isoformat() if isinstance(one, datetime) else one.facts()

    return dict(json.loads(json.dumps(facts, default=out)))


def history(*notices: Notice, origin: Origin = Origin.API) -> tuple[Session, list[Line]]:
    """Each was learned by itself, and is a line if it changed something; the first is line 10."""
    before = Progress()
    lines = [Line(10, "app-1", plain(changes(None, before)), TEN)] if origin is Origin.API else []
    for count in range(1, len(notices) + 1):
        after, notice = fold(ORDER, notices[:count]), notices[count - 1]
        found = plain(changes(before if lines else None, after))
        if found:
            when = notice.time or notice.received_at
            lines.append(Line(10 + len(lines), notice.actor or "telnyx", found, when))
        before = after
    return Session("id-1", origin, ORDER, TEN, TEN, before), lines


NOW = at(26)


@dataclass
class Case:
    notices: Sequence[Notice]
    text: str
    summary: str
    side: str | None = None
    watched: Watched = NOTHING
    session: dict[str, Any] = field(default_factory=dict)
    more: Sequence[Line] = ()
    origin: Origin = Origin.API
    problems: Sequence[Problem] = ()
    now: datetime = NOW


ASKED = "app-1 asked for it at 10:00:00 (line 10)."
TO_ACCEPTED = f"{ASKED} Telnyx accepted at 10:00:01.500 (line 11)."
TO_STARTED = f"{TO_ACCEPTED} Telnyx says that it started at 10:00:02 (line 12)."


def overdue(kind: OverdueKind, why: str, call: str | None = "in-progress") -> Watched:
    return Watched(Overdue(kind, at(22), why), call, at(24) if call else None)


def found(watched: Watched, position: int) -> Line:
    assert watched.overdue is not None
    return Line(position, "watch", plain({"overdue": (None, watched.overdue.facts())}), at(22))


SILENT = overdue(OverdueKind.NOT_STARTED, f"no siprec-started came within 20 s; {STILL_UP}")
BLIND = overdue(
    OverdueKind.NOT_STARTED,
    f"unknown: callbacks may still wait on host B; no siprec-started came within 20 s; {STILL_UP}",
)
PRESUMED = Watched(
    call_status="completed",
    call_checked_at=at(24),
    presumed_ended_at=at(20),
    presumed_why="its call is over (completed)",
)

CASES = {
    "requested": Case([], ASKED, "It was asked for, and nothing has been heard of it yet."),
    "requested, and an answer is awaited": Case(
        [],
        f"{ASKED} Telnyx's answer is awaited until 10:01:00.",
        "Telnyx is being asked to start it.",
        session={"deadline_at": at(60)},
    ),
    "unanswered": Case(
        [refused(ErrorKind.NO_ANSWER, None, "Telnyx did not answer in time")],
        f"{ASKED} No usable answer of Telnyx had come by 10:00:02: Telnyx did not answer in time. It may or may "
        "not have started (line 11). A callback may still tell what became of it.",
        "No usable answer of Telnyx came, so the recording may or may not have started.",
        "network",
    ),
    "rejected": Case(
        [refused(ErrorKind.REJECTED, 404, "Resource not found")],
        f"{ASKED} Telnyx refused it at 10:00:02: 404 Resource not found (line 11).",
        "Not recorded: Telnyx knows no such call, or no such connector.",
        "app",
    ),
    "credentials": Case(
        [refused(ErrorKind.CREDENTIALS, 401)],
        f"{ASKED} Telnyx refused our credentials at 10:00:02: 401 (line 11).",
        "Not recorded: Telnyx refused our credentials.",
        "us",
    ),
    "rate limited": Case(
        [refused(ErrorKind.RATE_LIMITED, 429)],
        f"{ASKED} Telnyx did nothing at 10:00:02, since its rate limit was reached: 429 (line 11).",
        "Not recorded: Telnyx's rate limit was reached.",
        "us",
    ),
    "unreachable": Case(
        [refused(ErrorKind.UNREACHABLE, None, "Telnyx could not be reached")],
        f"{ASKED} Telnyx could not be reached at 10:00:02, so it was not asked (line 11).",
        "Not recorded: Telnyx could not be reached.",
        "network",
    ),
    "accepted": Case(
        [ACCEPTED],
        f"{TO_ACCEPTED} That it started has not been heard yet.",
        "Telnyx accepted it, and has not said yet that it started.",
    ),
    "accepted, yesterday": Case(
        [ACCEPTED],
        "app-1 asked for it at 2026-11-28 10:00:00 (line 10). Telnyx accepted at 2026-11-28 10:00:01.500 "
        "(line 11). That it started has not been heard yet.",
        "Telnyx accepted it, and has not said yet that it started.",
        now=at(86400),
    ),
    "accepted and not started, while the call is up": Case(
        [ACCEPTED],
        f"{TO_ACCEPTED} No siprec-started came within 20 s (line 12). The call is still up (asked at 10:00:24). "
        "So it is probably not being recorded: recorder or network.",
        "The call is up, and probably not being recorded.",
        "recorder",
        SILENT,
        more=[found(SILENT, 12)],
    ),
    "accepted and not started, while callbacks may wait": Case(
        [ACCEPTED],
        f"{TO_ACCEPTED} Unknown: callbacks may still wait on host B; no siprec-started came within 20 s "
        "(line 12). The call is still up (asked at 10:00:24). So nothing follows yet: what is missing may have "
        "come, and wait to be written.",
        "It is not known what became of it: callbacks may wait on a disk, or we were not listening.",
        "us",
        BLIND,
        more=[found(BLIND, 12)],
    ),
    "accepted and not started, and nobody knows of the call": Case(
        [ACCEPTED],
        f"{TO_ACCEPTED} No siprec-started came within 20 s. Telnyx has not been asked yet whether the call is "
        "still up. So it is not certain what became of it: recorder or network.",
        "Telnyx accepted it, and never said that it started.",
        "recorder",
        overdue(OverdueKind.NOT_STARTED, "no siprec-started came within 20 s", None),
    ),
    "unanswered, and nothing was heard": Case(
        [refused(ErrorKind.NO_ANSWER)],
        f"{ASKED} No usable answer of Telnyx had come by 10:00:02. It may or may not have started (line 11). "
        "Nothing was heard for 30 s. The call is over (asked at 10:00:24). So there is probably no recording "
        "of the call: network or Telnyx.",
        "Telnyx was asked, and neither an answer nor a callback came.",
        "network",
        overdue(OverdueKind.NO_ANSWER, "nothing was heard for 30 s", "completed"),
    ),
    "asked to stop, and not stopped": Case(
        [ACCEPTED, STARTED, WISH],
        f"{TO_STARTED} app-1 asked to stop it at 10:00:05 (line 13). Nothing was heard for 60 s. The call is "
        "still up (asked at 10:00:24). So it is probably still being recorded: Telnyx or the way to us.",
        "It was asked to stop, and Telnyx never said that it stopped.",
        "Telnyx",
        overdue(OverdueKind.NOT_STOPPED, "nothing was heard for 60 s"),
    ),
    "started long ago": Case(
        [ACCEPTED, STARTED],
        f"{TO_STARTED} Nothing was heard for 4 h. Telnyx does not say whether the call is still up (asked at "
        "10:00:24). So it is not certain what became of it: Telnyx or the way to us.",
        "It started long ago, and Telnyx never said that it ended.",
        "Telnyx",
        overdue(OverdueKind.NOT_ENDED, "nothing was heard for 4 h", "not-found"),
    ),
    "stopped early": Case(
        [ACCEPTED, STARTED, STOPPED],
        f"{TO_STARTED} Telnyx says that it stopped at 10:00:08 (line 13). Nobody had asked for it. The call is "
        "still up (asked at 10:00:24). So the rest of the call is not being recorded: recorder or network.",
        "The call is up, and probably not being recorded.",
        "recorder",
        overdue(OverdueKind.STOPPED_EARLY, "nobody had asked for it"),
    ),
    "started": Case(
        [ACCEPTED, STARTED],
        f"{TO_STARTED} Nothing has been heard of its end.",
        "The recording runs, as far as Telnyx has said.",
    ),
    "started, and asked to stop": Case(
        [ACCEPTED, STARTED, WISH],
        f"{TO_STARTED} app-1 asked to stop it at 10:00:05 (line 13). Nothing has been heard of its end.",
        "The recording runs, and was asked to stop.",
    ),
    "stopped": Case(
        [ACCEPTED, STARTED, STOPPED],
        f"{TO_STARTED} Telnyx says that it stopped at 10:00:08 (line 13).",
        "The recording started and stopped.",
    ),
    "failed": Case(
        [ACCEPTED, FAILED],
        f"{TO_ACCEPTED} Telnyx says that it failed at 10:00:08: no-answer (line 12).",
        "Failed: The recorder did not answer Telnyx.",
        "recorder",
    ),
    "adopted": Case(
        [STARTED],
        "A TeXML document started it: its first callback tells of 10:00:02 (line 10). Telnyx says that it "
        "started at 10:00:02 (line 10). Nothing has been heard of its end.",
        "The recording runs, as far as Telnyx has said.",
        origin=Origin.ADOPTED,
    ),
    "merged": Case(
        [],
        f"{ASKED} It turned out to be the same recording as session id-2, into which it was merged (line 11).",
        "It is the same recording as session id-2, which tells the rest.",
        session={"merged_into": "id-2"},
        more=[Line(11, "telnyx", {"merged_into": [None, "id-2"]}, at(4))],
    ),
    "asked twice": Case(
        [refused(ErrorKind.RATE_LIMITED, 429)],
        f"{ASKED} Telnyx did nothing at 10:00:02, since its rate limit was reached: 429 (line 11). app-2 asked "
        "again at 10:00:06: attempt 2 (line 12). Telnyx's answer is awaited until 10:01:06.",
        "Telnyx is being asked to start it.",
        "us",
        session={"attempts": 2, "deadline_at": at(66)},
        more=[Line(12, "app-2", {"attempts": [1, 2]}, at(6))],
    ),
    "its end is presumed": Case(
        [ACCEPTED, STARTED],
        f"{TO_STARTED} The call is over (asked at 10:00:24). Its end was presumed to be at 10:00:20: its call is "
        "over (completed).",
        "The call is over, and Telnyx never said that its recording ended.",
        "Telnyx",
        PRESUMED,
    ),
    "a late callback overruled a presumed end": Case(
        [ACCEPTED, STARTED, STOPPED],
        f"{TO_STARTED} Telnyx says that it stopped at 10:00:08 (line 13). Its end was presumed to be at 10:00:20: "
        "its call is over (completed). A callback that came later overruled that: what Telnyx told stands.",
        "The recording started and stopped.",
        None,
        PRESUMED,
    ),
    "overdue no longer, corrected, and with problems": Case(
        [ACCEPTED],
        f"{TO_ACCEPTED} At 10:00:22 it was overdue (line 12). From 10:00:23 it was overdue no longer (line 13). A "
        "callback that was received earlier, and written later, corrected what stood here (line 14). Telnyx says "
        "that it started at 10:00:02 (line 14). Of the callback that came at 10:00:03 something is wrong: "
        "AccountSid is not the one that was asked for. That it started has not been heard yet.",
        "Telnyx accepted it, and has not said yet that it started.",
        more=[
            found(SILENT, 12),
            Line(13, "watch", {"overdue": [{"kind": "not_started"}, None]}, at(23)),
            Line(
                14, "telnyx", {"started_at": [at(3).isoformat(), at(2).isoformat()]}, at(2), correction=True
            ),
        ],
        problems=[Problem(at(3), "AccountSid is not the one that was asked for")],
    ),
}


def explained(case: Case) -> Explanation:
    session, lines = history(*case.notices, origin=case.origin)
    session = replace(session, watched=case.watched, **case.session)
    return explain(session, [*lines, *case.more], case.problems, case.now)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_it_is_told_in_plain_sentences(case: Case) -> None:
    found = explained(case)
    assert " ".join(one.text for one in found.sentences) == case.text
    assert (found.summary, found.side) == (case.summary, case.side)
    assert (found.what_to_do is None) == (found.side is None)


def test_every_state_error_and_kind_of_overdue_has_a_case() -> None:
    of_cases = [history(*case.notices)[0].progress for case in CASES.values()]
    errors = {progress.error.kind for progress in of_cases if progress.error}
    kinds = {case.watched.overdue.kind for case in CASES.values() if case.watched.overdue}
    assert ({one.state for one in of_cases}, errors, kinds) == (set(State), set(ErrorKind), set(OverdueKind))


def test_an_overdue_sentence_names_its_deadline_and_its_line() -> None:
    case = CASES["accepted and not started, while the call is up"]
    (one,) = [one for one in explained(case).sentences if one.deadline]
    assert (one.positions, one.deadline) == ((12,), at(22))


def test_a_line_without_a_position_yet_is_told_without_one() -> None:
    session, lines = history(ACCEPTED)
    found = explain(session, [replace(line, position=None) for line in lines], [], at(2))
    assert found.sentences[1].text == "Telnyx accepted at 10:00:01.500."
    assert {one.positions for one in found.sentences} == {()}


MOMENTS = st.integers(-10, 10).map(at) | st.just(TEN - timedelta(days=9))
NOTICES = st.builds(
    Notice,
    st.sampled_from(list(NoticeKind)),
    MOMENTS,
    st.none() | MOMENTS,
    time_is_plausible=st.booleans(),
    digest=st.binary(max_size=2),
    siprec_sid=st.sampled_from([None, "sid-1", "sid-2", "sid-3"]),
    error=st.none()
    | st.builds(Error, st.sampled_from(list(ErrorKind)), st.none() | st.just(404), detail=st.text()),
    actor=st.none() | st.text(max_size=3),
)
JSON = st.recursive(st.none() | st.integers() | st.text(), lambda one: st.dictionaries(st.text(), one))
FACTS = st.sampled_from(
    [
        *Progress().facts(),
        "overdue",
        "presumed",
        "call",
        "attempts",
        "merged_into",
        "merged_from",
        "account_sid",
    ]
)
ODD_LINES = st.builds(
    Line,
    st.none() | st.integers(100, 200),
    st.text(),
    st.dictionaries(FACTS, st.tuples(JSON, JSON)),
    MOMENTS,
    st.booleans(),
)
WATCHED = st.builds(
    Watched,
    st.none() | st.builds(Overdue, st.sampled_from(list(OverdueKind)), MOMENTS, st.text()),
    st.none() | st.sampled_from(["in-progress", "completed", "not-found", "else"]),
    st.none() | MOMENTS,
    st.none() | MOMENTS,
    st.none() | st.text(),
)


@settings(deadline=None)
@given(
    st.lists(NOTICES, max_size=8),
    st.lists(ODD_LINES, max_size=4),
    WATCHED,
    st.none() | MOMENTS,
    st.sampled_from(Origin),
    st.sampled_from([None, "id-2"]),
)
def test_it_never_raises_and_names_only_lines_that_there_are(
    notices: list[Notice],
    odd: list[Line],
    watched: Watched,
    deadline_at: datetime | None,
    origin: Origin,
    merged_into: str | None,
) -> None:
    session, lines = history(*notices, origin=origin)
    session = replace(session, watched=watched, deadline_at=deadline_at, merged_into=merged_into)
    found = explain(session, [*lines, *odd], [], at(0))
    positions = {line.position for line in [*lines, *odd]}
    assert {position for one in found.sentences for position in one.positions} <= positions
    assert all(one.text.endswith(".") for one in found.sentences)
    assert found.summary.endswith(".")
