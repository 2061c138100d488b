"""What is built from the settings, and which settings do not go together."""

from __future__ import annotations

import base64
import math
from pathlib import Path

import pytest

from service import wiring
from service.config import Settings, WrongConfiguration
from service.telnyx.client import longest_seconds


def settings(folder: Path, **others: object) -> Settings:
    return Settings.model_validate(
        {
            "PUBLIC_URL": "https://ledger.example",
            "SECRET_KEY": "a secret that is long enough for a test",
            "DATABASE_URL": f"sqlite:///{folder}/ledger.sqlite3",
            "TELNYX_API_KEY": "KEY",
            "TELNYX_PUBLIC_KEY": [base64.b64encode(b"\1" * 32).decode()],
            "SPOOL": "off",
            **others,
        }
    )


def test_a_deadline_that_ends_before_telnyx_had_its_time_is_refused(tmp_path: Path) -> None:
    for timeout in (0.1, 5.0, 10.0, 60.0):
        least = math.ceil(longest_seconds(timeout))
        with pytest.raises(WrongConfiguration, match=f"START_DEADLINE_SECONDS: must be at least {least}"):
            wiring.wire(
                settings(tmp_path, TELNYX_TIMEOUT_SECONDS=timeout, START_DEADLINE_SECONDS=least - 0.1)
            )
        fits = settings(tmp_path, TELNYX_TIMEOUT_SECONDS=timeout, START_DEADLINE_SECONDS=least)
        wiring.wire(fits).database.close()


def test_the_defaults_go_together(tmp_path: Path) -> None:
    wiring.wire(settings(tmp_path)).database.close()


def test_the_usual_account_has_to_have_a_key(tmp_path: Path) -> None:
    wrong = settings(tmp_path, TELNYX_API_KEY="account-2=KEY", TELNYX_ACCOUNT_SID="account-1")
    with pytest.raises(WrongConfiguration, match=r"^TELNYX_ACCOUNT_SID: must have a key in TELNYX_API_KEY"):
        wiring.wire(wrong)
    for keys in ("KEY", "account-1=KEY", "KEY,account-2=KEY"):
        fits = settings(tmp_path, TELNYX_API_KEY=keys, TELNYX_ACCOUNT_SID="account-1")
        wiring.wire(fits).database.close()
