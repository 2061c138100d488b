"""The command `sandbox`: a Telnyx to point the service at, and to watch, from a terminal."""

import json
import signal
import ssl
from base64 import b64decode
from binascii import Error as NotBase64
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import click

from .behaviour import Behaviour
from .server import PortTaken, Sandbox
from .traffic import Delivery, Request
from .validation import Invalid

SEED_HELP = "Without it a well-known seed is taken, so that the public key stays the same."
CA_FILE_HELP = (
    "PEM certificates to trust https receivers by, instead of the usual authorities. "
    "For a self-signed receiver, its own certificate."
)


def _read_behaviour(_: click.Context, __: click.Parameter, value: str) -> Behaviour:
    try:
        text = Path(value[1:]).read_text() if value.startswith("@") else value
        return Behaviour.from_json(json.loads(text))
    except OSError as unreadable:
        raise click.BadParameter(f"cannot read {value[1:]}: {unreadable.strerror}") from unreadable
    except Invalid as bad:
        raise click.BadParameter(str(bad)) from bad
    except ValueError as bad:
        raise click.BadParameter(f"not JSON: {bad}") from bad


def _read_seed(_: click.Context, __: click.Parameter, value: str | None) -> bytes | None:
    if value is None:
        return None
    with suppress(NotBase64):
        if len(seed := b64decode(value, validate=True)) == 32:
            return seed
    raise click.BadParameter("must be the base64 of 32 bytes")


def _read_ca_file(_: click.Context, __: click.Parameter, value: Path | None) -> Path | None:
    try:
        ssl.create_default_context(cafile=value)
    except OSError as bad:
        raise click.BadParameter(f"cannot be read as certificates: {bad.strerror or bad}") from bad
    return value


@click.command(context_settings={"show_default": True})
@click.option("--host", default="127.0.0.1", help="Address to listen on.")
@click.option("--port", default=12111, type=click.IntRange(0, 65535), help="0 chooses one.")
@click.option("--api-key", default="KEY_SANDBOX", help="The only key that is accepted.")
@click.option("--signing-seed", callback=_read_seed, metavar="BASE64", help=f"32 bytes. {SEED_HELP}")
@click.option("--ca-file", callback=_read_ca_file, type=click.Path(path_type=Path), help=CA_FILE_HELP)
@click.option(
    "--behaviour", callback=_read_behaviour, default="{}", metavar="JSON|@FILE", help="How to behave."
)
@click.option("--fail", is_flag=False, flag_value="no-answer", metavar="[REASON]", help="Sessions fail.")
@click.option("--late", type=click.FloatRange(0, 86_400), metavar="SECONDS", help="Sessions start this late.")
@click.option("--repeat", type=click.IntRange(1, 100), metavar="N", help="Send every callback N times.")
def sandbox(
    behaviour: Behaviour, fail: str | None, late: float | None, repeat: int | None, **settings: Any
) -> None:
    """A Telnyx to try and test against. Never for production: everybody can know its keys."""
    wanted = {"fails": fail, "started_after_seconds": late, "repeat": repeat}
    chosen: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None}
    telnyx = Sandbox(**settings, watch=_print)
    telnyx.behave(replace(behaviour, **chosen))
    end = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: end.set())
    try:
        with telnyx:
            _print_settings(telnyx)
            end.wait()
    except PortTaken as taken:
        raise click.ClickException(f"{taken}; choose another with --port") from taken


def _print_settings(telnyx: Sandbox) -> None:
    click.echo(f"export TELNYX_BASE_URL={telnyx.url}")
    click.echo(f"export TELNYX_API_KEY={telnyx.api_key}")
    click.echo(f"export TELNYX_PUBLIC_KEY={telnyx.public_key}")
    click.echo(f"# to make it behave otherwise: {telnyx.control_url}; to end: Ctrl-C")


def _print(happened: Request | Delivery) -> None:
    with suppress(BrokenPipeError):  # nobody reads any more, as after `| head`; calls go on all the same
        click.echo(line(happened).encode(errors="backslashreplace"))  # JSON may hold half a character


def line(happened: Request | Delivery) -> str:
    """One line for a terminal: time (UTC), kind, method, where, and what matters of it."""
    at = happened.at.strftime("%H:%M:%S.%f")[:-3]
    if isinstance(happened, Request):
        fields = " ".join(f"{name}={value}" for name, value in happened.fields.items())
        return f"{at} request  {happened.method} {happened.path} {fields}".rstrip()
    outcome = f"failed: {happened.error}" if happened.error else happened.status
    return (
        f"{at} callback {happened.method} {happened.url} {happened.event}"
        f" attempt {happened.attempt}: {outcome} in {happened.seconds:.3f} s"
    )


if __name__ == "__main__":
    sandbox()
