"""What an app asks for: the fields of a start. Pure: no input, no output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum

from service.domain.value import value


class Track(StrEnum):
    BOTH = "both_tracks"
    INBOUND = "inbound_track"
    OUTBOUND = "outbound_track"


class SipTransport(StrEnum):
    UDP = "udp"
    TCP = "tcp"
    TLS = "tls"


class CallbackMethod(StrEnum):
    POST = "POST"
    GET = "GET"


@value(frozen=True)
class Order:
    """What an app asks to have recorded; `None` leaves the choice to Telnyx."""

    account_sid: str
    call_sid: str
    connector_name: str | None = None
    name: str | None = None
    track: Track | None = None
    include_metadata_custom_headers: bool | None = None
    secure: bool | None = None
    session_timeout_secs: int | None = None
    sip_transport: SipTransport | None = None
    status_callback_method: CallbackMethod = CallbackMethod.POST
    reference: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
