"""Events as CloudEvents 1.0 has them (https://github.com/cloudevents/spec, cloudevents/spec.md)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Any, Final

from pydantic import Field, RootModel

from service.domain.state import State
from service.store.columns import written_out
from service.store.feed import START, Found, Line, Place
from service.store.json import canonical_json
from service.web.responses import (
    CHANGES_MEAN,
    CallResponse,
    ErrorResponse,
    Id,
    Model,
    OverdueResponse,
    PresumedResponse,
    Time,
)

BATCH: Final = "application/cloudevents-batch+json"
PREFIX: Final = "siprec"
MOST_KEPT: Final = 5000
MOST_PAGES: Final = 4  # of 1,000 events at most, for those who are woken together


class EventType(StrEnum):
    """Named for whom it happened to, and what."""

    SESSION_CREATED = "siprec.session.created"
    SESSION_CHANGED = "siprec.session.changed"
    SESSION_MERGED = "siprec.session.merged"
    SESSION_OVERDUE = "siprec.session.overdue"
    SESSION_OVERDUE_CHANGED = "siprec.session.overdue-changed"
    SESSION_OVERDUE_CLOSED = "siprec.session.overdue-closed"
    SESSION_CALL_CHECKED = "siprec.session.call-checked"
    KEY_CREATED = "siprec.key.created"
    KEY_CHANGED = "siprec.key.changed"
    KEY_SECRET_CREATED = "siprec.key.secret-created"  # noqa: S105 (a name)
    KEY_SECRET_REVOKED = "siprec.key.secret-revoked"  # noqa: S105
    KEY_REVOKED = "siprec.key.revoked"
    EVIDENCE_READ = "siprec.evidence.read"
    HOST_RETIRED = "siprec.host.retired"
    ALERT_OPENED = "siprec.alert.opened"
    ALERT_ACKNOWLEDGED = "siprec.alert.acknowledged"
    ALERT_ENDED = "siprec.alert.ended"

    @property
    def subject_and_kind(self) -> tuple[str, str]:
        """As the ledger has it."""
        _, subject_kind, kind = self.split(".")
        return subject_kind, kind


class SessionThen(Model):
    """A session as it stood after the event; what was ordered never changes."""

    id: Id
    state: State
    account_sid: str
    call_sid: str
    siprec_sid: str | None
    callback_siprec_sid: str | None
    connector_name: str | None
    reference: str | None
    labels: dict[str, str]
    accepted_at: Time | None
    started_at: Time | None
    ended_at: Time | None
    stop_requested_at: Time | None
    stop_requested_by: str | None
    attempts: int
    error: ErrorResponse | None
    merged_into: Id | None
    overdue: OverdueResponse | None
    call: CallResponse | None
    presumed: PresumedResponse | None


class EventData(Model):
    position: int = Field(description="1, 2, 3 … without a hole; never changes")
    actor: str = Field(description="who caused it: an API key's name, telnyx, watch or operator")
    callback_id: Id | None = Field(description="the callback that caused it")
    correction: bool = Field(description="true: by a callback that was received earlier and written later")
    changes: dict[str, tuple[Any, Any]] = Field(description=CHANGES_MEAN)
    written_at: Time
    numbered_at: Time = Field(description="when it got its position: it was seen by nobody before")
    session: SessionThen | None = Field(description="as it stood after it; null where it is about no session")


class CloudEvent(Model):
    specversion: str
    id: str = Field(description="the cursor after this event; with `source` its name for ever")
    source: str
    type: str = Field(description=f"one of {', '.join(EventType)}; a later release may have more")
    subject: str = Field(description="the id of the session, or of whatever it is about")
    time: Time = Field(description="when it happened, as far as we know")
    datacontenttype: str
    data: EventData


class EventPage(Model):
    events: list[CloudEvent] = Field(description="in the order of their positions")
    next: str = Field(description="the cursor after the last event that was looked at: never null")


class EventBatch(RootModel[list[CloudEvent]]):
    """The JSON batch format of CloudEvents 1.0: nothing but the events."""


@dataclass(frozen=True)
class Page:
    """`events` is a JSON array of CloudEvents, `next` the cursor after them."""

    events: str
    next: str

    @property
    def document(self) -> str:
        """An EventPage."""
        return f'{{"events":{self.events},"next":"{self.next}"}}'


def cursor(place: Place) -> str:
    return "start" if place == START else f"{place.position}-{place.digits}"


class Rendered:
    """Events as JSON, those shown lately: none ever changes, and who follows wants what others have read.

    Any thread may use it. It keeps MOST_KEPT events, which have a kilobyte each where labels are few, and
    MOST_PAGES pages.
    """

    def __init__(self, url: str) -> None:
        """`url` is the service's, which tells its events from others'."""
        self._source = f"{url}/v1/events"
        self._lock = threading.Lock()
        self._kept: dict[Place, str] = {}  # the one that was added first goes first
        self._pages: dict[Hashable, Page] = {}

    def shared(self, key: Hashable) -> Page | None:
        """The page of somebody who asked the same."""
        return self._pages.get(key)

    def share(self, key: Hashable, page: Page) -> None:
        self._pages = dict([*self._pages.items(), (key, page)][-MOST_PAGES:])

    def page(self, found: Found, read: Callable[[Sequence[int]], Iterable[Line]]) -> Page:
        """`read` gives the events at some positions."""
        with self._lock:
            known = {place: self._kept[place] for place in found.places if place in self._kept}
        missing = [place.position for place in found.places if place not in known]
        new = {line.place: _written(line, self._source) for line in read(missing)}
        events = ",".join([new.get(place) or known[place] for place in found.places])
        if new:
            self._keep(new)
        return Page(f"[{events}]", cursor(found.until))

    def _keep(self, new: Mapping[Place, str]) -> None:
        with self._lock:
            self._kept.update(new)
            for place in list(islice(self._kept, max(0, len(self._kept) - MOST_KEPT))):
                del self._kept[place]


def _written(line: Line, source: str) -> str:
    """A CloudEvent. The models only document it: to go through them takes three times as long."""
    return canonical_json(
        {
            "specversion": "1.0",
            "id": cursor(line.place),
            "source": source,
            "type": f"{PREFIX}.{line.subject_kind}.{line.kind}",
            "subject": line.subject_id,
            "time": written_out(line.happened_at),
            "datacontenttype": "application/json",
            "data": {
                "position": line.place.position,
                "actor": line.actor,
                "callback_id": line.callback_id,
                "correction": line.correction,
                "changes": line.changes,
                "written_at": written_out(line.written_at),
                "numbered_at": written_out(line.numbered_at),
                "session": _session(line) if line.facts else None,
            },
        }
    )


def _session(line: Line) -> dict[str, Any]:
    return {
        **line.facts,
        "id": line.subject_id,
        "account_sid": line.account_sid,
        "call_sid": line.call_sid,
        "connector_name": line.connector_name,
        "reference": line.reference,
        "labels": line.labels,
    }
