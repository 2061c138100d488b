"""What an app is told when something is wrong: RFC 9457 documents, each name with its status and title."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

SessionId = Annotated[str, Field(json_schema_extra={"format": "uuid"})]  # as paths take it


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
    session_id: SessionId | None = Field(default=None, description="the session that this is about")
    telnyx: TelnyxError | None = None
    request_id: str = Field(description="as in X-Request-Id; our log has it too")


@dataclass(frozen=True)
class Kind:
    status: int
    title: str


KINDS: Final[Mapping[str, Kind]] = {
    "invalid-json": Kind(400, "Body is not valid JSON"),
    "key-missing": Kind(401, "API key missing"),
    "key-unknown": Kind(401, "API key unknown or revoked"),
    "scope-missing": Kind(403, "API key lacks the scope"),
    "account-not-allowed": Kind(403, "API key may not act for this account"),
    "right-not-held": Kind(403, "API key cannot grant a right that it lacks"),
    "not-found": Kind(404, "Not found"),
    "unknown-session": Kind(404, "Session not found"),
    "unknown-alert": Kind(404, "Alert not found"),
    "unknown-key": Kind(404, "API key not found"),
    "unknown-secret": Kind(404, "Secret not found"),
    "method-not-allowed": Kind(405, "Method not allowed"),
    "still-starting": Kind(409, "First request still waits for Telnyx"),
    "session-over": Kind(409, "Session already over"),
    "session-merged": Kind(409, "Session merged into another"),
    "session-without-sid": Kind(409, "Session not accepted by Telnyx yet"),
    "ledger-restored": Kind(409, "Ledger was put back to an earlier state"),
    "key-name-taken": Kind(409, "API key name taken"),
    "too-many-secrets": Kind(409, "API key has two secrets in force"),
    "too-large": Kind(413, "Body too large"),
    "not-json": Kind(415, "Content-Type is not JSON"),
    "invalid-request": Kind(422, "Invalid request"),
    "key-reused": Kind(422, "Idempotency-Key used for another request"),
    "account-without-key": Kind(422, "No Telnyx key for this account"),
    "telnyx-refused": Kind(422, "Telnyx refused the request"),
    "internal-error": Kind(500, "Internal error"),
    "telnyx-credentials": Kind(502, "Telnyx refused our credentials"),
    "telnyx-rate-limit": Kind(503, "Telnyx rate limit reached"),
    "telnyx-unreachable": Kind(503, "Telnyx unreachable"),
    "telnyx-no-answer": Kind(503, "No answer from Telnyx"),
    "too-many-in-flight": Kind(503, "Too many requests waiting for Telnyx"),
    "database-unavailable": Kind(503, "Database unavailable"),
    "database-busy": Kind(503, "Database busy"),
    "evidence-not-recorded": Kind(503, "Reading of evidence cannot be recorded"),
    "too-many-exports": Kind(503, "Too many exports at once"),
    "export-failed": Kind(503, "Export failed"),
    "busy": Kind(503, "Service busy"),
    "ending": Kind(503, "Service is shutting down"),
}


class Problem(Exception):
    """`name` becomes the document's type; its `kind` is that of KINDS. `detail` tells what to do."""

    def __init__(
        self,
        name: str,
        detail: str | None = None,
        *,
        kind: Kind | None = None,
        errors: list[WrongField] | None = None,
        session_id: str | None = None,
        telnyx: TelnyxError | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(name)
        kind = kind or KINDS[name]
        self.status, self.title, self.detail = kind.status, kind.title, detail
        self.headers = dict(headers or {})
        self._members = {
            "type": f"urn:siprec-ledger:problem:{name}",
            "title": kind.title,
            "status": kind.status,
            "detail": detail,
            "errors": errors,
            "session_id": session_id,
            "telnyx": telnyx,
        }

    def document(self, request_id: str) -> dict[str, Any]:
        document = ProblemDocument.model_validate({**self._members, "request_id": request_id})
        return document.model_dump(mode="json", exclude_none=True, by_alias=True)


def wrong_field(place: str, pointer: str, detail: str) -> WrongField:
    return WrongField.model_validate({"in": place, "pointer": pointer, "detail": detail})
