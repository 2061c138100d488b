"""A Telnyx to try and test against: speaks the published contract, on a local port."""

from .behaviour import EVENTS, FAILED, STARTED, STOPPED, Answer, Behaviour
from .server import PortTaken, Sandbox
from .sessions import Call, Session
from .signature import Account
from .state import NoStatusCallback, UnknownSession
from .traffic import Delivery, Request
from .validation import Invalid

__all__ = [
    "EVENTS",
    "FAILED",
    "STARTED",
    "STOPPED",
    "Account",
    "Answer",
    "Behaviour",
    "Call",
    "Delivery",
    "Invalid",
    "NoStatusCallback",
    "PortTaken",
    "Request",
    "Sandbox",
    "Session",
    "UnknownSession",
]
