"""Keys that were recognised a moment ago, for readers that waited and are woken by the hundred."""

from __future__ import annotations

import time
from typing import Final

from service.store.keys import RecognisedKey

RECENT_SECONDS: Final = 1.0
MOST: Final = 1000


class RecentKeys:
    """For none but those whose request was let in already: a revoked key opens nothing anew.

    Any thread may use it.
    """

    def __init__(self) -> None:
        self._recognised: dict[str, tuple[float, RecognisedKey]] = {}

    def find(self, text: str) -> RecognisedKey | None:
        """The key as it was recognised within the last RECENT_SECONDS."""
        at, key = self._recognised.get(text, (-RECENT_SECONDS, None))
        return key if time.monotonic() - at < RECENT_SECONDS else None

    def add(self, text: str, key: RecognisedKey) -> None:
        if len(self._recognised) >= MOST:
            self._recognised.clear()
        self._recognised[text] = (time.monotonic(), key)
