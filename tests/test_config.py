"""The environment is read once, and everything that is wrong with it is told at once, without its values."""

from __future__ import annotations

import os
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from service import config, setting_values
from service.config import Settings, SignaturePolicy, WrongConfiguration
from service.sandbox import Sandbox
from service.setting_values import AccountKeys
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
ACCOUNT = "61bf923e-5e4d-4595-a110-56190ea18a1b"
OTHER_ACCOUNT = "0b2ff5b0-8a6b-4d0c-9d0c-3c1c2a4f8d11"
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
        f"{PUBLIC_KEY}={PUBLIC_KEY}",
        f"{ACCOUNT}=",
        f"{ACCOUNT}=x",
        f"={PUBLIC_KEY}",
        f"{ACCOUNT}={OTHER_ACCOUNT}={PUBLIC_KEY}",
        f"{ACCOUNT} = {PUBLIC_KEY}",
    ],
    "TELNYX_BASE_URL": ["api.telnyx.com", "https://"],
    "TELNYX_TIMEOUT_SECONDS": ["0", "-1", "x", "61", "nan", "inf"],
    "START_DEADLINE_SECONDS": ["0", "x", "3601"],
    "CALLBACK_SIGNATURE": ["off", "Required", "none"],
    "SPOOL": ["maybe", "ON"],
    "SPOOL_LIMIT_MB": ["0", "x"],
    "WATCH_SECONDS": ["0", "x"],
    "OVERDUE_START_SECONDS": ["0", "x", "604801"],
    "OVERDUE_ANSWER_SECONDS": ["0", "x"],
    "OVERDUE_STOP_SECONDS": ["0", "x"],
    "OVERDUE_END_SECONDS": ["0", "x"],
    "ASK_CALLS": ["maybe"],
    "ASK_CALLS_PER_MINUTE": ["0", "6001"],
    "ALERT_WEBHOOK_URL": ["hooks.example", "ftp://x", "https://", "https://x/#a"],
    "ALERT_WEBHOOK_SECRET": ["x", "whsec_x", "whsec_" + "A" * 28, "A" * 48],
    "ALERT_FORMAT": ["email"],
    "HEARTBEAT_URL": ["ping.example", "https://"],
    "METRICS_TOKEN": ["short"],
    "LOG_FORMAT": ["xml"],
    "THREADS": ["3", "257", "x", "4.5"],
    "WEB_CONCURRENCY": ["0", "65"],
    "TELNYX_API_KEY": [
        ",",
        " ",
        "hush-one,hush-two",
        "=hush-hush",
        f"{ACCOUNT}=",
        f"{ACCOUNT}==",
        f"{ACCOUNT}=hush-one,{ACCOUNT}=hush-two",
        f"{ACCOUNT}={OTHER_ACCOUNT}=hush-one",
        f"{'x' * 256}=hush-one",
    ],
    "PORT": ["-1", "65536", "http"],
    "INTERNAL_BIND": ["nohost:8001", "127.0.0.1:0", "127.0.0.1:8000", "[::1]:8000", "0.0.0.0:8000", "unix:x"],
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
    "TELNYX_API_KEY": ["KEY", "KEY==", f"{ACCOUNT}=KEY", f"KEY, {ACCOUNT}=K2,\n {OTHER_ACCOUNT}=K3==,"],
    "TELNYX_PUBLIC_KEY": [
        f"{PUBLIC_KEY}, {PUBLIC_KEY}",
        f"{PUBLIC_KEY}\n{PUBLIC_KEY}",
        f"{ACCOUNT}={PUBLIC_KEY}",
        f"{ACCOUNT}={PUBLIC_KEY},{ACCOUNT}={PUBLIC_KEY} {PUBLIC_KEY}",
    ],
    "CALLBACK_SIGNATURE": ["if_present"],
    "TELNYX_ACCOUNT_SID": ["account-1"],
    "PORT": ["0", "65535"],
    "INTERNAL_BIND": ["127.0.0.1:8001", "[::1]:8001", "unix:/run/ledger/inside"],
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


