"""What the OpenAPI document shows of API keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from service.web.examples import APP, ENDED, Json

KEY_MADE: Final = "2026-11-22T10:50:00.000000Z"
KEY_ROTATED: Final = "2026-11-22T11:00:00.000000Z"
KEY_ID: Final = "01a202e0-8ac0-7d0e-9d3a-61f0b8a1c552"
SECRET_ID: Final = "01a202e0-8ac0-71b9-8a3e-0c5f2d9b7e14"  # noqa: S105
NEXT_SECRET_ID: Final = "01a202e9-b260-7a42-b5d1-7f3c9e0a6d28"  # noqa: S105
SECRET: Final[Json] = {
    "id": SECRET_ID,
    "in_force": True,
    "created_at": KEY_MADE,
    "expires_at": None,
    "revoked_at": None,
    "last_used_at": ENDED,
}
NEXT_SECRET: Final[Json] = {
    **SECRET,
    "id": NEXT_SECRET_ID,
    "created_at": KEY_ROTATED,
    "last_used_at": None,
}
REVOKED_SECRET: Final[Json] = {**SECRET, "in_force": False, "revoked_at": KEY_ROTATED}
KEY: Final[Json] = {
    "id": KEY_ID,
    "name": APP,
    "in_force": True,
    "scopes": ["sessions:read", "sessions:start", "sessions:stop"],
    "accounts": ["account-1"],
    "created_at": KEY_MADE,
    "last_used_at": ENDED,
    "secrets": [SECRET],
}
REVOKED_KEY: Final[Json] = {**KEY, "in_force": False, "secrets": [REVOKED_SECRET]}
# By operation and status.
ANSWERS: Final[Mapping[tuple[str, int], Json]] = {
    ("listKeys", 200): {"keys": [KEY], "next_cursor": None},
    ("createKey", 201): {**KEY, "text": "slk_01a202e08ac071b98a3e0c5f2d9b7e14_…"},
    ("getKey", 200): KEY,
    ("changeKey", 200): {**KEY, "accounts": None},
    ("revokeKey", 200): REVOKED_KEY,
    ("createKeySecret", 201): {
        **KEY,
        "secrets": [SECRET, NEXT_SECRET],
        "text": "slk_01a202e9b2607a42b5d17f3c9e0a6d28_…",
    },
    ("revokeKeySecret", 200): {**KEY, "secrets": [REVOKED_SECRET, NEXT_SECRET]},
}
