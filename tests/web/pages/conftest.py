"""Each page is of this very moment."""

from __future__ import annotations

import pytest

from service.web.pages import figures


@pytest.fixture(autouse=True)
def _nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "KEPT_SECONDS", 0.0)
