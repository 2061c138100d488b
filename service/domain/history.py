"""What was known of a session after one of its events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from service.domain.overdue import NOTHING
from service.domain.session import Progress
from service.domain.state import State

Changes = Mapping[str, Sequence[Any]]  # fact -> [before, after], as JSON values
Facts = dict[str, Any]  # fact -> what it was, as a JSON value

# Of a session before its first event. An event that tells of nobody's fact (`merged_from`) changes none.
UNKNOWN: Final[Mapping[str, Any]] = {
    **dict.fromkeys([*Progress().facts(), *NOTHING.facts()]),
    "attempts": 1,
    "merged_into": None,
}
EXPLAINED: Final = {State.REFUSED, State.UNANSWERED, State.FAILED}  # the states that `error` explains


def facts_after(events: Iterable[Changes]) -> Facts:
    """The facts of a session after these changes of it, which are all there were, in their order."""
    facts = dict(UNKNOWN)
    for changes in events:
        facts |= {fact: after for fact, (_, after) in changes.items() if fact in UNKNOWN}
    if facts["state"] not in EXPLAINED:
        facts["error"] = None
    return facts
