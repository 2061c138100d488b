"""On a healthy system the doctor finds nothing."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest
from click.testing import CliRunner

from service import cli
from service.doctor.checks import CHECKS, LONGEST_SECONDS
from tests.bed import places
from tests.bed.reverse_proxy import Manners
from tests.doctor.conftest import Patient
from tests.house import House


def test_nothing_is_found_on_a_healthy_system(patient: Patient, database_kind: str) -> None:
    told = patient.examined("--connector", "recorder", "--longest-wait", "2", without=())
    assert (told.exit_code, told.wrong, told.warnings) == (0, set(), set())
    assert list(told.checks) == [check.name for check in CHECKS]
    assert told.named("skipped") == ({"connections"} if database_kind == "sqlite" else set())
    # Telnyx could not come to this one, and that is said.
    assert "127.0.0.1, which is not on the Internet" in told.checks["public_address"]["found"]


def test_nor_where_the_outside_is_shown_callbacks_alone(patient: Patient) -> None:
    patient.proxy.manners = Manners(only="/callbacks/", seconds=3, buffers=True)  # apps do not come this way
    told = patient.examined(without=(), INTERNAL_BIND="127.0.0.1:1")
    assert (told.wrong, told.warnings) == (set(), set())
    assert told.checks["public_paths"]["found"] == "It shows callbacks alone."
    assert told.checks["proxy_buffering"]["status"] == "skipped"


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_nor_where_the_inside_has_a_listener_of_its_own(
    patient: Patient, build: Callable[..., House]
) -> None:
    with places.some() as place:
        bind = "{}:{}".format(*place.getsockname())
        house = build(INTERNAL_BIND=bind, SECRET_KEY=patient.env["SECRET_KEY"])
        told = patient.examined(**{**house.web.env, "TELNYX_BASE_URL": patient.telnyx.url})
    assert (told.wrong, told.warnings) == (set(), set())
    assert told.checks["public_paths"]["found"] == "It shows callbacks alone."


def test_a_line_for_each_check_and_none_holds_a_secret(patient: Patient) -> None:
    asked = CliRunner().invoke(cli.main, ["doctor", "--longest-wait", "0"], env=patient.env)
    lines = asked.stdout.splitlines()
    assert [line.split()[1] for line in lines] == [check.name for check in CHECKS]
    assert {line.split()[0] for line in lines} <= {"ok", "skipped", "warning"}
    secrets = [patient.env[name] for name in ("SECRET_KEY", "TELNYX_API_KEY", "TELNYX_PUBLIC_KEY")]
    assert not [secret for secret in secrets if secret in asked.output]


def test_the_canary_tells_what_each_step_took(patient: Patient) -> None:
    asked = CliRunner().invoke(cli.main, ["canary"], env=patient.env)
    assert asked.exit_code == 0, asked.output
    first, *steps = asked.stdout.splitlines()
    assert f"reaches {socket.gethostname()} and is answered in" in first
    names = [line.partition(":")[0] for line in steps]
    assert names == ["loop", "signature", "database", "spool", "all, from here and back"]
    assert all(line.endswith(" ms") for line in steps)


def test_all_checks_together_are_bounded() -> None:
    """By the longest chain of those that need each other."""
    ends: dict[str, float] = {}
    for check in CHECKS:  # what one needs stands before it
        ends[check.name] = check.seconds + max((ends[name] for name in check.needs), default=0.0)
    assert max(ends.values()) <= LONGEST_SECONDS
