"""A log on local disk for what the database cannot take now: durable on return, drained by anybody."""

from service.spool.spool import Depth, Spool, SpoolUnusable, Write

__all__ = ["Depth", "Spool", "SpoolUnusable", "Write"]
