"""A Telnyx to try and test against: speaks the published contract, on a local port."""

from .behaviour import EVENTS, FAILED, STARTED, STOPPED, Answer, Behaviour
from .members import BadBehaviour
from .records import Delivery, Request
from .server import PortTaken, Sandbox
from .sessions import Call, Session
from .switchboard import NoStatusCallback, UnknownSession

__all__ = [
    "EVENTS",
    "FAILED",
    "STARTED",
    "STOPPED",
    "Answer",
    "BadBehaviour",
    "Behaviour",
    "Call",
    "Delivery",
    "NoStatusCallback",
    "PortTaken",
    "Request",
    "Sandbox",
    "Session",
    "UnknownSession",
]
