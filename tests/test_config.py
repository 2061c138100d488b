"""The environment is read once, and everything that is wrong with it is told at once, without its values."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from service import config
from service.config import Settings, SignaturePolicy, WrongConfiguration
from service.sandbox import Sandbox
from service.store.engine import FEWEST_CONNECTIONS

PUBLIC_KEY = Sandbox().public_key
RIGHT = {
    "PUBLIC_URL": "https://ledger.example",
    "SECRET_KEY": "s" * 32,
    "DATABASE_URL": "sqlite:////data/ledger.sqlite3",
    "SPOOL_DIR": "/data/spool",
    "TELNYX_API_KEY": "KEY-1",
    "TELNYX_PUBLIC_KEY": PUBLIC_KEY,
}
CHECKOUT = Path(__file__).parents[1]


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in Settings.model_fields:
        monkeypatch.delenv(name, raising=False)
    for name, value in RIGHT.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def complaints() -> list[str]:
    with pytest.raises(WrongConfiguration) as wrong:
        config.load()
    return str(wrong.value).splitlines()


def test_what_is_required_is_enough(env: pytest.MonkeyPatch) -> None:
    settings = config.load()
    assert settings.SECRET_KEY.get_secret_value() == "s" * 32
    assert settings.SECRET_KEY_FALLBACKS == []
    assert settings.TELNYX_PUBLIC_KEY.for_all == (PUBLIC_KEY,)
    assert settings.TELNYX_BASE_URL == "https://api.telnyx.com/v2"
    assert settings.CALLBACK_SIGNATURE is SignaturePolicy.REQUIRED


def test_as_few_connections_as_the_engine_needs_are_allowed(env: pytest.MonkeyPatch) -> None:
    env.setenv("DATABASE_CONNECTIONS", str(FEWEST_CONNECTIONS))
    assert config.load().DATABASE_CONNECTIONS == FEWEST_CONNECTIONS


@pytest.mark.parametrize("name", RIGHT)
def test_each_required_one_is_required_alone(env: pytest.MonkeyPatch, name: str) -> None:
    env.delenv(name)
    (line,) = complaints()
    assert line.startswith(f"{name}: is required and not set")


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_an_empty_value_is_wrong_not_absent(env: pytest.MonkeyPatch, name: str) -> None:
    env.setenv(name, "")
    (line,) = complaints()
    assert line.startswith(f"{name}: ")


WRONG = {
    "PUBLIC_URL": [
        "ledger.example",
        "ftp://x",
        "https://",
        "https://x/?a=b",
        "https://x/#a",
        "https://u:p@x/",
    ],
    "SECRET_KEY": ["short", "s" * 31],
    "SECRET_KEY_FALLBACKS": ["short", f"{'s' * 32},short", ","],
    "DATABASE_URL": [
        "mysql://x/y",
        "ledger.sqlite3",
        "postgresql:h/d",
        "sqlite",
        "sqlite+aiosqlite:///x",
        "sqlite://x/y",
        "postgresql://h:port/d",
        "postgresql://u:p@a:5432,b:port/d",
        "postgresql:///d?host=a&host=b",
        "postgresql://u:p@ss@h/d",
        "sqlite:///:memory:",
    ],
    "DATABASE_CONNECTIONS": [str(FEWEST_CONNECTIONS - 1), "201", "x"],
    "TELNYX_PUBLIC_KEY": [
        "x",
        "A" * 44,
        f"{PUBLIC_KEY},x",
        PUBLIC_KEY[:-4],
        ",",
        f"{PUBLIC_KEY}{PUBLIC_KEY}",
    ],
    "TELNYX_BASE_URL": ["api.telnyx.com", "https://"],
    "TELNYX_TIMEOUT_SECONDS": ["0", "-1", "x", "61", "nan", "inf"],
    "START_DEADLINE_SECONDS": ["0", "x", "3601"],
    "CALLBACK_SIGNATURE": ["off", "Required", "none"],
    "SPOOL": ["maybe", "ON"],
    "SPOOL_LIMIT_MB": ["0", "x"],
    "WATCH_SECONDS": ["0", "x"],
    "THREADS": ["3", "257", "x", "4.5"],
    "WEB_CONCURRENCY": ["0", "65"],
    "PORT": ["-1", "65536", "http"],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG.items() for value in values]
)
def test_a_wrong_value_is_told_by_name_and_not_shown(env: pytest.MonkeyPatch, name: str, value: str) -> None:
    env.setenv(name, value)
    (line,) = complaints()
    assert line.startswith(f"{name}: ")
    assert len(value) < 8 or value not in line


ACCEPTED = {
    "PUBLIC_URL": ["http://127.0.0.1:8000", "https://ledger.example/below/here/"],
    "DATABASE_URL": [
        "postgres://u:p@h/d",
        "postgresql://h/d?sslmode=require",
        "postgresql+psycopg:///d",
        "postgresql://u:p@a:5432,b:5432/d",
        "postgresql://a,[::1]:5433/d?target_session_attrs=read-write",
        "postgresql:///d?host=/tmp/a,/tmp/b",
        "sqlite:///x",
    ],
    "SECRET_KEY_FALLBACKS": ["f" * 32, f"{'f' * 32}, {'g' * 40}", f"{'f' * 32},"],
    "TELNYX_PUBLIC_KEY": [f"{PUBLIC_KEY}, {PUBLIC_KEY}"],
    "CALLBACK_SIGNATURE": ["if_present"],
    "TELNYX_ACCOUNT_SID": ["account-1"],
    "PORT": ["0", "65535"],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in ACCEPTED.items() for value in values]
)
def test_what_is_right_is_taken(env: pytest.MonkeyPatch, name: str, value: str) -> None:
    env.setenv(name, value)
    config.load()


def test_earlier_secrets_are_separated_by_commas(env: pytest.MonkeyPatch) -> None:
    env.setenv("SECRET_KEY_FALLBACKS", f" {'f' * 32} , {'g' * 40}")
    assert [one.get_secret_value() for one in config.load().SECRET_KEY_FALLBACKS] == ["f" * 32, "g" * 40]


def test_a_slash_at_the_end_of_a_url_is_not_doubled(env: pytest.MonkeyPatch) -> None:
    env.setenv("PUBLIC_URL", "https://ledger.example/a/")
    env.setenv("TELNYX_BASE_URL", "http://127.0.0.1:1/v2/")
    settings = config.load()
    assert (settings.PUBLIC_URL, settings.TELNYX_BASE_URL) == (
        "https://ledger.example/a",
        "http://127.0.0.1:1/v2",
    )


def test_without_a_spool_its_folder_is_not_needed(env: pytest.MonkeyPatch) -> None:
    env.delenv("SPOOL_DIR")
    env.setenv("SPOOL", "off")
    assert config.load().SPOOL_DIR is None


SECRETS = {
    "SECRET_KEY": "hush-secret-key",
    "SECRET_KEY_FALLBACKS": "hush-fallback",
    "DATABASE_URL": "mysql://user:hush-password@host/db",
    "TELNYX_PUBLIC_KEY": "hush-public-key",
    "PUBLIC_URL": "https://user:hush-url@ledger.example",
    "THREADS": "hush-threads",
}


def test_all_problems_are_told_at_once_and_no_secret(env: pytest.MonkeyPatch) -> None:
    env.delenv("TELNYX_API_KEY")
    for name, value in SECRETS.items():
        env.setenv(name, value)
    lines = complaints()
    assert [line.partition(":")[0] for line in lines] == sorted({*SECRETS, "TELNYX_API_KEY"})
    assert "hush" not in "\n".join(lines)


def test_what_is_right_is_not_shown_either(env: pytest.MonkeyPatch) -> None:
    shown = repr(config.load())
    assert "s" * 32 not in shown
    assert "KEY-1" not in shown
    assert "/data/ledger" not in shown


def test_gunicorn_tells_the_same_and_does_not_start(tmp_path: Path) -> None:
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT), **SECRETS}
    command = ["-m", "gunicorn", "-c", "python:service.gunicorn_conf", "service.app:web()"]
    done = subprocess.run(
        [sys.executable, *command], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode != 0
    said = done.stdout + done.stderr
    for name in (*SECRETS, "TELNYX_API_KEY"):
        assert f"\n{name}: " in said
    assert "hush" not in said
    assert "Traceback" not in said
