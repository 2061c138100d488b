"""Keys that were recognised a moment ago, for readers that waited and are woken."""

from __future__ import annotations

import time
from typing import Final

from service.store.keys import RecognisedKey

MOST: Final = 1000
SECONDS: Final = 1.0  # so old may a look-up be


class RecentKeys:
    """Of many readers that are woken within a second, one looks its key up.

    What is done with keys is an event, and readers that wait are told of it before anything later wakes them;
    of what was done while nobody waited they are not, so that a look-up may be SECONDS old. Any thread may
    use it.
    """

    def __init__(self) -> None:
        self._recognised: dict[str, tuple[float, RecognisedKey]] = {}
        self._changed_at = 0.0  # monotonic

    def find(self, text: str) -> RecognisedKey | None:
        """The key, if it was in force at a look-up that still holds."""
        looked_at, key = self._recognised.get(text, (0.0, None))
        return key if looked_at > max(self._changed_at, time.monotonic() - SECONDS) else None

    def add(self, text: str, key: RecognisedKey, looked_at: float) -> None:
        """`looked_at` (monotonic) is before the look-up."""
        if len(self._recognised) >= MOST:
            self._recognised.clear()
        self._recognised[text] = (looked_at, key)

    def changed(self) -> None:
        """Something may have been done with a key: each is looked up anew."""
        self._changed_at = time.monotonic()
