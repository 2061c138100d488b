"""The README and the manual say what is true."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from pydantic_core import PydanticUndefined
from sqlalchemy import text

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


@pytest.mark.parametrize("view", ["report_sessions_v1", "report_callbacks_v1"])
def test_every_column_of_a_report_is_documented_in_its_order(database: Database, view: str) -> None:
    with database.read() as db:
        columns = list(db.execute(text(f"SELECT * FROM {view}")).keys())
    section = ANALYSTS.split(f"## {view}:")[1].split("```sql")[0]
    first_cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert re.findall(r"`(\w+)`", " ".join(first_cells)) == columns


@pytest.mark.parametrize("query", re.findall("```sql\n(.*?)```", ANALYSTS, re.DOTALL))
def test_the_example_queries_run_on_both_databases(database: Database, query: str) -> None:
    with database.read() as db:
        assert db.execute(text(query)).all() == []


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
