"""Deliveries whose receipt is fixed, to be written in any order; and all that the ledger shows afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode

from sqlalchemy import text

from service.domain.callback import Callback, Delivery
from service.domain.ids import new_id
from service.domain.notice import Notice, NoticeKind
from service.domain.session import Origin, Session
from service.domain.start import Order
from service.ledger.spool_entry import UnsavedAnswer
from service.sandbox import Session as TelnyxSession
from service.store import keys, sessions
from service.store.columns import read_back
from service.store.engine import Database
from service.store.sessions import IdempotencyKey
from tests.ledger.desk import Desk

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TABLES = ("event", "callback_repeat", "callback", "session_attempt", "session")

Row = dict[str, Any]


@dataclass(frozen=True)
class Said:
    """What a callback says: two that are equal are one callback. `happened` is its Timestamp, after NOON."""

    event: str = "siprec-started"
    call_sid: str = "call-1"
    siprec_sid: str | None = "sid-1"
    account_sid: str | None = "account-1"
    happened: timedelta = timedelta(0)


@dataclass(frozen=True)
class Shown:
    """All that must not depend on the order; sessions go by what they are known by, not by their ids."""

    sessions: list[Row]
    callbacks: list[Row]  # each with the session that it belongs to, and the ids of its deliveries
    bodies: dict[str, bytes]  # of every delivery, by its id


class Arrivals:
    """A desk, and a ledger that is emptied between one order and the next."""

    def __init__(self, database: Database, desk: Desk) -> None:
        self.database = database
        self.desk = desk
        with database.begin() as db:
            keys.create(db, "an app", NOON)
            self._key = IdempotencyKey(keys.listed(db)[0].id)

    def read(
        self, said: Said, received: timedelta, session_id: str | None = None, *, reverses_fields: bool = False
    ) -> Callback:
        """A delivery, signed as it was sent. Where its fields are reversed, it is the same callback still."""
        about = TelnyxSession(said.account_sid or "", said.call_sid, said.siprec_sid or "")
        missing = {"AccountSid": said.account_sid, "SiprecSid": said.siprec_sid}
        fields = {name: None for name, value in missing.items() if value is None}
        body = self.desk._sandbox.compose(about, said.event, NOON + said.happened, None, **fields)
        if reverses_fields:
            body = urlencode(parse_qsl(body.decode())[::-1]).encode()
        at = NOON + received
        headers = self.desk._sandbox.sign(body, at)
        came = self.desk.reader.read(Delivery(new_id(), at, "POST", None, b"", headers, body))
        return replace(came, session_id=session_id)

    def clear(self) -> None:
        with self.database.begin() as db:
            for table in TABLES:
                db.execute(text(f"DELETE FROM {table}"))

    def start(self, session_id: str, call_sid: str = "call-1") -> None:
        """A session of ours that waits for Telnyx's answer."""
        order = Order("account-1", call_sid)
        deadline_at = NOON + timedelta(minutes=1)
        with self.database.begin() as db:
            asked = Session(session_id, Origin.API, order, NOON, NOON, deadline_at=deadline_at)
            assert sessions.insert(db, asked, self._key)
            sessions.add_attempt(db, session_id, 1, "an app", NOON)

    def answer(self, session_id: str, siprec_sid: str = "sid-1", call_sid: str = "call-1") -> None:
        """Telnyx accepts it by this sid."""
        notice = Notice(NoticeKind.ACCEPTED, NOON, siprec_sid=siprec_sid)
        self.desk.sessions.save_answer(UnsavedAnswer(session_id, 1, call_sid, notice))

    def write(self, batch: Sequence[Callback], *, are_fresh: bool = False) -> None:
        self.desk.ingest.write(batch, are_fresh=are_fresh)

    def spool(self, batch: Sequence[Callback]) -> None:
        """To be drained later."""
        self.desk.backlog.save(batch)

    def drain(self) -> None:
        self.desk.drain.run()
        assert self.desk.is_drained()
        assert self.desk.backlog.dead_letters() == []

    def shown(self) -> Shown:
        found = self._rows(
            "SELECT session_id, origin, account_sid, call_sid, siprec_sid, callback_siprec_sid, state,"
            " accepted_at, started_at, ended_at, error_kind, error_detail, callbacks, last_callback_at"
            " FROM report_sessions_v1"
        )
        names = {one["session_id"]: (one["origin"], one["call_sid"], one["siprec_sid"]) for one in found}
        kept = self._rows(
            "SELECT shown.*, callback.digest, callback.account_sid, callback.time_is_plausible"
            " FROM report_callbacks_v1 AS shown JOIN callback ON callback.id = shown.callback_id"
        )
        bodies, ids = self._deliveries()
        for one in kept:
            one["session"] = names[one["session_id"]] if one["session_id"] else None
            one["ids"] = sorted(ids[one["callback_id"]])
        left_out = ("callback_id", "session_id", "written_at", "spooled_on", "spooled_seconds")
        return Shown(
            sorted((_without(one, "session_id") for one in found), key=repr),
            sorted((_without(one, *left_out) for one in kept), key=lambda one: one["ids"]),
            bodies,
        )

    def _deliveries(self) -> tuple[dict[str, bytes], dict[str, list[str]]]:
        """Their bodies by their ids, and their ids by the callback's."""
        rows = self._rows(
            "SELECT id, id AS callback_id, body FROM callback UNION ALL"
            " SELECT callback_repeat.id, callback_id, COALESCE(callback_repeat.body, callback.body)"
            " FROM callback_repeat JOIN callback ON callback.id = callback_repeat.callback_id"
        )
        ids: dict[str, list[str]] = {}
        for row in rows:
            ids.setdefault(row["callback_id"], []).append(row["id"])
        bodies = {row["id"]: bytes(row["body"]) for row in rows}
        assert len(bodies) == len(rows), "a delivery is there twice"
        return bodies, ids

    def _rows(self, query: str) -> list[Row]:
        with self.database.read() as db:
            rows = [dict(row) for row in db.execute(text(query)).mappings()]
        return [{name: _read(name, value) for name, value in row.items()} for row in rows]


def _read(name: str, value: Any) -> Any:
    """As both databases have it."""
    if name.endswith("_at") and value is not None:
        return read_back(value)
    return bool(value) if name == "time_is_plausible" else value


def _without(row: Row, *names: str) -> Row:
    return {name: value for name, value in row.items() if name not in names}
