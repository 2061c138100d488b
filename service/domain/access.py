"""What an API key may do, and for which accounts. Pure: no input, no output."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

Accounts = frozenset[str] | None  # Telnyx's account ids; None: all

ALL_ACCOUNTS: Final[Accounts] = None
MOST_ACCOUNTS: Final = 100  # of one key: lists look each of them up by itself
LONGEST_NAME: Final = 100


class Scope(StrEnum):
    """What a key may be allowed, each by itself: none implies another."""

    START = "sessions:start"
    STOP = "sessions:stop"
    READ = "sessions:read"
    EVIDENCE = "evidence:read"  # what callbacks said, as it came
    REPORTS = "reports:read"
    ADMIN = "admin"  # keys


# What every key was allowed before there were scopes. One that is added later is not among them.
ALL_BUT_ADMIN: Final = frozenset({Scope.START, Scope.STOP, Scope.READ, Scope.EVIDENCE, Scope.REPORTS})


@dataclass(frozen=True)
class Access:
    """The rights of a key: each of its scopes, for each of its accounts."""

    scopes: frozenset[Scope] = ALL_BUT_ADMIN
    accounts: Accounts = ALL_ACCOUNTS

    def allows(self, scope: Scope) -> bool:
        return scope in self.scopes

    def reaches(self, account_sid: str) -> bool:
        return self.accounts is None or account_sid in self.accounts

    def holds(self, other: Access) -> bool:
        """Whether it has every right of `other`."""
        if not other.scopes <= self.scopes:
            return False
        return self.accounts is None or (other.accounts is not None and other.accounts <= self.accounts)

    def may_grant(self, wanted: Access, held: Access | None = None) -> bool:
        """Whether its holder may give `wanted` to a key that has the rights `held`; None: to a new one.

        Nobody grants what they do not hold; what a key has already, or less, may stay with it.
        """
        return self.holds(wanted) or (held is not None and held.holds(wanted))


def is_name(text: str) -> bool:
    """Whether a key may be called so: it stands in logs, lists and reports."""
    return bool(text.strip()) and text.isprintable() and len(text) <= LONGEST_NAME
