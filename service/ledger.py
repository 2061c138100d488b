"""The ledger, opened for one transaction: sessions are locked, notices folded into them, changes written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection

from service import siprec
from service.siprec import News, Notice, Origin, Session
from service.store import callbacks, events, sessions
from service.store.callbacks import KeptCallback


class Ledger:
    """The sessions `ids`, locked, and the adopted ones that hold one of `sids`: (call_sid, siprec_sid).

    Whoever may make a session learn or adopt a sid has reserved it before (`sessions.reserve`), so no
    other transaction adopts it meanwhile. Nothing is written before `close`, except the timeline.
    """

    def __init__(
        self, db: Connection, now: datetime, ids: Collection[str], sids: Collection[tuple[str, str]] = ()
    ) -> None:
        self._db = db
        self._now = now
        adopted = {one.id for one in sessions.holding(db, sids) if one.origin is Origin.ADOPTED}
        self._sessions = sessions.lock(db, {*ids, *adopted})
        self._callbacks: defaultdict[str | None, list[KeptCallback]] = defaultdict(list)
        for kept in callbacks.of_sessions(db, self._sessions.keys()):
            self._callbacks[kept.session_id].append(kept)
        self._new: list[KeptCallback] = []
        self._repeats: list[tuple[str, callbacks.Evidence]] = []
        self._folded: set[str] = set()
        self._changed: set[str] = set()

    def session(self, session_id: str) -> Session | None:
        return self._sessions.get(session_id)

    def answer(self, session_id: str, answer: Notice | None) -> None:
        """Telnyx's answer to the latest attempt; None when a new attempt begins."""
        self._change(replace(self._sessions[session_id], answer=answer))
        self._fold(session_id, answer.heard_at if answer else self._now)

    def ask_again(self, session_id: str, deadline_at: datetime) -> None:
        session = self._sessions[session_id]
        self._change(replace(session, attempts=session.attempts + 1, deadline_at=deadline_at))
        self.answer(session_id, None)

    def request_stop(self, session_id: str) -> None:
        self._fold(session_id, self._now, Notice(News.STOP_REQUESTED, heard_at=self._now))

    def hear(self, heard: KeptCallback) -> None:
        """Keep a callback of a locked session, or of none; a further delivery is counted."""
        told = self._callbacks[heard.session_id]
        same = next((kept for kept in told if kept.notice.digest == heard.notice.digest), None)
        if same:
            self._repeats.append((same.id, heard.evidence))
            return
        is_first = not told
        told.append(heard)
        self._new.append(heard)
        if heard.session_id is not None:
            is_birth = is_first and self._sessions[heard.session_id].origin is Origin.ADOPTED
            self._fold(heard.session_id, heard.notice.time or heard.notice.heard_at, is_birth=is_birth)

    def hear_strays(self, heard: Collection[KeptCallback]) -> None:
        """Keep callbacks that belong to no session."""
        self._callbacks[None] += callbacks.strays(self._db, {one.notice.digest for one in heard})
        for one in heard:
            self.hear(one)

    def close(self) -> None:
        """Write everything down."""
        callbacks.keep(self._db, self._new)
        callbacks.count(self._db, self._repeats)
        self._merge()
        for session_id in sorted(self._folded):
            self._note_contradictions(self._sessions[session_id])
        for session_id in sorted(self._changed):
            sessions.save(self._db, self._sessions[session_id])

    def _change(self, session: Session) -> None:
        self._sessions[session.id] = replace(session, updated_at=self._now)
        self._changed.add(session.id)

    def _fold(self, session_id: str, happened_at: datetime, *more: Notice, is_birth: bool = False) -> None:
        session = self._sessions[session_id]
        before, after = session.progress, siprec.fold(session.order, [*self._notices(session), *more])
        self._folded.add(session_id)
        if after == before and not is_birth:
            return
        self._change(replace(session, progress=after))
        told = siprec.changes(None if is_birth else before, after)
        if told:
            events.write(self._db, session_id, after.state, told, happened_at, self._now)

    def _notices(self, session: Session) -> list[Notice]:
        notices = [kept.notice for kept in self._callbacks[session.id]]
        if session.answer:
            notices.append(session.answer)
        if session.progress.stop_requested_at:
            notices.append(Notice(News.STOP_REQUESTED, heard_at=session.progress.stop_requested_at))
        return notices

    def _merge(self) -> None:
        """One recording, one session: an adopted one that turns out to be ours is folded into ours."""
        everyone = list(self._sessions.values())
        for ours in (one for one in everyone if one.origin is not Origin.ADOPTED):
            for adopted in (one for one in everyone if _is_same_recording(ours, one)):
                self._fold_into(ours.id, adopted)

    def _fold_into(self, session_id: str, adopted: Session) -> None:
        own = {kept.notice.digest: kept for kept in self._callbacks[session_id]}
        for kept in self._callbacks.pop(adopted.id, []):
            twin = own.get(kept.notice.digest)
            if twin:
                callbacks.absorb(self._db, twin, kept)
                continue
            callbacks.move(self._db, kept, session_id)
            self._callbacks[session_id].append(replace(kept, session_id=session_id))
            self._fold(session_id, kept.notice.time or kept.notice.heard_at)
        if adopted.progress.stop_requested_at:
            asked = Notice(News.STOP_REQUESTED, heard_at=adopted.progress.stop_requested_at)
            self._fold(session_id, asked.heard_at, asked)
        self._change(replace(self._sessions[adopted.id], merged_into=session_id))
        told = {"merged_into": (None, session_id)}
        events.write(self._db, adopted.id, adopted.progress.state, told, self._now, self._now)

    def _note_contradictions(self, session: Session) -> None:
        for kept in self._callbacks[session.id]:
            found = siprec.contradiction(session.order, session.progress, kept.notice)
            if found != kept.contradiction:
                callbacks.note(self._db, kept.id, found)


def _is_same_recording(ours: Session, other: Session) -> bool:
    return (
        other.origin is Origin.ADOPTED
        and other.merged_into is None
        and other.order.call_sid == ours.order.call_sid
        and other.progress.heard_sid in ours.progress.sids
    )
