"""One transaction on sessions: they are locked, notices folded into them, and what changed is written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection

from service.domain import progress as rules
from service.domain.callback import Callback
from service.domain.notice import Notice, NoticeKind
from service.domain.session import LockedSession, Origin
from service.ledger.tally import Tally
from service.ledger.timeline import Timeline
from service.store import callbacks, sessions
from service.store.batch import Batch
from service.store.callbacks import KnownCallback
from service.store.events import TELNYX
from service.store.lookup import looked_up_at_once

Sids = tuple[str, str]  # call_sid, siprec_sid
UNMATCHED = "it belongs to no session that we know"
BROUGHT_HOME_AT_ONCE = 256


class Transaction:
    """The sessions `ids`, locked. Nothing is written before `close`.

    `reserved` are the sids that a session may learn or be adopted by here (`sessions.reserve`); their
    adopted owners are among `ids`, so that they can be merged into a session of ours.
    """

    def __init__(
        self, db: Connection, now: datetime, ids: Collection[str], reserved: Collection[Sids] = ()
    ) -> None:
        self._db = db
        self._now = now
        self._reserved = reserved
        # Still two statements: the second sees what the locks have waited for.
        with looked_up_at_once(db):
            locked = sessions.lock(db, ids)
            first = callbacks.first_of(db, ids)
        self.sessions = {session.id: session for session in locked}
        self._known: defaultdict[str | None, dict[bytes, KnownCallback]] = defaultdict(dict)
        for known in first:
            self._known[known.session_id][known.notice.digest] = known
        self._timeline = Timeline(self.sessions)
        self._wishes: dict[str, Notice] = {}  # to stop, of now
        self._new: dict[str, Callback] = {}
        self._repeats: list[tuple[KnownCallback, Callback]] = []
        self._dirty: dict[str, KnownCallback] = {}  # changed since they were written, by id
        self._altered: set[str] = set()  # sessions, in more than callbacks can change
        self.has_more_unmatched = False
        self.tally = Tally()

    def answer(self, session_id: str, answer: Notice, actor: str = TELNYX) -> None:
        """Telnyx's answer to the latest attempt, which is over with it."""
        session = self.sessions[session_id]
        self._alter(replace(session, answer=answer, deadline_at=None))
        sessions.answer_attempt(self._db, session_id, session.attempts, answer)
        self._timeline.learn(session_id, actor, answer.received_at)
        if session.deadline_at is not None:  # else it was written down before
            self._timeline.answered(session_id)

    def ask_again(self, session_id: str, actor: str, deadline_at: datetime) -> None:
        """A further attempt. Until it is answered, the session shows the last answer."""
        session = self.sessions[session_id]
        self._alter(replace(session, attempts=session.attempts + 1, deadline_at=deadline_at))
        sessions.add_attempt(self._db, session_id, session.attempts + 1, actor, self._now)
        self._timeline.learn(session_id, actor, self._now)

    def request_stop(self, session_id: str, actor: str) -> None:
        self._wishes[session_id] = Notice(NoticeKind.STOP_REQUESTED, received_at=self._now, actor=actor)
        self._timeline.learn(session_id, actor, self._now)

    def add(self, received: Iterable[tuple[Callback, str | None]]) -> None:
        """Keep callbacks, each of a locked session or of none; a further delivery is counted."""
        received = list(received)
        self._look_up_same(received)
        for came, session_id in received:
            self._add(came, session_id)

    def _look_up_same(self, received: Collection[tuple[Callback, str | None]]) -> None:
        """Those known that `received` repeats, where they are not among the first of their session."""
        digests: defaultdict[str | None, set[bytes]] = defaultdict(set)
        for came, session_id in received:
            digests[session_id].add(came.notice.digest)
        for known in callbacks.unmatched_with(self._db, digests.pop(None, set())):
            self._known[None].setdefault(known.notice.digest, known)
        for session_id, of_session in digests.items():
            if session_id:
                self._look_up_beyond(session_id, of_session)

    def _look_up_beyond(self, session_id: str, digests: Collection[bytes]) -> None:
        """Those of a session with these digests, where its first ones may not be all."""
        if self.sessions[session_id].callbacks > rules.MOST_FOLDED:
            for known in callbacks.with_digests(self._db, session_id, digests):
                self._known[session_id].setdefault(known.notice.digest, known)

    def _add(self, came: Callback, session_id: str | None) -> None:
        siblings, new = self._known[session_id], callbacks.new(came, session_id)
        known = siblings.get(came.notice.digest)
        if known is None:
            siblings[came.notice.digest] = _unmatched(new) if session_id is None else new
            self._new[new.id] = came
        else:
            self._repeats.append((known, came))
            again = callbacks.together(known, new)
            self._change(_unmatched(again) if session_id is None else again)
        self.tally.receive(came.notice, is_repeat=known is not None)
        if session_id is not None:
            self._count(session_id, came.delivery.received_at, 1 if known is None else 0)
            self._timeline.receive(session_id, came.notice, new.id if known is None else known.id)

    def _count(self, session_id: str, received_at: datetime, more: int) -> None:
        session = self.sessions[session_id]
        last = max(session.last_callback_at or received_at, received_at)
        counted = replace(session, callbacks=session.callbacks + more, last_callback_at=last)
        self.sessions[session_id] = counted

    def close(self) -> set[str]:
        """Write everything down. The sessions that changed, by their ids."""
        for session_id in self._timeline.touched():
            self._fold(session_id)
        batch = Batch(self._db)
        if self._reserved:
            self._merge_adopted(batch)
            self._bring_home(batch)
        self._contradict()
        self._write_callbacks(batch)
        self._timeline.write(batch, self._now)
        changed = self._timeline.changed()
        counted = set(self._timeline.touched()) - changed - self._altered
        sessions.save_ingested(batch, self._sorted(changed - self._altered), self._now)
        sessions.save_counts(batch, self._sorted(counted))
        sessions.save(batch, self._sorted(self._altered), self._now)
        batch.write()
        return changed | self._altered

    def _sorted(self, ids: Iterable[str]) -> list[LockedSession]:
        return [self.sessions[session_id] for session_id in sorted(ids)]

    def _alter(self, session: LockedSession) -> None:
        self.sessions[session.id] = session
        self._altered.add(session.id)

    def _change(self, known: KnownCallback) -> None:
        self._known[known.session_id][known.notice.digest] = known
        self._dirty[known.id] = known

    def _fold(self, session_id: str) -> None:
        session = self.sessions[session_id]
        notices = [known.notice for known in self._known[session_id].values()]
        account_sid = session.account_sid
        if session.origin is Origin.ADOPTED:
            received = sorted(notices, key=lambda notice: notice.receipt)
            account_sid = rules.first_account(rules.first(received)) or account_sid
        if account_sid != session.account_sid:
            session = replace(session, account_sid=account_sid)
            self._altered.add(session_id)
        others = [session.answer, self._wish(session)]
        after = rules.fold(session, [*notices, *filter(None, others)])
        self.sessions[session_id] = replace(session, progress=after)
        self.tally.start(session, self.sessions[session_id], notices)
        self._timeline.folded(self.sessions[session_id])

    def _wish(self, session: LockedSession) -> Notice | None:
        before = session.progress
        if before.stop_requested_at is None:
            return self._wishes.get(session.id)
        actor = before.stop_requested_by
        return Notice(NoticeKind.STOP_REQUESTED, received_at=before.stop_requested_at, actor=actor)

    def _merge_adopted(self, batch: Batch) -> None:
        """One recording, one session: an adopted one that turns out to be ours is merged into ours."""
        everyone = list(self.sessions.values())
        for adopted in everyone:
            if adopted.origin is Origin.ADOPTED and adopted.merged_into is None:
                ours = next((own for own in everyone if _is_same_recording(own, adopted)), None)
                if ours is not None:
                    self._merge(batch, ours.id, adopted)

    def _merge(self, batch: Batch, session_id: str, adopted: LockedSession) -> None:
        self._write_callbacks(batch)  # what is merged has to be there
        batch.write()
        self._known.pop(adopted.id, None)
        while moving := list(callbacks.first_of(self._db, [adopted.id])):
            self._look_up_beyond(session_id, {known.notice.digest for known in moving})
            self._take_over(session_id, moving)
        if adopted.progress.stop_requested_at and session_id not in self._wishes:
            wish = self._wish(adopted)
            if wish is not None and self.sessions[session_id].progress.stop_requested_at is None:
                self._wishes[session_id] = wish
        self._fold(session_id)
        self._alter(replace(self.sessions[adopted.id], merged_into=session_id))
        self._timeline.merged(adopted.id, session_id, self._now)

    def _bring_home(self, batch: Batch) -> None:
        """Unmatched callbacks of sids that have a session now."""
        owners = {
            (session.call_sid, sid): session.id
            for session in self.sessions.values()
            if session.merged_into is None
            for sid in session.progress.sids
        }
        wanted = [sids for sids in self._reserved if sids in owners]
        if wanted and self._known.get(None):
            self._write_callbacks(batch)  # one of this very batch may come home too
            batch.write()
        found = callbacks.unmatched_of(self._db, wanted, BROUGHT_HOME_AT_ONCE)
        self.has_more_unmatched = len(found) == BROUGHT_HOME_AT_ONCE
        homes: defaultdict[str, list[KnownCallback]] = defaultdict(list)
        for sids, known in found:
            homes[owners[sids]].append(known)
        if homes:
            self._write_callbacks(batch)
            batch.write()
        for session_id, coming in homes.items():
            self._look_up_beyond(session_id, {known.notice.digest for known in coming})
            self._take_over(session_id, coming)
            self._fold(session_id)

    def _take_over(self, session_id: str, coming: Collection[KnownCallback]) -> None:
        """Callbacks of another session, or of none, are this one's from now on."""
        own, moved = self._known[session_id], []
        for known in coming:
            self._dirty.pop(known.id, None)
            same = own.get(known.notice.digest)
            if same is not None:
                self._change(callbacks.merge_duplicate(self._db, same, known))
            else:
                moved.append(known.id)
                self._change(replace(known, session_id=session_id))
            self._count(session_id, known.last_received_at, 1 if same is None else 0)
            self._timeline.receive(session_id, known.notice, known.id)
        callbacks.move(self._db, moved, session_id)

    def _contradict(self) -> None:
        """What a session has learned may contradict an earlier callback, or contradict it no more."""
        for session_id in self._timeline.touched():
            session, siblings = self.sessions[session_id], self._known[session_id]
            folded = set(siblings)
            if len(siblings) > rules.MOST_FOLDED:
                received = sorted((known.notice for known in siblings.values()), key=lambda n: n.receipt)
                folded = {notice.digest for notice in rules.first(received)}
            for digest, known in list(siblings.items()):
                found = rules.contradiction(
                    session, session.progress, known.notice, is_folded=digest in folded
                )
                if found != known.contradiction:
                    self._change(replace(known, contradiction=found))

    def _write_callbacks(self, batch: Batch) -> None:
        by_id = {known.id: known for siblings in self._known.values() for known in siblings.values()}
        callbacks.add(batch, [(by_id[id], came) for id, came in self._new.items()], self._now)
        bytes_of = {id: (came.delivery.query, came.delivery.body) for id, came in self._new.items()}
        unread = {known.id for known, _ in self._repeats} - set(bytes_of)
        bytes_of |= callbacks.first_bytes(self._db, unread)
        repeats = [
            (known.id, again, bytes_of[known.id] == (again.delivery.query, again.delivery.body))
            for known, again in self._repeats
        ]
        callbacks.add_repeats(batch, repeats, self._now)
        callbacks.change(batch, [known for id, known in self._dirty.items() if id not in self._new])
        self._new, self._repeats, self._dirty = {}, [], {}


def _unmatched(known: KnownCallback) -> KnownCallback:
    reasons = (rules.implausible(known.notice), UNMATCHED)
    return replace(known, contradiction="; ".join(filter(None, reasons)))


def _is_same_recording(ours: LockedSession, adopted: LockedSession) -> bool:
    return (
        ours.origin is not Origin.ADOPTED
        and ours.call_sid == adopted.call_sid
        and adopted.progress.callback_siprec_sid in ours.progress.sids
    )
