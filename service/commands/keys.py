"""`siprec-ledger keys …`: who has the database may grant everything."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from uuid import UUID

import click

from service.commands.database import database_url_option, open_database
from service.domain.access import ALL_BUT_ADMIN, MOST_ACCOUNTS, Access, Scope, is_name
from service.ledger import keys as ledger_keys
from service.store import keys
from service.store.events import ACTORS, OPERATOR
from service.store.keys import KeyWithSecrets, Secret

LONGEST_ACCOUNT = 255


def _expiry(_context: click.Context, _parameter: click.Parameter, text: str | None) -> datetime | None:
    """In so many days or hours, or as written."""
    if text is None:
        return None
    moment = _moment(text)
    if moment is None:
        raise click.BadParameter("it has to be like 90d, 12h, 2027-01-31 or 2027-01-31T12:00:00Z")
    if moment <= _now():
        raise click.BadParameter("that time is over")
    return moment


def _moment(text: str) -> datetime | None:
    try:
        if wait := re.fullmatch(r"(\d{1,5})([dh])", text, re.ASCII):
            unit = timedelta(days=1) if wait[2] == "d" else timedelta(hours=1)
            return _now() + int(wait[1]) * unit
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


_expires_option = click.option(
    "--expires",
    callback=_expiry,
    help="When what is printed ends, like 90d, 12h or 2027-01-31 (UTC). Default: never.",
)


@click.group("keys")
def keys_group() -> None:
    """The API keys of internal apps."""


@keys_group.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice([scope.value for scope in Scope]),
    help="What it may do; may be repeated. Default: all but admin.",
)
@click.option(
    "--account",
    "accounts",
    multiple=True,
    help="A Telnyx account id that it may act for and see; may be repeated. Default: all.",
)
@_expires_option
@database_url_option
def create(
    name: str,
    scopes: Collection[str],
    accounts: Collection[str],
    expires: datetime | None,
    database_url: str,
) -> None:
    """Make a key and print it, once: it is kept as a hash only. NAME says who asks."""
    if not is_name(name):
        raise click.BadParameter("1 to 100 printable characters", param_hint="NAME")
    for account in accounts:
        if not account.strip() or not account.isprintable() or len(account) > LONGEST_ACCOUNT:
            raise click.BadParameter("1 to 255 printable characters", param_hint="--account")
    if len(accounts) > MOST_ACCOUNTS:
        raise click.BadParameter(f"{MOST_ACCOUNTS} at most", param_hint="--account")
    access = Access(frozenset(map(Scope, scopes)) or ALL_BUT_ADMIN, frozenset(accounts) if accounts else None)
    with open_database(database_url) as database:
        try:
            with database.begin() as db:
                text, _ = ledger_keys.create(db, name, access, expires, OPERATOR, _now())
        except keys.NameReserved:
            raise click.ClickException(f"no key may be called {', '.join(sorted(ACTORS))}") from None
        except keys.NameTaken:
            raise click.ClickException(f"there is a key of this name, perhaps revoked: {name}") from None
    click.echo(text)


@keys_group.command("list")
@database_url_option
def list_(database_url: str) -> None:
    """A line for each: name, when it was made (UTC), if it is in force, scopes, accounts, secrets, last use.

    What used it in the last minute may not be known yet.
    """
    now = _now()
    with open_database(database_url) as database, database.read() as db:
        for key in keys.listed(db):
            click.echo(_line(key, now))


@keys_group.command()
@click.argument("name")
@_expires_option
@database_url_option
def rotate(name: str, expires: datetime | None, database_url: str) -> None:
    """Give a key another secret and print its new text, once. The old one stays in force until it is revoked.

    A key that was revoked, or has expired, opens again.
    """
    with open_database(database_url) as database:
        try:
            with database.begin() as db:
                key = _known(keys.named(db, name, locks=True), name)
                text, _ = ledger_keys.rotate(db, key, expires, OPERATOR, _now())
        except keys.TooManySecrets:
            hint = "two secrets are in force; revoke one first: siprec-ledger keys revoke NAME --secret ID"
            raise click.ClickException(hint) from None
    click.echo(text)


@keys_group.command()
@click.argument("name")
@click.option("--secret", "secret_id", type=click.UUID, help="Only the secret of this id, as in the list.")
@database_url_option
def revoke(name: str, secret_id: UUID | None, database_url: str) -> None:
    """From now on the key, or one secret of it, opens nothing."""
    with open_database(database_url) as database:
        with database.begin() as db:
            key = keys.named(db, name, locks=True)
            revoked = key and ledger_keys.revoke(
                db, key, str(secret_id) if secret_id else None, OPERATOR, _now()
            )
        if not revoked and secret_id:
            raise click.ClickException(f"{name} has no such secret in force: {secret_id}")
        if not revoked:
            raise click.ClickException(f"there is no key in force of this name: {name}")
    click.echo(f"revoked: {name}" + (f", secret {secret_id}" if secret_id else ""))


def _known(found: KeyWithSecrets | None, name: str) -> KeyWithSecrets:
    if found is None:
        raise click.ClickException(f"there is no key of this name: {name}")
    return found


def _line(key: KeyWithSecrets, now: datetime) -> str:
    if key.is_in_force(now):
        state = "in force"
    else:
        state = f"revoked {_written(key.revoked_at)}" if key.revoked_at else "expired"
    accounts = key.access.accounts
    return "\t".join(
        [
            key.name,
            _written(key.created_at),
            state,
            ",".join(sorted(key.access.scopes)),
            "all accounts" if accounts is None else ",".join(sorted(accounts)),
            "; ".join(_secret(one, now) for one in key.secrets),
            _used(key.last_used_at),
        ]
    )


def _secret(secret: Secret, now: datetime) -> str:
    return f"{secret.id} {_state(secret, now)}, {_used(secret.last_used_at)}"


def _state(secret: Secret, now: datetime) -> str:
    if secret.revoked_at:
        return f"revoked {_written(secret.revoked_at)}"
    if secret.expires_at:
        ends = "expires" if secret.is_in_force(now) else "expired"
        return f"{ends} {_written(secret.expires_at)}"
    return "in force"


def _used(last: datetime | None) -> str:
    return f"used {_written(last)}" if last else "not used"


def _written(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _now() -> datetime:
    return datetime.now(UTC)
