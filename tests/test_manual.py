"""The README and the manual say what is true."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from pydantic_core import PydanticUndefined
from sqlalchemy import inspect, text

from service.config import Settings
from service.doctor.checks import CHECKS
from service.metrics import EXPORTED
from service.store.engine import Database
from tests.bench import report

DOCS = Path(__file__).parents[1] / "docs"
ANALYSTS = (DOCS / "analysts.md").read_text(encoding="utf-8")
OPERATORS = (DOCS / "operators.md").read_text(encoding="utf-8")
SETTINGS = (DOCS / "settings.md").read_text(encoding="utf-8")
DUTY = (DOCS / "duty.md").read_text(encoding="utf-8")
FIGURES = json.loads((Path(__file__).parent / "bench" / "figures.json").read_text(encoding="utf-8"))


def settings_table() -> str:
    """What the page of settings has to say under its heading `Settings`."""
    lines = ["| name | default | |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = "required" if field.default is PydanticUndefined else shown(field.default)
        lines.append(f"| `{name}` | {default} | {field.description} |")
    return "\n".join(lines)


def metrics_table() -> str:
    """What the page of who is on duty has to say under its heading `Metrics`."""
    lines = ["| name | type | labels | |", "|---|---|---|---|"]
    for one in EXPORTED:
        labels = ", ".join(f"`{label}`" for label in one.labels) or "none"
        lines.append(f"| `{one.name}` | {one.type} | {labels} | {one.help} |")
    return "\n".join(lines)


def doctor_table() -> str:
    """What the operators' page has to say under its heading `The doctor`."""
    return "\n".join(f"| `{check.name}` | {check.what} |" for check in CHECKS)


def test_the_table_of_checks_is_that_of_the_doctor() -> None:
    assert f"|---|---|\n{doctor_table()}\n\n" in OPERATORS


def test_the_table_of_metrics_is_that_of_the_code() -> None:
    assert metrics_table() in DUTY


def shown(default: object) -> str:
    return f"`{default}`" if default not in (None, []) else "none"


def test_the_settings_table_is_that_of_the_code() -> None:
    assert settings_table() in SETTINGS


VIEWS = re.findall(r"^## (report_\w+): (.*)$", ANALYSTS, re.MULTILINE)


def columns_table(view: str) -> list[tuple[str, str]]:
    """Of each column its name, and what the analysts' page says of it."""
    section = ANALYSTS.split(f"## {view}:")[1].split("\n## ")[0]
    return re.findall(r"^\| `(\w+)` \| (.*) \|$", section, re.MULTILINE)


def test_every_view_is_documented(database: Database) -> None:
    with database.read() as db:
        made = inspect(db).get_view_names()
    assert {view for view, _ in VIEWS} == {*made}


@pytest.mark.parametrize("view", [view for view, _ in VIEWS])
def test_every_column_of_a_report_is_documented_in_its_order(database: Database, view: str) -> None:
    with database.read() as db:
        columns = list(db.execute(text(f"SELECT * FROM {view}")).keys())
    assert [name for name, _ in columns_table(view)] == columns


@pytest.mark.parametrize("database_kind", ["postgresql"])
@pytest.mark.parametrize(("view", "of_view"), VIEWS)
def test_views_and_columns_bear_the_words_of_the_page(database: Database, view: str, of_view: str) -> None:
    """A page that is bettered takes a migration of its own, with a file of comments."""
    query = text(
        "SELECT attname, col_description(attrelid, attnum) FROM pg_attribute"
        " WHERE attrelid = CAST(:view AS regclass) AND attnum > 0 ORDER BY attnum"
    )
    with database.read() as db:
        comments = [tuple(row) for row in db.execute(query, {"view": view})]
        described = db.scalar(text("SELECT obj_description(CAST(:view AS regclass))"), {"view": view})
    assert comments == columns_table(view)
    assert described == of_view


def example_queries() -> list[str]:
    return re.findall("```sql\n(.*?)```", ANALYSTS, re.DOTALL)


@pytest.mark.parametrize("query", example_queries())
def test_the_example_queries_run_on_an_empty_ledger(database: Database, query: str) -> None:
    other = "-- PostgreSQL" if database.is_sqlite else "-- SQLite"
    if not query.startswith(other):
        with database.read() as db:
            assert db.exec_driver_sql(query).all() == []


def test_the_figures_are_those_that_the_bench_wrote_down() -> None:
    assert report.summary(FIGURES) in OPERATORS


def test_the_claims_about_what_was_kept_are_those_of_the_bench() -> None:
    audits = [
        (name, one["audit"])
        for stage in FIGURES["stages"].values()
        for name, one in stage.items()
        if one["audit"] is not None
    ]
    ours = [audit for name, audit in audits if name.startswith("ours")]
    assert sum(audit["answered"] for audit in ours) > 0
    assert not any(audit["lost"] or audit["twice"] or audit["miscounted"] for audit in ours)
    assert any(audit["miscounted"] for name, audit in audits if name.startswith("naive"))
