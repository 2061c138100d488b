"""What is broken, one after the other, each from its beginning to its end."""

from __future__ import annotations

import resource

from tests.drill.faults import clients, database, service, standby
from tests.drill.faults.fault import Fault

FAULTS: tuple[Fault, ...] = (
    clients.NOTHING,
    *service.FAULTS,
    *database.FAULTS,
    *clients.FAULTS,
    *standby.FAULTS,
)

NEEDS_LIMITS = (
    {} if hasattr(resource, "prlimit") else {"disk-full": "this system cannot limit another process"}
)
