"""`siprec-ledger db reader`: what it prints makes a role that reads the reports, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from click.testing import CliRunner, Result
from psycopg import sql

from service import cli
from service.store.engine import Database

NAME = "report_reader"
ON_POSTGRESQL = pytest.mark.parametrize("database_kind", ["postgresql"])


def printed(url: str, name: str = NAME) -> Result:
    return CliRunner().invoke(cli.main, ["db", "reader", name], env={"DATABASE_URL": url})


@pytest.fixture
def login(database: Database, database_url: str) -> Iterator[psycopg.Connection]:
    """As the role that was made, twice over."""
    with psycopg.connect(database_url, autocommit=True) as owner:
        for _ in range(2):
            owner.execute(printed(database_url).output.encode())
        with psycopg.connect(database_url, user=NAME, autocommit=True) as connection:
            yield connection
        owner.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(sql.Identifier(NAME)))


def names(login: psycopg.Connection, kind: str) -> list[str]:
    query = (
        "SELECT relname FROM pg_class WHERE relkind = %s AND relnamespace = current_schema()::regnamespace"
    )
    return [name for (name,) in login.execute(query, [kind])]


@ON_POSTGRESQL
def test_the_role_reads_every_report(login: psycopg.Connection) -> None:
    views = names(login, "v")
    assert len(views) == 8
    for view in views:
        login.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(view)))


@ON_POSTGRESQL
def test_the_role_reads_no_table(login: psycopg.Connection) -> None:
    tables = names(login, "r")
    assert {"session", "api_key_secret", "callback"} < {*tables}
    for table in tables:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            login.execute(sql.SQL("SELECT 1 FROM {}").format(sql.Identifier(table)))


@ON_POSTGRESQL
def test_the_role_writes_nothing_even_where_it_says_that_it_may(login: psycopg.Connection) -> None:
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        login.execute("CREATE TABLE mine (id integer)")
    login.execute("SET default_transaction_read_only = off")
    for statement in ("CREATE TABLE mine (id integer)", "DELETE FROM report_callbacks_v1"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            login.execute(statement)


@ON_POSTGRESQL
def test_it_says_that_the_role_sees_all_accounts_and_has_no_password_yet(database_url: str) -> None:
    output = printed(database_url).output
    assert "It sees the sessions of all accounts" in output
    assert f"\\password {NAME}" in output


@pytest.mark.parametrize(
    "name", ["Analyst", "a b", "a'; DROP TABLE session; --", "pg_reader", "", "a" * 64, "$$"]
)
@ON_POSTGRESQL
def test_a_name_that_would_need_quotes_is_refused(database_url: str, name: str) -> None:
    assert printed(database_url, name).exit_code == 2


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_sqlite_has_no_roles_and_a_copy_is_what_to_give(database: Database, database_url: str) -> None:
    done = printed(database_url)
    assert (done.exit_code, "db backup" in done.output) == (1, True)
