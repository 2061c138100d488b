"""What stands between PUBLIC_URL and the service: how large, how late and how whole it wants things."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from service.canary.client import NoReply
from service.canary.mark import Wish
from service.doctor.check import Finding, ok, skipped, warning, wrong
from service.doctor.public_url import Sent, send_canary
from service.doctor.situation import Situation

LARGEST_CALLBACK: Final = 1024 * 1024  # bytes
LARGE: Final = 64 * 1024
TELNYX_SECONDS: Final = 2.0
SPARE_SECONDS: Final = 1.5
GAP_SECONDS: Final = 0.3  # between two parts that the service sends 1.5 s apart
WAIT_LONGER: Final = "Let the proxy wait for an answer for {:.0f} s or more (nginx: proxy_read_timeout)."
AS_THEY_COME: Final = "Let the proxy pass on answers as they come (nginx: proxy_buffering off)."


def body(situation: Situation) -> Finding:
    """Bodies of 1 MiB pass, as the service takes them."""
    for size, make in ((LARGE, wrong), (LARGEST_CALLBACK, warning)):
        try:
            sent: Sent | None = send_canary(situation, size=size)
        except NoReply as error:
            if not error.is_broken:  # who refuses a body may close before it is sent
                return wrong(f"With a body of {size // 1024} KiB: {error}.", "Look at the way there.")
            sent = None
        if sent is None or sent.document is None or sent.document["bytes"] != size:
            status = "the connection broke" if sent is None else f"answered {sent.reply.status}"
            what_to_do = "Let the proxy take bodies of 1 MiB (nginx: client_max_body_size 1m)."
            return make(f"A body of {size // 1024} KiB does not pass: {status}.", what_to_do)
    return ok("A body of 1 MiB passes.")


def timeout(situation: Situation) -> Finding:
    """An answer that takes as long as it may, passes: Telnyx's, and where apps come this way, theirs."""
    is_apps_way = situation.settings.INTERNAL_BIND is None
    seconds = situation.longest_wait_seconds if is_apps_way else TELNYX_SECONDS
    late = Wish(delay=timedelta(seconds=seconds))
    try:
        sent = send_canary(situation, seconds + SPARE_SECONDS, late)
    except NoReply as error:
        ended, how = error.seconds, str(error)
    else:
        if sent.document is not None:
            return ok(f"An answer after {seconds:.0f} s passes.")
        ended, how = sent.reply.seconds, f"answered {sent.reply.status}"
    found = f"An answer after {seconds:.0f} s does not pass: {how} ({ended:.1f} s)"
    if ended < TELNYX_SECONDS:
        return wrong(f"{found}; Telnyx waits 2 s.", WAIT_LONGER.format(TELNYX_SECONDS + 1))
    return warning(f"{found}; apps wait for up to 20 s (wait=).", WAIT_LONGER.format(30))


def buffering(situation: Situation) -> Finding:
    """An answer in parts passes in parts, where apps come this way."""
    if situation.settings.INTERNAL_BIND is not None:
        return skipped("Apps come by INTERNAL_BIND; an answer to Telnyx is one part.")
    try:
        sent = send_canary(situation, wish=Wish(in_parts=True))
    except NoReply as error:
        return wrong(f"An answer in parts does not pass: {error}.", AS_THEY_COME)
    if sent.document is None:
        return wrong(f"An answer in parts does not pass: answered {sent.reply.status}.", AS_THEY_COME)
    if sent.reply.seconds - sent.reply.first_seconds < GAP_SECONDS:
        return warning("The proxy holds an answer back until it is whole; long ones come late.", AS_THEY_COME)
    return ok("An answer in parts passes as it comes.")
