"""The id that an answer, its problem and the log have in common."""

from __future__ import annotations

import re

from service.domain.ids import new_id

SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def request_id_of(given: str) -> str:
    """The caller's, if it is sane; else a new one."""
    return given if SANE_REQUEST_ID.fullmatch(given) else new_id()
