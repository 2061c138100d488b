"""The command `sandbox`: a Telnyx to point the service at, and to watch, from a terminal."""

import json
import signal
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import click

from .behaviour import Behaviour
from .members import BadBehaviour
from .records import Delivery, Request
from .server import PortTaken, Sandbox


class BehaviourText(click.ParamType[Behaviour]):
    """JSON, or @ and the name of a file that holds it."""

    name = "JSON|@FILE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Behaviour:
        if isinstance(value, Behaviour):
            return value
        try:
            text = Path(value[1:]).read_text() if value.startswith("@") else value
            return Behaviour.from_json(json.loads(text))
        except OSError as unreadable:
            self.fail(f"cannot read {value[1:]}: {unreadable.strerror}", param, ctx)
        except BadBehaviour as bad:
            self.fail(str(bad), param, ctx)
        except ValueError as bad:
            self.fail(f"not JSON: {bad}", param, ctx)


class Seed(click.ParamType[bytes]):
    """Base64 of the 32 bytes that an Ed25519 key pair is made of."""

    name = "BASE64"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bytes:
        if isinstance(value, bytes):
            return value
        try:
            seed = b64decode(value, validate=True)
        except ValueError:
            seed = b""
        if len(seed) != 32:
            self.fail("must be the base64 of 32 bytes", param, ctx)
        return seed


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=12111, show_default=True, type=click.IntRange(0, 65535), help="0 chooses one."
)
@click.option("--api-key", default="KEY_SANDBOX", show_default=True, help="The only key that is accepted.")
@click.option(
    "--signing-seed",
    type=Seed(),
    help="Base64 of 32 bytes. Without it a well-known seed is taken, so that the public key stays the same.",
)
@click.option("--behaviour", type=BehaviourText(), default="{}", help="How to behave; the default is well.")
@click.option(
    "--fail", is_flag=False, flag_value="no-answer", metavar="[REASON]", help="Sessions fail: siprec-failed."
)
@click.option("--late", type=click.FloatRange(0, 86_400), metavar="SECONDS", help="Sessions start this late.")
@click.option("--repeat", type=click.IntRange(1, 100), metavar="N", help="Send every callback N times.")
def sandbox(
    host: str,
    port: int,
    api_key: str,
    signing_seed: bytes | None,
    behaviour: Behaviour,
    fail: str | None,
    late: float | None,
    repeat: int | None,
) -> None:
    """A Telnyx to try and test against. Never for production: everybody can know its keys."""
    wanted = {"fails": fail, "started_after_seconds": late, "repeat": repeat}
    chosen = {name: value for name, value in wanted.items() if value is not None}
    telnyx = Sandbox(host, port, api_key, signing_seed, watch=_print)
    telnyx.behave(replace(behaviour, **chosen))  # type: ignore[arg-type]
    with _ending() as end:
        try:
            telnyx.start()
        except PortTaken as taken:
            raise click.ClickException(f"{taken}; choose another with --port") from taken
        try:
            _print_settings(telnyx)
            end.wait()
        finally:
            telnyx.stop()


@contextmanager
def _ending() -> Iterator[Event]:
    """An event that Ctrl-C and SIGTERM set."""
    end = Event()
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(each, lambda *_: end.set()) for each in signals]
    try:
        yield end
    finally:
        for each, handler in zip(signals, before, strict=True):
            signal.signal(each, handler)


def _print_settings(telnyx: Sandbox) -> None:
    click.echo(f"export TELNYX_BASE_URL={telnyx.url}")
    click.echo(f"export TELNYX_API_KEY={telnyx.api_key}")
    click.echo(f"export TELNYX_PUBLIC_KEY={telnyx.public_key}")
    click.echo(f"# to be told otherwise: {telnyx.control_url}; to end: Ctrl-C")


def _print(happened: Request | Delivery) -> None:
    with suppress(BrokenPipeError):  # nobody reads any more, as after `| head`; calls go on all the same
        click.echo(line(happened))


def line(happened: Request | Delivery) -> str:
    """One line for a terminal: time (UTC), kind, method, where, and what matters of it."""
    at = happened.at.strftime("%H:%M:%S.%f")[:-3]
    if isinstance(happened, Request):
        said = " ".join(f"{name}={value}" for name, value in happened.fields.items())
        return f"{at} request  {happened.method} {happened.path} {said}".rstrip()
    outcome = happened.error or happened.status
    return (
        f"{at} callback {happened.method} {happened.url} {happened.event}"
        f" attempt {happened.attempt}: {outcome} in {happened.seconds:.3f} s"
    )


if __name__ == "__main__":
    sandbox()
