"""The ledger, opened for one transaction: sessions are locked, notices folded into them, changes written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection

from service.domain.progress import changes, contradiction, fold
from service.domain.session import LockedSession, Notice, NoticeKind, Origin
from service.store import batch, callbacks, events, sessions
from service.store.batch import Batch
from service.store.callbacks import Evidence, StoredCallback, StoredNotice
from service.store.events import Change


class Ledger:
    """The sessions `ids`, locked. Nothing is written before `close`.

    Whoever may have a session learn or adopt a sid has reserved it before (`sessions.reserve`), and names
    the adopted sessions that hold it too, so that they can be folded into their own.
    """

    def __init__(self, db: Connection, now: datetime, ids: Collection[str]) -> None:
        self._db = db
        self._now = now
        # Still two statements: the second sees what the locks have waited for.
        with batch.looked_up_at_once(db):
            locked = sessions.lock(db, ids)
            kept = callbacks.notices_of(db, ids)
        self._sessions = {session.id: session for session in locked}
        self._told: defaultdict[str | None, list[StoredNotice]] = defaultdict(list)
        for told in kept:
            self._told[told.session_id].append(told)
        self._new: list[StoredCallback] = []
        self._repeats: list[tuple[str, Evidence]] = []
        self._deliveries: dict[str, int] = {}  # of those that came again, by their ids
        self._changes: list[Change] = []
        self._folded: set[str] = set()
        self._changed: set[str] = set()  # in what callbacks can change
        self._altered: set[str] = set()  # in more than that

    def session(self, session_id: str) -> LockedSession | None:
        return self._sessions.get(session_id)

    def answer(self, session_id: str, answer: Notice | None) -> None:
        """Telnyx's answer to the latest attempt; None when a new attempt begins."""
        self._alter(replace(self._sessions[session_id], answer=answer))
        self._fold(session_id, answer.received_at if answer else self._now)

    def ask_again(self, session_id: str, deadline_at: datetime) -> None:
        session = self._sessions[session_id]
        self._alter(replace(session, attempts=session.attempts + 1, deadline_at=deadline_at))
        self.answer(session_id, None)

    def request_stop(self, session_id: str) -> None:
        self._fold(session_id, self._now, Notice(NoticeKind.STOP_REQUESTED, received_at=self._now))

    def hear(self, heard: StoredCallback) -> None:
        """Keep a callback of a locked session, or of none; a further delivery is counted."""
        known = self._told[heard.session_id]
        same = next((told for told in known if told.notice.digest == heard.notice.digest), None)
        if same:
            self._repeats.append((same.id, heard.evidence))
            self._deliveries[same.id] = self._deliveries.get(same.id, same.deliveries) + 1
            return
        is_first = not known
        known.append(StoredNotice(heard.id, heard.session_id, heard.notice))
        self._new.append(heard)
        if heard.session_id is not None:
            is_created = is_first and self._sessions[heard.session_id].origin is Origin.ADOPTED
            self._fold(heard.session_id, heard.notice.time or heard.notice.received_at, is_created=is_created)

    def add_unmatched(self, heard: Collection[StoredCallback]) -> None:
        """Keep callbacks that belong to no session."""
        self._told[None] += callbacks.unmatched_notices(self._db, {one.notice.digest for one in heard})
        for one in heard:
            self.hear(one)

    def close(self) -> None:
        """Write everything down."""
        new = [self._completed(one) for one in self._new]
        batch = Batch(self._db)
        callbacks.keep(batch, new)
        callbacks.keep_repeats(batch, self._repeats)
        callbacks.count(batch, self._deliveries)
        self._merge(batch)
        callbacks.note(batch, self._found({one.id: one.contradiction for one in new}))
        events.write(batch, self._changes, self._now)
        sessions.save_heard(batch, self._sorted(self._changed - self._altered), self._now)
        sessions.save(batch, self._sorted(self._altered), self._now)
        batch.write()

    def _sorted(self, ids: Iterable[str]) -> list[LockedSession]:
        return [self._sessions[session_id] for session_id in sorted(ids)]

    def _alter(self, session: LockedSession) -> None:
        self._sessions[session.id] = session
        self._altered.add(session.id)

    def _fold(self, session_id: str, happened_at: datetime, *more: Notice, is_created: bool = False) -> None:
        session = self._sessions[session_id]
        before, after = session.progress, fold(session, [*self._notices(session), *more])
        self._folded.add(session_id)
        if after == before and not is_created:
            return
        self._sessions[session_id] = replace(session, progress=after)
        self._changed.add(session_id)
        told = changes(None if is_created else before, after)
        if told:
            self._changes.append(Change(session_id, after.state, told, happened_at))

    def _notices(self, session: LockedSession) -> list[Notice]:
        notices = [told.notice for told in self._told[session.id]]
        if session.answer:
            notices.append(session.answer)
        if session.progress.stop_requested_at:
            notices.append(Notice(NoticeKind.STOP_REQUESTED, received_at=session.progress.stop_requested_at))
        return notices

    def _merge(self, batch: Batch) -> None:
        """One recording, one session: an adopted one that turns out to be ours is folded into ours."""
        everyone = self._sessions.values()
        adopted = [one for one in everyone if one.origin is Origin.ADOPTED and one.merged_into is None]
        for one in adopted:
            ours = next((own for own in everyone if _is_same_recording(own, one)), None)
            if ours is not None:
                batch.write()  # what is merged has to be there
                self._fold_into(ours.id, one)

    def _fold_into(self, session_id: str, adopted: LockedSession) -> None:
        own = {told.notice.digest: told for told in self._told[session_id]}
        for told in self._told.pop(adopted.id, []):
            twin = own.get(told.notice.digest)
            if twin:
                callbacks.merge_duplicate(self._db, twin.id, told.id)
                continue
            callbacks.move(self._db, told.id, session_id)
            self._told[session_id].append(replace(told, session_id=session_id))
            self._fold(session_id, told.notice.time or told.notice.received_at)
        if adopted.progress.stop_requested_at:
            asked = Notice(NoticeKind.STOP_REQUESTED, received_at=adopted.progress.stop_requested_at)
            self._fold(session_id, asked.received_at, asked)
        self._alter(replace(self._sessions[adopted.id], merged_into=session_id))
        merged = {"merged_into": (None, session_id)}
        self._changes.append(Change(adopted.id, adopted.progress.state, merged, self._now))

    def _completed(self, new: StoredCallback) -> StoredCallback:
        found = self._contradiction(new.session_id, new.notice)
        deliveries = self._deliveries.pop(new.id, 1)
        return replace(new, contradiction=found, deliveries=deliveries) if found or deliveries > 1 else new

    def _found(self, written: Mapping[str, str | None]) -> Iterator[tuple[str, str | None]]:
        """What is to be noted: what a session has learned may put an earlier callback in doubt, or right."""
        for told in (told for session_id in self._folded for told in self._told[session_id]):
            found = self._contradiction(told.session_id, told.notice)
            if found != written.get(told.id, told.contradiction):
                yield told.id, found

    def _contradiction(self, session_id: str | None, notice: Notice) -> str | None:
        if session_id is None:
            return None
        session = self._sessions[session_id]
        return contradiction(session, session.progress, notice)


def _is_same_recording(ours: LockedSession, adopted: LockedSession) -> bool:
    return (
        ours.origin is not Origin.ADOPTED
        and ours.call_sid == adopted.call_sid
        and adopted.progress.callback_siprec_sid in ours.progress.sids
    )