ACCOUNTS = st.text(st.characters(codec="ascii", categories=["L", "N"], include_characters="-_.:"), min_size=1)
API_KEYS = st.from_regex(r"[A-Za-z0-9_+/-]{1,40}={0,2}", fullmatch=True)
PUBLIC_KEYS = st.binary(min_size=32, max_size=32).filter(any).map(lambda raw: b64encode(raw).decode())
SEPARATORS = st.sampled_from([",", ", ", " ", "\n", ",\n  "])


@given(st.none() | API_KEYS, st.dictionaries(ACCOUNTS, API_KEYS), SEPARATORS)
def test_api_keys_go_to_their_accounts(for_all: str | None, own: dict[str, str], separator: str) -> None:
    assume(for_all or own)
    entries = [f"{account}={key}" for account, key in own.items()] + ([for_all] if for_all else [])
    keys = setting_values.api_keys(separator.join(entries))
    assert keys.for_all == ((for_all,) if for_all else ())
    assert keys.for_one == {account: (key,) for account, key in own.items()}


@given(st.lists(st.tuples(st.none() | ACCOUNTS.filter(lambda one: len(one) < 43), PUBLIC_KEYS)), SEPARATORS)
def test_public_keys_go_to_their_accounts(entries: list[tuple[str | None, str]], separator: str) -> None:
    assume(entries)
    text = separator.join(key if account is None else f"{account}={key}" for account, key in entries)
    keys = setting_values.public_keys(text)
    assert keys.for_all == tuple(key for account, key in entries if account is None)
    assert keys.for_one == {
        account: tuple(key for other, key in entries if other == account)
        for account, _ in entries
        if account is not None
    }


@given(st.text(), st.sampled_from([setting_values.api_keys, setting_values.public_keys]))
def test_whatever_is_written_there_is_read_or_refused_without_being_shown(
    text: str, read: Callable[[str], AccountKeys]
) -> None:
    try:
        keys = read(text)
    except ValueError as error:
        said = str(error)
        assert len(text) < 12 or text not in said
    else:
        assert "".join(keys.for_all) in text
        said = repr(keys)
        assert said == "AccountKeys()"


def test_the_wrong_one_of_several_keys_is_told_by_its_number(env: pytest.MonkeyPatch) -> None:
    env.setenv("TELNYX_PUBLIC_KEY", f"{PUBLIC_KEY},{ACCOUNT}=hush,{PUBLIC_KEY}")
    (line,) = complaints()
    assert line.startswith("TELNYX_PUBLIC_KEY: entry 2 must be the base64 text of a 32-byte Ed25519 key")
    assert "hush" not in line


def test_two_keys_without_a_comma_are_no_account_and_its_key(env: pytest.MonkeyPatch) -> None:
    env.setenv("TELNYX_PUBLIC_KEY", f"{PUBLIC_KEY}{PUBLIC_KEY}")
    assert complaints() == ["TELNYX_PUBLIC_KEY: must have a comma between two keys"]


def test_the_inside_has_another_address_than_the_outside(env: pytest.MonkeyPatch) -> None:
    env.setenv("INTERNAL_BIND", "127.0.0.1:8000")
    assert complaints() == [
        "INTERNAL_BIND: must be another address than HOST and PORT, which are for the outside"
    ]
    env.setenv("HOST", "10.0.0.1")
    assert str(config.load().INTERNAL_BIND) == "127.0.0.1:8000"


@pytest.mark.parametrize("url", ["ledger.internal", "ftp://x", "https://x/?a=b", "https://u:p@x/", ""])
def test_the_address_of_the_inside_is_a_url(env: pytest.MonkeyPatch, url: str) -> None:
    env.setenv("INTERNAL_BIND", "127.0.0.1:8001")
    env.setenv("INTERNAL_URL", url)
    (line,) = complaints()
    assert line.startswith("INTERNAL_URL: must ")
    env.setenv("INTERNAL_URL", "https://ledger.internal/")
    assert config.load().INTERNAL_URL == "https://ledger.internal"


def test_an_address_of_the_inside_without_an_inside_is_wrong(env: pytest.MonkeyPatch) -> None:
    env.setenv("INTERNAL_URL", "https://ledger.internal")
    assert complaints() == ["INTERNAL_URL: is the address of INTERNAL_BIND, which is not set"]
    env.setenv("INTERNAL_BIND", "x")
    (line,) = complaints()
    assert line.startswith("INTERNAL_BIND: ")


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
