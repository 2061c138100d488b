"""The dashboard and the alerting rules that ship: they name what is exported, and fire when they should."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from service.cli import main
from service.metrics import EXPORTED

FILES = Path(__file__).parents[1] / "service" / "metrics_files"
RULES = FILES / "rules.yml"
DASHBOARD = json.loads((FILES / "dashboard.json").read_text(encoding="utf-8"))
ALERT = re.compile(r"^ +- alert: (\w+)$", re.MULTILINE)
EXPRESSION = re.compile(r"^ +expr: (?:>-\n((?: {10}.*\n)+)|(.*)\n)", re.MULTILINE)

Alert = tuple[dict[str, str], dict[str, str]]  # labels and annotations

promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="there is no promtool")


def series_names() -> set[str]:
    """Every name that a sample can have."""
    names = {one.name for one in EXPORTED if one.type != "histogram"}
    histograms = {one.name for one in EXPORTED if one.type == "histogram"}
    return names | {f"{name}_{part}" for name in histograms for part in ("bucket", "sum", "count")}


def rule_expressions() -> list[str]:
    found = EXPRESSION.findall(RULES.read_text(encoding="utf-8"))
    return [" ".join((long or short).split()) for long, short in found]


def panel_expressions() -> list[str]:
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]


def check(expressions: list[str], folder: Path) -> None:
    """By Prometheus itself, as rules that record them."""
    rules = [{"record": f"one:{n}", "expr": one} for n, one in enumerate(expressions)]
    file = folder / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "all", "rules": rules}]}))
    run("check", "rules", str(file))


def run(*arguments: str) -> None:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("expressions", [rule_expressions(), panel_expressions()], ids=["rules", "dashboard"])
def test_every_name_in_an_expression_is_exported(expressions: list[str]) -> None:
    named = set(re.findall(r"siprec_ledger_\w+", " ".join(expressions)))
    assert len(named) > 8
    assert named - series_names() == set()


@pytest.mark.parametrize("expressions", [rule_expressions(), panel_expressions()], ids=["rules", "dashboard"])
def test_every_label_and_value_in_an_expression_is_exported(expressions: list[str]) -> None:
    labels = {label for one in EXPORTED for label in one.labels} | {"job", "instance", "le", "__name__"}
    text = " ".join(expressions)
    for listed in re.findall(r"(?:by|on) \(([^)]*)\)", text):
        assert {one.strip() for one in listed.split(",")} <= labels, listed
    for matched in re.findall(r"\{([^{}]*)\}", text):
        assert set(re.findall(r"(\w+)\s*(?:=~|!=|=)", matched)) <= labels, matched


def test_each_rule_is_read_by_this_test() -> None:
    assert len(rule_expressions()) == len(ALERT.findall(RULES.read_text(encoding="utf-8"))) > 8


@promtool
def test_prometheus_takes_the_rules_and_the_expressions_of_the_dashboard(tmp_path: Path) -> None:
    run("check", "rules", str(RULES))
    check(
        [one.replace("$__rate_interval", "5m").replace("$job", "siprec") for one in panel_expressions()],
        tmp_path,
    )


def fires(folder: Path, alert: str, series: dict[str, str], expected: dict[str, list[Alert]]) -> None:
    """With these series, a value a minute, these alerts are there at each time; none: it does not fire."""
    cases = [
        {
            "alertname": alert,
            "eval_time": at,
            "exp_alerts": [{"exp_labels": labels, "exp_annotations": texts} for labels, texts in alerts],
        }
        for at, alerts in expected.items()
    ]
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": cases,
    }
    file = folder / "test.yml"
    file.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [test]}))
    run("test", "rules", str(file))


def said_by(alert: str, summary: str) -> dict[str, str]:
    block = RULES.read_text(encoding="utf-8").split(f"- alert: {alert}\n")[1].split("- alert:")[0]
    folded = re.search(r"description:(?: >-\n((?: {12}.*\n)+)| (.*)\n)", block)
    assert folded
    return {"summary": summary, "description": " ".join((folded[1] or folded[2]).split())}


@promtool
def test_a_live_call_that_is_not_recorded_alerts_at_once_and_once_for_all_hosts(tmp_path: Path) -> None:
    name = "SiprecLedgerLiveCallsNotRecorded"
    overdue = 'siprec_ledger_overdue_sessions{job="ledger",instance="%s",call="%s",cause="%s"}'
    series = {
        overdue % ("a", "live", "not_started"): "0 0 2 2 0",
        overdue % ("b", "live", "not_started"): "0 0 2 2 0",
        overdue % ("a", "live", "stopped_early"): "0 0 0 1 0",
        overdue % ("a", "live", "not_ended"): "7x9",
        overdue % ("a", "over", "not_started"): "7x9",
        overdue % ("a", "unknown", "not_started"): "7x9",
    }
    labels = {"job": "ledger", "severity": "critical"}
    said = "{} calls go on and are probably not recorded"
    fires(
        tmp_path,
        name,
        series,
        {
            "1m": [],
            "2m": [(labels, said_by(name, said.format(2)))],
            "3m": [(labels, said_by(name, said.format(3)))],
            "4m": [],
        },
    )


@promtool
@pytest.mark.parametrize("which", ["takes_writes", "up"])
def test_a_database_that_is_down_for_a_minute_alerts(tmp_path: Path, which: str) -> None:
    name = "SiprecLedgerDatabaseDown"
    series = {
        f'siprec_ledger_database_{which}{{job="ledger",instance="a"}}': "1 0 0 0 1",
        f'siprec_ledger_database_{which}{{job="ledger",instance="b"}}': "1x9",
    }
    alert = (
        {"job": "ledger", "severity": "critical"},
        said_by(name, "The database takes no writes, or does not answer"),
    )
    fires(tmp_path, name, series, {"1m": [], "3m": [alert], "4m": []})


@promtool
def test_rejected_callbacks_alert_when_they_grow_not_while_they_are_many(tmp_path: Path) -> None:
    name = "SiprecLedgerRejectedGrowing"
    rejected = 'siprec_ledger_callbacks_rejected_total{job="ledger",instance="a",reason="%s"}'
    series = {rejected % "forged": "0+5x30", rejected % "unsigned": "5000x30"}
    labels = {"job": "ledger", "severity": "warning", "reason": "forged"}
    said = said_by(name, "50 callbacks were rejected within 10 minutes (forged)")
    fires(tmp_path, name, series, {"20m": [(labels, said)]})


@promtool
def test_telnyx_refusing_alerts_by_its_share(tmp_path: Path) -> None:
    name = "SiprecLedgerTelnyxRefusing"
    asked = 'siprec_ledger_telnyx_requests_total{job="ledger",instance="a",outcome="%s"}'
    series = {asked % "ok": "0+8x30", asked % "credentials": "0+2x30", asked % "rejected": "0+0.5x30"}
    labels = {"job": "ledger", "severity": "critical", "outcome": "credentials"}
    said = said_by(name, "Telnyx refuses what it is asked for (credentials)")
    fires(tmp_path, name, series, {"20m": [(labels, said)]})


@pytest.mark.parametrize(("command", "file"), [("rules", "rules.yml"), ("dashboard", "dashboard.json")])
def test_the_command_prints_them(command: str, file: str) -> None:
    done = CliRunner().invoke(main, ["metrics", command])
    assert (done.exit_code, done.output) == (0, (FILES / file).read_text(encoding="utf-8"))
