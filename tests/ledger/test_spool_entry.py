"""What the spool holds comes back, or says by one name that it cannot."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from service.domain.notice import Notice, NoticeKind
from service.ledger.spool_entry import UnreadableEntry, UnsavedAnswer, pack, unpack

ANSWER = Notice(NoticeKind.ACCEPTED, received_at=datetime(2026, 3, 1, 12, tzinfo=UTC), siprec_sid="sid-1")


@pytest.mark.parametrize("outcome", ["postponed", "siprec-started", "ACCEPTED"])
def test_an_answer_of_an_outcome_that_telnyx_never_gives_is_unreadable(outcome: str) -> None:
    packed = pack(UnsavedAnswer("session-1", 1, "v3:call-1", ANSWER))
    with pytest.raises(UnreadableEntry):
        unpack(packed.replace(b'"accepted"', f'"{outcome}"'.encode()))
