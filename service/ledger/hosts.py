"""A host that never comes back is retired, with an event that says who said so."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from service.store import events, hosts, processes
from service.store.events import HOST, Action, HostEventKind
from service.store.hosts import Host
from service.store.spools import UNSEEN_AFTER


class UnknownHost(Exception):
    """No spool of a host of this name is known."""


class HostAlive(Exception):
    """It would come back at once. `seen_at` is UTC."""

    def __init__(self, name: str, seen_at: datetime) -> None:
        super().__init__(name)
        self.seen_at = seen_at


def retire(db: Connection, name: str, actor: str) -> tuple[Host, bool]:
    """The host as it was, and whether it was in service until now. Raises UnknownHost and HostAlive."""
    now = processes.now_of(db)
    host = next((one for one in hosts.all(db) if one.name == name), None)
    if host is None or host.seen_at is None:
        raise UnknownHost(name)
    if host.retired_at is not None:
        return host, False
    if now - host.seen_at < UNSEEN_AFTER:
        raise HostAlive(name, host.seen_at)
    hosts.retire(db, name, now)
    facts = {
        "retired_at": (None, now),
        "seen_at": (None, host.seen_at),
        "entries": (None, host.entries),
    }
    events.add_action(db, Action(HOST, name, HostEventKind.RETIRED, actor, facts), now)
    return host, True
