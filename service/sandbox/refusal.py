"""What the sandbox refuses, in Telnyx's shape of errors, and the replies it gives."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

JSON = "application/json; charset=utf-8"

CODES = {401: "10009", 403: "10010", 422: "10032", 429: "10011", 500: "10007", 503: "10037"}
TITLES = {
    401: "Authentication failed",
    403: "Not authorized",
    404: "Resource not found",
    422: "Unprocessable Entity",
    429: "Too many requests",
}
NOT_FOUND = "Resource not found"


@dataclass(frozen=True)
class Reply:
    """One HTTP answer."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Self:
        return cls(status, json.dumps(document).encode(), {"content-type": JSON, **(headers or {})})


class Refusal(Exception):
    """A request that is not granted; `reply` is the answer."""

    def __init__(
        self,
        status: int,
        detail: str,
        code: str | None = None,
        field: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        error: dict[str, Any] = {"detail": detail}
        # A 404 is documented with the detail alone.
        code = code or CODES.get(status)
        if code is not None:
            error |= {"code": code, "title": TITLES.get(status, "Error")}
        if field is not None:
            error["source"] = {"pointer": f"/{field}"}
        self.reply = Reply.json({"errors": [error]}, status, headers)
