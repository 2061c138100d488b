"""What the tests of the ledger stand on."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.store.engine import Database
from tests.ledger.desk import Desk


@pytest.fixture
def desk(database: Database, tmp_path: Path) -> Desk:
    """Nothing runs by itself."""
    return Desk(database, tmp_path / "spool")
