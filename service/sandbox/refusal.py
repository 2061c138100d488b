"""What the sandbox refuses, in Telnyx's shape of errors."""

from collections.abc import Mapping
from typing import Any

from flask import Response, jsonify

# Code and title by status. A 404 is documented with the detail alone.
KNOWN = {
    401: ("10009", "Authentication failed"),
    403: ("10010", "Not authorized"),
    422: ("10032", "Unprocessable Entity"),
    429: ("10011", "Too many requests"),
    500: ("10007", "Error"),
    503: ("10037", "Error"),
}
NOT_FOUND = "Resource not found"


class Refusal(Exception):
    """A request that is not granted."""

    def __init__(
        self,
        status: int,
        detail: str,
        code: str | None = None,
        field: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = headers or {}
        self.error: dict[str, Any] = {"detail": detail}
        known_code, title = KNOWN.get(status, (None, "Error"))
        if (code := code or known_code) is not None:
            self.error |= {"code": code, "title": title}
        if field is not None:
            self.error["source"] = {"pointer": f"/{field}"}

    def response(self) -> Response:
        response = jsonify(errors=[self.error])
        response.status_code = self.status
        response.headers.extend(self.headers)
        return response
