"""Whether Telnyx takes our keys, has our connectors, and agrees on the time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from service.doctor.check import Finding, Status, ok, skipped, warning, wrong
from service.doctor.situation import Situation
from service.domain.access import ALL_ACCOUNTS
from service.store import schema, session_lists
from service.store.schema import Age
from service.store.session_lists import Filter
from service.telnyx.inquiry import Inquiry, NoReply, Reply

ANSWER_SECONDS: Final = 3.0
MOST_KEYS: Final = 5
MOST_CONNECTORS: Final = 5
SESSIONS_LOOKED_AT: Final = 200
SECURE_PORT: Final = 5061
OFF_SECONDS: Final = 5.0
FAR_OFF_SECONDS: Final = 30.0  # as the alert clock_off has it
DATE_SECONDS: Final = 0.5  # a Date header leaves out the fraction, half a second on average
CLOCK: Final = "Set this host's clock by NTP."
REACH: Final = "Look at TELNYX_BASE_URL, and whether this host may reach it."
LATER: Final = "Run the doctor later."
MAKE_CONNECTOR: Final = "Make it in Telnyx's portal, or let apps name another."

Used = tuple[str, bool, str | None]  # a connector's name, whether sessions on it are secure, their account


def api_key(situation: Situation) -> Finding:
    keys = list(_keys(situation))
    for account, key in keys[:MOST_KEYS]:
        named = f"the key of account {account}" if account else "TELNYX_API_KEY"
        try:
            reply = _inquiry(situation).try_key(key, account or situation.settings.TELNYX_ACCOUNT_SID)
        except NoReply as error:
            return wrong(f"{error}.", REACH)
        if reply.status in {401, 403}:
            what_to_do = "Copy a key that is in force from Telnyx's portal."
            return wrong(f"Telnyx does not accept {named}: {reply.status}.", what_to_do)
        if reply.status not in {200, 404}:
            return warning(f"Telnyx answers {reply.status}, so {named} is not proven.", LATER)
    return ok(f"Telnyx accepts {min(len(keys), MOST_KEYS)} of {len(keys)}.")


def clock(situation: Situation) -> Finding:
    """This host's, against Telnyx's Date header."""
    now, at = datetime.now(UTC), time.monotonic()
    _, key = next(_keys(situation))
    try:
        reply = _inquiry(situation).try_key(key)
    except NoReply as error:
        return wrong(f"{error}.", REACH)
    if reply.date is None:
        return skipped("Telnyx's answer has no Date.")
    middle = (reply.sent + reply.received) / 2 - at  # seconds after `now`
    off = now.timestamp() + middle - (reply.date.timestamp() + DATE_SECONDS)
    found = f"This host's clock is {abs(off):.0f} s {'before' if off > 0 else 'behind'} Telnyx's"
    if abs(off) >= FAR_OFF_SECONDS:
        return wrong(f"{found}.", CLOCK)
    if abs(off) >= OFF_SECONDS:
        return warning(f"{found}.", CLOCK)
    return ok("This host's clock and Telnyx's agree.")


def connector(situation: Situation) -> Finding:
    """Those that were used lately, and those that the doctor was asked about."""
    wanted: list[Used] = [(name, secure, None) for name, secure in situation.connectors.items()]
    wanted += [one for one in _used(situation) if one[0] not in situation.connectors]
    if not wanted:
        return skipped("No session has named one yet; siprec-ledger doctor --connector NAME looks at one.")
    keys = dict(_keys(situation))
    findings = []
    for name, is_secure, account in wanted[:MOST_CONNECTORS]:
        key = keys.get(account or situation.settings.TELNYX_ACCOUNT_SID) or next(iter(keys.values()))
        findings.append(_connector(situation, key, name, is_secure=is_secure))
    severity = [Status.WRONG, Status.WARNING, Status.OK]
    return min(findings, key=lambda one: severity.index(one.status))


def _connector(situation: Situation, key: str, name: str, *, is_secure: bool) -> Finding:
    if name in {".", ".."}:
        return wrong(f"{name} can be no connector's name.", MAKE_CONNECTOR)
    try:
        reply = _inquiry(situation).connector(key, name)
    except NoReply as error:
        return wrong(f"{error}.", REACH)
    if reply.status == 404:
        return wrong(f"Telnyx has no connector {name!r}.", MAKE_CONNECTOR)
    if reply.status != 200:
        return warning(f"Telnyx answers {reply.status} when asked for {name!r}.", LATER)
    port = _port(reply)
    if is_secure and port != SECURE_PORT:
        what_to_do = f"Set its port to {SECURE_PORT}, or start sessions without secure."
        return wrong(f"Connector {name!r} has port {port}, and sessions on it are secure.", what_to_do)
    if not is_secure and port == SECURE_PORT:
        what_to_do = "Start sessions with secure, or set another port."
        return warning(f"Connector {name!r} has port {port}, and sessions on it are not secure.", what_to_do)
    return ok(f"Connector {name!r} exists, with port {port}.")


def _port(reply: Reply) -> Any:
    data = reply.document.get("data") if isinstance(reply.document, dict) else None
    return data.get("port") if isinstance(data, dict) else None


def _used(situation: Situation) -> list[Used]:
    """Each once, the newest first."""
    with situation.database.read() as db:
        if schema.age(db) not in {Age.CURRENT, Age.NEWER}:
            return []
        newest = session_lists.page(db, Filter(), ALL_ACCOUNTS, None, SESSIONS_LOOKED_AT)
    used = {
        (one.order.connector_name, bool(one.order.secure), one.order.account_sid): None
        for one in newest
        if one.order.connector_name
    }
    return [(name, secure, account) for name, secure, account in used if name]


def _keys(situation: Situation) -> Iterator[tuple[str | None, str]]:
    """Account and key; None is for all that have no key of their own."""
    keys = situation.settings.TELNYX_API_KEY
    yield from ((None, key) for key in keys.for_all)
    yield from ((account, key) for account, own in keys.for_one.items() for key in own)


def _inquiry(situation: Situation) -> Inquiry:
    settings = situation.settings
    return Inquiry(settings.TELNYX_BASE_URL, min(ANSWER_SECONDS, settings.TELNYX_TIMEOUT_SECONDS))
