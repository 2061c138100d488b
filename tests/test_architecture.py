"""The house itself: imports point down, every room says what it is for, and none is too large."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
SERVICE = CHECKOUT / "service"
MODULES = sorted(SERVICE.rglob("*.py"))
LONGEST_LINES = 300
TO_BE_SPLIT = {"ledger/sessions.py"}  # when one is, it goes from here


def test_imports_point_down() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([program, "--no-cache"], cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_are_modules_to_look_at() -> None:
    assert len(MODULES) > 40


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_every_module_opens_with_a_sentence(path: Path) -> None:
    documented = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    first = documented.partition("\n\n")[0]
    assert first.endswith("."), "it does not say what it is for"
    assert first[0].isupper() or not first[0].isalpha()


def test_a_module_that_grows_is_two_subjects() -> None:
    lines = {str(path.relative_to(SERVICE)): path.read_text(encoding="utf-8").count("\n") for path in MODULES}
    assert {name for name, count in lines.items() if count > LONGEST_LINES} <= TO_BE_SPLIT


def test_the_sandbox_is_a_stranger() -> None:
    for path in (SERVICE / "sandbox").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert not [a.name for a in node.names if a.name.split(".")[0] == "service"], path
            if isinstance(node, ast.ImportFrom):
                is_own = node.level == 1 or (node.module or "").startswith("service.sandbox")
                assert is_own or (node.level == 0 and (node.module or "").split(".")[0] != "service"), path
