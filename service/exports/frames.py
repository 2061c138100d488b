"""How an export comes through a pipe: in frames of whole lines, so that one that is cut off is noticed.

A frame is its head, and as many bytes as that says. The last one ends the export, or says why it failed.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

HEAD: Final = struct.Struct(">BII")  # kind, rows in it, bytes behind it


class FrameKind(IntEnum):
    ROWS = 0
    END = 1
    FAILED = 2  # its bytes are why, in words


def frame(kind: FrameKind, rows: int, content: bytes) -> bytes:
    return HEAD.pack(kind, rows, len(content)) + content


def read_head(head: bytes) -> tuple[FrameKind, int, int]:
    kind, rows, size = HEAD.unpack(head)
    return FrameKind(kind), rows, size
