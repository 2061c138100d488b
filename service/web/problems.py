"""What an app is told when something is wrong: RFC 9457 documents."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class WrongField(BaseModel):
    """`pointer` (RFC 6901) says where in the body, or which query parameter or header."""

    model_config = ConfigDict(extra="forbid")

    place: str = Field(alias="in", description="body, query or header")
    pointer: str = Field(description="JSON pointer to the field, e.g. /labels/team")
    detail: str = Field(description="what is expected")


class TelnyxError(BaseModel):
    """What Telnyx said, in its own words."""

    status: int | None = None
    code: str | None = None
    detail: str | None = None


class ProblemDocument(BaseModel):
    """application/problem+json"""

    type: str = Field(description="urn:siprec-ledger:problem:<name>; the name never changes")
    title: str
    status: int
    detail: str | None = None
    errors: list[WrongField] | None = Field(default=None, description="one entry per wrong field")
    session_id: str | None = Field(default=None, description="the session that this is about")
    telnyx: TelnyxError | None = None
    request_id: str = Field(description="as in X-Request-Id; our log has it too")


TITLES = {
    400: "The request cannot be read",
    401: "Who is asking is not known",
    404: "There is no such thing",
    405: "This cannot be done here",
    409: "Not as things stand",
    413: "The body is too large",
    415: "The body must be JSON",
    422: "The request is wrong",
    500: "Something went wrong on our side",
    502: "Telnyx does not accept our credentials",
    503: "Not now; try again",
}


class Problem(Exception):
    """`name` becomes the document's type; `detail` tells what to do."""

    def __init__(
        self,
        status: int,
        name: str,
        detail: str | None = None,
        *,
        errors: list[WrongField] | None = None,
        session_id: str | None = None,
        telnyx: TelnyxError | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(name)
        self.status = status
        self.name = name
        self.detail = detail
        self.errors = errors
        self.session_id = session_id
        self.telnyx = telnyx
        self.headers = headers or {}

    def document(self, request_id: str) -> dict[str, Any]:
        made = ProblemDocument(
            type=f"urn:siprec-ledger:problem:{self.name}",
            title=TITLES.get(self.status, "The request cannot be served"),
            status=self.status,
            detail=self.detail,
            errors=self.errors,
            session_id=self.session_id,
            telnyx=self.telnyx,
            request_id=request_id,
        )
        return made.model_dump(mode="json", exclude_none=True, by_alias=True)


def wrong_field(place: str, pointer: str, detail: str) -> WrongField:
    return WrongField.model_validate({"in": place, "pointer": pointer, "detail": detail})
