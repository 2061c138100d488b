"""What the sandbox refuses, in Telnyx's shape of errors."""

from collections.abc import Mapping
from typing import Any

from flask import Response, jsonify

CODES = {401: "10009", 403: "10010", 422: "10032", 429: "10011", 500: "10007", 503: "10037"}
TITLES = {
    401: "Authentication failed",
    403: "Not authorized",
    404: "Resource not found",
    422: "Unprocessable Entity",
    429: "Too many requests",
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
        # A 404 is documented with the detail alone.
        code = code or CODES.get(status)
        if code is not None:
            self.error |= {"code": code, "title": TITLES.get(status, "Error")}
        if field is not None:
            self.error["source"] = {"pointer": f"/{field}"}

    def response(self) -> Response:
        response = jsonify(errors=[self.error])
        response.status_code = self.status
        response.headers.extend(self.headers)
        return response
