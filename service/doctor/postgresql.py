"""Whether what PostgreSQL commits is safe, and whether it has room for all our connections."""

from __future__ import annotations

from typing import Final

from service.doctor.check import Finding, ok, skipped, warning, wrong
from service.doctor.situation import Situation
from service.store import hosts, server_facts
from service.store.server_facts import Durability

ONE_DISK: Final = "What is committed is on one disk, and is lost with it; siprec-ledger db backup copies it."
KEEPS_NOT: Final = "a callback that was answered 200 may be lost"
SPARE: Final = 4  # of each process: one for a moment, three for exports; see docs/operators.md


def replication(situation: Situation) -> Finding:
    """How durable a commit is: on one disk, or with a standby, too."""
    if situation.database.is_sqlite:
        return ok(ONE_DISK)
    with situation.database.read() as db:
        found = server_facts.durability(db)
    if not found.syncs or not found.writes_full_pages:
        name = "full_page_writes" if found.syncs else "fsync"
        return wrong(f"{name} is off: after a crash {KEEPS_NOT}.", f"Set {name} = on in postgresql.conf.")
    if found.synchronous_commit == "off":
        what_to_do = "Set synchronous_commit = on, for this database and role, too."
        return wrong(f"synchronous_commit is off: after a crash {KEEPS_NOT}.", what_to_do)
    return _standbys(found)


def _standbys(found: Durability) -> Finding:
    if not found.standby_names:
        follow = f"{found.standbys} standby(s) follow, none is waited for. " if found.standbys else ""
        return ok(f"{follow}{ONE_DISK}")
    if found.synchronous_commit == "local":
        return warning(
            f"synchronous_commit is local, so no standby is waited for: with the primary's disk {KEEPS_NOT}.",
            "Set synchronous_commit = on, or leave synchronous_standby_names empty.",
        )
    if found.synchronous == 0 and found.unknown == 0:
        return wrong(
            "synchronous_standby_names is set, and no such standby follows: no commit ends.",
            "Bring the standby back, or leave synchronous_standby_names empty.",
        )
    return ok("A commit waits for a synchronous standby.")


def connections(situation: Situation) -> Finding:
    """Those that are planned for, against those that the server has."""
    if situation.database.is_sqlite:
        return skipped("SQLite has no such limit.")
    settings = situation.settings
    with situation.database.read() as db:
        if server_facts.is_pooled(db):
            return skipped("A pooler stands between: its own limit counts.")
        found, known = server_facts.capacity(db), hosts.all(db)
    count = max(1, sum(host.processes > 0 for host in known))
    planned = count * settings.WEB_CONCURRENCY * (settings.DATABASE_CONNECTIONS + SPARE)
    plan = f"{planned} are planned for ({count} hosts), others have {found.others}, {found.limit} are allowed"
    if planned > found.limit:
        return wrong(f"{plan}.", "Raise max_connections, or lower DATABASE_CONNECTIONS.")
    if planned + found.others > found.limit:
        return warning(f"{plan}.", "Raise max_connections, or let others have fewer.")
    return ok(f"{plan}.")
