"""Whether the service runs, by what its processes wrote down, and which hosts are missing."""

from __future__ import annotations

import socket
from typing import Final

from service.doctor.check import Finding, ok, warning, wrong
from service.doctor.situation import Situation
from service.store import hosts as host_rows
from service.store import processes, wellness

BEAT_SECONDS: Final = 15  # a beat comes every 2 s
BEHIND_SECONDS: Final = 5.0


def heartbeat(situation: Situation) -> Finding:
    """Of any process, by the database's clock."""
    with situation.database.read() as db:
        last = processes.last_alive(db)
        now = processes.now_of(db)
    if last is None:
        return wrong("No process of the service was ever seen.", "Start the service.")
    seconds = (now - last[1]).total_seconds()
    if seconds > BEAT_SECONDS:
        return wrong(f"The last heartbeat is {seconds:,.0f} s old: no process runs.", "Start the service.")
    return ok(f"The last heartbeat is {max(0.0, seconds):.0f} s old.")


def workers(situation: Situation) -> Finding:
    """As many web processes as WEB_CONCURRENCY says, and what they do by themselves is up to date."""
    wanted = situation.settings.WEB_CONCURRENCY
    if situation.database.is_sqlite and wanted > 1:
        return wrong(f"WEB_CONCURRENCY is {wanted}, on SQLite.", "Leave it at 1, or move to PostgreSQL.")
    with situation.database.read() as db:
        alive = {host.name: host.processes for host in host_rows.all(db) if host.processes}
        behind = max(wellness.unnumbered_seconds(db), wellness.watch_seconds(db, processes.now_of(db)))
    here = alive.get(socket.gethostname(), 0)
    if here and here < wanted:
        return warning(
            f"{here} web process(es) run on this host, and WEB_CONCURRENCY is {wanted}.",
            "Look at the service's log; what --workers says replaces WEB_CONCURRENCY.",
        )
    if behind > BEHIND_SECONDS:
        what_to_do = "Look at the service's log, and for long transactions in the database."
        return warning(f"Numbering or watch is {behind:.0f} s behind.", what_to_do)
    listed = ", ".join(f"{count} on {name}" for name, count in sorted(alive.items())) or "none"
    return ok(f"Web processes: {listed}.")


def hosts(situation: Situation) -> Finding:
    """None is missed, and nothing waits on their disks."""
    with situation.database.read() as db:
        spools = wellness.waiting_spools(db, processes.now_of(db))
    if unseen := sorted({one.host for one in spools if not one.is_seen}):
        named = ", ".join(unseen)
        return wrong(
            f"Not seen for 15 s, and callbacks may wait on their disks: {named}.",
            f"Bring them back, or run siprec-ledger hosts retire {unseen[0]}.",
        )
    if dead := [one for one in spools if one.dead_letters]:
        what_to_do = f"On {dead[0].host}, run siprec-ledger spool list, then siprec-ledger spool retry."
        return wrong(f"Dead letters lie on {', '.join(one.host for one in dead)}.", what_to_do)
    if waiting := sum(one.entries for one in spools):
        return warning(
            f"{waiting:,} entries wait in spools.", "They drain by themselves, or the log says why."
        )
    return ok("Every host with a spool is seen, and nothing waits.")
