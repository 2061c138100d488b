"""pandas, DuckDB, pyarrow and a spreadsheet read the views as they are, and find their sums."""

from __future__ import annotations

import random
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from service.store.engine import Database
from tests.history import History
from tests.ledger.lines import number_all
from tests.test_report_daily import Teller

pandas = import_module("pandas")
duckdb = import_module("duckdb")
arrow = import_module("pyarrow")
openpyxl = import_module("openpyxl")
parquet = import_module("pyarrow.parquet")

VIEWS = ("sessions", "callbacks", "timeline", "attempts", "rejected", "daily", "failures", "causes")


@pytest.fixture
def told(database: Database) -> Database:
    history = History(database)
    sessions = Teller(history, random.Random(3)).tell(60)
    history.reject(sessions[0].requested, "the signature does not fit", account_sid="=1+1", call_sid="call-1")
    number_all(database)
    return database


@pytest.fixture
def frames(told: Database) -> Iterator[dict[str, Any]]:
    """Each view as pandas reads it, from the driver's connection."""
    with told.engine.connect() as db:
        yield {view: pandas.read_sql_query(f"SELECT * FROM report_{view}_v1", db) for view in VIEWS}


def sums(told: Database) -> tuple[int, int, float]:
    """Asked, stopped, and seconds recorded, of all days."""
    query = "SELECT SUM(asked), SUM(stopped), SUM(seconds_recorded) FROM report_daily_v1"
    with told.read() as db:
        asked, stopped, seconds = db.exec_driver_sql(query).one()
    return int(asked), int(stopped), float(seconds)


def test_pandas_finds_numbers_and_their_sums(told: Database, frames: dict[str, Any]) -> None:
    daily = frames["daily"]
    counts = [name for name in daily.columns if name not in {"account_sid", "connector_name", "day"}]
    assert all(pandas.api.types.is_numeric_dtype(daily[name]) for name in counts)
    found = daily["asked"].sum(), daily["stopped"].sum(), daily["seconds_recorded"].sum()
    assert found == pytest.approx(sums(told))
    assert pandas.api.types.is_numeric_dtype(frames["sessions"]["duration_seconds"])
    assert pandas.api.types.is_numeric_dtype(frames["callbacks"]["lateness_seconds"])
    assert frames["sessions"]["duration_seconds"].sum() == pytest.approx(sums(told)[2])


def test_pandas_reads_every_time_as_utc(frames: dict[str, Any]) -> None:
    for frame in frames.values():
        for name in frame.columns:
            if name.endswith("_at") and frame[name].notna().any():
                times = pandas.to_datetime(frame[name], utc=True)
                assert times.notna().sum() == frame[name].notna().sum()


def test_duckdb_adds_up_what_pandas_has_read(told: Database, frames: dict[str, Any]) -> None:
    with duckdb.connect() as db:
        db.register("daily", frames["daily"])
        db.register("sessions", frames["sessions"])
        asked, stopped, seconds = db.execute(
            "SELECT SUM(asked), SUM(stopped), SUM(seconds_recorded) FROM daily"
        ).fetchone()
        counted = db.execute("SELECT COUNT(*), SUM(duration_seconds) FROM sessions").fetchone()
    assert (asked, stopped, seconds) == pytest.approx(sums(told))
    assert counted == pytest.approx((len(frames["sessions"]), seconds))


def test_parquet_and_a_spreadsheet_carry_the_same_sums(
    told: Database, frames: dict[str, Any], tmp_path: Path
) -> None:
    daily = frames["daily"]
    parquet.write_table(arrow.Table.from_pandas(daily), tmp_path / "daily.parquet")
    table = parquet.read_table(tmp_path / "daily.parquet")
    daily.to_excel(tmp_path / "daily.xlsx", index=False)
    header, *rows = openpyxl.load_workbook(tmp_path / "daily.xlsx").active.iter_rows(values_only=True)
    for name, expected in zip(("asked", "stopped", "seconds_recorded"), sums(told), strict=True):
        assert sum(table[name].to_pylist()) == pytest.approx(expected)
        assert sum(row[header.index(name)] for row in rows) == pytest.approx(expected)
