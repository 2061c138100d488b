"""Whether the settings can be read, go together, and hold keys that are worth something."""

from __future__ import annotations

import base64
import re
from contextlib import closing
from typing import Final

from nacl.bindings import crypto_core_ed25519_is_valid_point

from service import wiring
from service.config import WrongConfiguration
from service.doctor.check import Finding, ok, warning, wrong
from service.doctor.situation import Situation
from service.store.engine import DatabaseUnusable

FEWEST_CHARACTERS: Final = 10  # that differ; 33 random bytes in base64 have about 30, in hex 16
WELL_KNOWN: Final = ("changeme", "secret", "password", "example", "default", "0123456789", "abcdef")
MAKE_ONE: Final = "Make one by `openssl rand -base64 33`, and move the old one to SECRET_KEY_FALLBACKS."
SANDBOX_KEY: Final = "Ux6nlR+QE064MwL9OplIZxKwBX/eXHgQLqCz6xPnue4="
SANDBOX_WORDS: Final = "A key of TELNYX_PUBLIC_KEY is the sandbox's, which everybody can sign with."
REAL_TELNYX: Final = re.compile(r"https://([^/]*\.)?telnyx\.com(/|$)")


def settings(situation: Situation) -> Finding:
    """All that is wrong with them, at once."""
    try:
        found = situation.settings
        with closing(wiring.wire(found).database):
            pass
    except (WrongConfiguration, DatabaseUnusable) as error:
        problems = "; ".join(str(error).splitlines())
        return wrong(f"{problems}.", "Set them as the table in docs/settings.md says.")
    return ok("They can be read and go together.")


def secret_key(situation: Situation) -> Finding:
    for number, secret in enumerate(situation.settings.secrets):
        name = f"SECRET_KEY_FALLBACKS {number}" if number else "SECRET_KEY"
        if weakness := _weakness(secret):
            make = wrong if weakness.is_grave else warning
            return make(f"{name} {weakness.words}: whoever guesses it can forge callback URLs.", MAKE_ONE)
    return ok("It looks random.")


class _Weakness:
    def __init__(self, words: str, *, is_grave: bool) -> None:
        self.words = words
        self.is_grave = is_grave


def _weakness(secret: str) -> _Weakness | None:
    if len(set(secret)) < FEWEST_CHARACTERS:
        return _Weakness(f"has only {len(set(secret))} different characters", is_grave=True)
    if any(word in secret.lower() for word in WELL_KNOWN):
        return _Weakness("holds a word that everybody tries", is_grave=True)
    classes = sum(bool(re.search(one, secret)) for one in ("[a-z]", "[A-Z]", "[0-9]"))
    is_hex = re.fullmatch(r"[0-9a-fA-F]{32,}", secret) is not None
    if " " in secret.strip() or (classes < 2 and not is_hex):
        return _Weakness("looks written by hand", is_grave=False)
    return None


def telnyx_keys(situation: Situation) -> Finding:
    settings = situation.settings
    public, api = settings.TELNYX_PUBLIC_KEY, settings.TELNYX_API_KEY
    public_keys = [*public.for_all, *(key for keys in public.for_one.values() for key in keys)]
    api_keys = [*api.for_all, *(key for keys in api.for_one.values() for key in keys)]
    for key in public_keys:
        if not crypto_core_ed25519_is_valid_point(base64.b64decode(key)):
            return wrong("TELNYX_PUBLIC_KEY holds what is no Ed25519 key.", "Copy it from Telnyx's portal.")
    is_real = REAL_TELNYX.match(settings.TELNYX_BASE_URL) is not None
    if is_real and SANDBOX_KEY in public_keys:
        return wrong(SANDBOX_WORDS, "Copy yours from Telnyx's portal.")
    if any(key[0] in "'\"" or key[-1] in "'\"" for key in api_keys):
        return wrong("TELNYX_API_KEY has quotation marks in it.", "Leave them out.")
    if is_real and not all(key.startswith("KEY") for key in api_keys):
        return warning("A TELNYX_API_KEY does not begin with KEY.", "Copy it from Telnyx's portal.")
    return ok(f"{_count(public_keys, 'public key')} and {_count(api_keys, 'API key')} are well-formed.")


def _count(keys: list[str], name: str) -> str:
    return f"{len(keys)} {name}" + ("" if len(keys) == 1 else "s")
