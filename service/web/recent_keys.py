"""Keys that were recognised a moment ago, for readers that waited and are woken together."""

from __future__ import annotations

from typing import Final

from service.store.keys import RecognisedKey

MOST: Final = 1000


class RecentKeys:
    """Whoever was woken before a look-up takes what it found: no key was revoked before that woke them.

    Any thread may use it.
    """

    def __init__(self) -> None:
        self._recognised: dict[str, tuple[float, RecognisedKey]] = {}

    def find(self, text: str, since: float) -> RecognisedKey | None:
        """The key, if it was looked up after `since` (monotonic) and was in force then."""
        looked_at, key = self._recognised.get(text, (since, None))
        return key if looked_at > since else None

    def add(self, text: str, key: RecognisedKey, looked_at: float) -> None:
        """`looked_at` (monotonic) is before the look-up."""
        if len(self._recognised) >= MOST:
            self._recognised.clear()
        self._recognised[text] = (looked_at, key)
