"""What reached the sandbox and what it sent, as values that tests can look at."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Request:
    """One API request that reached the sandbox. Names of headers are in lower case."""

    at: datetime
    method: str
    path: str  # raw: still percent-encoded, without the query
    query: str
    headers: Mapping[str, str]
    body: bytes
    fields: Mapping[str, str]  # of the form or JSON object; JSON's true is "true"


@dataclass(frozen=True)
class Delivery:
    """One attempt to deliver a callback. Names of headers are in lower case."""

    at: datetime
    url: str  # for GET with the query
    method: str
    event: str
    fields: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    attempt: int  # from 1
    status: int | None  # None: nobody answered in time
    seconds: float
    error: str | None  # why it failed; None only after 200

    @property
    def is_delivered(self) -> bool:
        return self.status == 200

    @property
    def is_worth_repeating(self) -> bool:
        """Telnyx tries again after timeouts, connection errors, 408, 429 and 5xx, not after other 4xx."""
        return self.status is None or self.status in (408, 429) or self.status >= 500
