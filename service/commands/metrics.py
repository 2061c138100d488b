"""`siprec-ledger metrics …`: what ships for Prometheus and Grafana."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

FILES: Final = Path(__file__).parents[1] / "metrics_files"


@click.group("metrics")
def metrics_group() -> None:
    """What ships for Prometheus and Grafana."""


@metrics_group.command()
def dashboard() -> None:
    """Print a dashboard for Grafana, to be imported there."""
    click.echo((FILES / "dashboard.json").read_text(encoding="utf-8"), nl=False)


@metrics_group.command()
def rules() -> None:
    """Print alerting rules for Prometheus, to be named in its rule_files."""
    click.echo((FILES / "rules.yml").read_text(encoding="utf-8"), nl=False)
