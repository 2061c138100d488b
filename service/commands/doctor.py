"""`siprec-ledger doctor` and `canary`: is all as the service assumes it, and does a callback get through."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

import click

from service import config
from service.canary.client import NoReply
from service.doctor import public_url
from service.doctor.check import Finding, Status
from service.doctor.checks import CHECKS
from service.doctor.run import Examined, run
from service.doctor.situation import LONGEST_WAIT_SECONDS, Situation
from service.log_lines import one_line

IS_WRONG: Final = 1
MILLISECONDS: Final = 1000
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document.")


@click.command()
@json_option
@click.option("--connector", "connectors", multiple=True, help="Look at this one, too; may be repeated.")
@click.option(
    "--secure-connector", "secure_connectors", multiple=True, help="The same, for sessions that are secure."
)
@click.option(
    "--longest-wait",
    default=LONGEST_WAIT_SECONDS,
    show_default=True,
    type=click.FloatRange(0, LONGEST_WAIT_SECONDS),
    help="Seconds that a proxy has to wait for an answer, where apps come by PUBLIC_URL.",
)
@click.option(
    "--without",
    multiple=True,
    type=click.Choice([check.name for check in CHECKS]),
    help="Leave this check out, and those that need it; may be repeated.",
)
def doctor(
    connectors: Sequence[str],
    secure_connectors: Sequence[str],
    longest_wait: float,
    without: Sequence[str],
    *,
    as_json: bool,
) -> None:
    """Look whether all is as the service assumes it: settings, database, disk, Telnyx, proxy, processes.

    A line for each check: ok, warning, wrong or skipped; what was found; what to do. Run it on each host, as
    the user and with the environment of the service. It starts no session and keeps nothing. Ends with 1 if
    anything is wrong.
    """
    named = dict.fromkeys(connectors, False) | dict.fromkeys(secure_connectors, True)
    situation = Situation(named, longest_wait)
    try:
        examined = run(CHECKS, situation, without)
    finally:
        situation.close()
    is_wrong = any(one.finding.status is Status.WRONG for one in examined)
    if as_json:
        click.echo(json.dumps({"is_wrong": is_wrong, "checks": [_document(one) for one in examined]}))
    else:
        for line in _lines(examined):
            click.echo(line)
    if is_wrong:
        raise SystemExit(IS_WRONG)


def _document(one: Examined) -> dict[str, Any]:
    return {
        "name": one.check.name,
        "status": one.finding.status,
        "found": one.finding.found,
        "what_to_do": one.finding.what_to_do,
        "seconds": round(one.seconds, 3),
    }


def _lines(examined: Sequence[Examined]) -> Iterator[str]:
    width = max(len(one.check.name) for one in examined)
    for one in examined:
        finding = one.finding
        text = f"{finding.status:<7}  {one.check.name:<{width}}  {finding.found} {finding.what_to_do}"
        yield one_line(text.rstrip())


@click.command()
@json_option
def canary(*, as_json: bool) -> None:
    """Send a marked callback through PUBLIC_URL, and say how it fared.

    It takes a callback's way: proxy, event loop, limits, signature, a durable write to database and spool. It
    is never taken for Telnyx's, and nothing of it is kept. Ends with 1 if it did not come through.
    """
    situation = Situation()
    try:
        sent = public_url.send_canary(situation)
    except config.WrongConfiguration as wrong:
        raise click.ClickException(f"the configuration is wrong:\n{wrong}") from wrong
    except NoReply as error:
        raise click.ClickException(f"PUBLIC_URL does not answer: {error}") from error
    finding = public_url.judged(sent)
    if as_json:
        click.echo(json.dumps(_fared(sent, finding)))
    else:
        for line in _steps(sent, finding):
            click.echo(one_line(line))
    if finding.status is Status.WRONG:
        raise SystemExit(IS_WRONG)


def _fared(sent: public_url.Sent, finding: Finding) -> dict[str, Any]:
    document = sent.document or {}
    return {
        "status": finding.status,
        "found": finding.found,
        "what_to_do": finding.what_to_do,
        "answer": sent.reply.status,
        "seconds": sent.reply.seconds,
        **{name: document.get(name) for name in ("host", "bytes", "steps")},
    }


def _steps(sent: public_url.Sent, finding: Finding) -> Iterator[str]:
    yield f"{finding.status}: {finding.found} {finding.what_to_do}".rstrip()
    if sent.document is None:
        return
    for name, step in sent.document["steps"].items():
        if step["seconds"] is None:
            yield f"{name}: {step['why'] or 'there is none'}"
        else:
            yield f"{name}: {step['seconds'] * MILLISECONDS:.1f} ms"
    yield f"all, from here and back: {sent.reply.seconds * MILLISECONDS:.1f} ms"
