"""The command `demo`: the service and a sandbox on this machine, calls, and what goes wrong."""

import shutil
import signal
import sys
import tempfile
from contextlib import ExitStack, closing
from pathlib import Path
from queue import SimpleQueue
from threading import Event

import click

from .calls import Calls
from .connection import Server
from .console import Console, Line
from .duty import OnDuty, PageFailed
from .faults import Faults
from .freezer import Freezer
from .history import Day
from .incidents import Incidents, asking
from .page import create_page
from .program import HOST, USUAL_PORT, Program, ServiceFailed
from .server import Sandbox
from .sessions import now
from .stage import Ended, Stage, WentWrong, title
from .tour import Tour
from .traffic import Delivery, Request

PAGE_PORT = 8001


@click.command()
@click.option("--once", is_flag=True, help="End by itself, with 0 if all went as it should.")
def demo(once: bool) -> None:
    """Try it: the service with a pretended Telnyx, on this machine alone."""
    end = Event()  # looked at wherever the demo waits
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup means it
            signal.signal(number, lambda *_: end.set())
    folder = Path(tempfile.mkdtemp(prefix="siprec-ledger-demo-"))
    traffic: SimpleQueue[Request | Delivery | Line] = SimpleQueue()
    try:
        with Sandbox(watch=traffic.put) as telnyx, Program(folder, telnyx) as service:
            _play(Stage(end, telnyx, service, Console(service, traffic)), traffic, once=once)
    except Ended:
        click.echo(f"\nEnded. What the ledger kept stays in {folder}")
        sys.exit(1 if once else 0)
    except (ServiceFailed, WentWrong, PageFailed) as wrong:
        raise click.ClickException(f"{wrong}\nWhat the ledger kept, and its log, stay in {folder}") from wrong
    shutil.rmtree(folder)
    click.secho("\nAll went as it should.", fg="green")
    click.echo("What it kept is removed. Without --once (make: ONCE=1) it would now serve on.")


def _play(stage: Stage, traffic: "SimpleQueue[Request | Delivery | Line]", *, once: bool) -> None:
    _set_up(stage)
    Tour(stage).play()
    calls = Calls(stage.telnyx, asking(stage))
    freezer = Freezer(stage.service.database)
    faults = Faults(stage.telnyx, calls, freezer, lambda words: traffic.put(Line(now(), "demo", words)))
    with ExitStack() as open_ones:
        open_ones.callback(freezer.thaw)  # or the service could not end as it should
        page = open_ones.enter_context(closing(_Page(faults, stage.service.url)))
        duty = open_ones.enter_context(OnDuty(stage.service.log_in()))
        incidents = Incidents(stage, calls, duty, page.url)
        incidents.wait_until_well()
        if once:
            incidents.play()
            return
        title("The ledger's page: whoever opens this link first is logged in (it is good for 10 minutes)")
        click.secho(f"  {stage.service.log_in()}", fg="green")
        title("Beside it, the page with the buttons: kill the recorder, drop callbacks, freeze the database")
        click.secho(f"  {page.url}/", fg="green")
        title("Serving until Ctrl-C, and showing what happens")
        incidents.watch()


class _Page:
    """The page with the buttons, on a port of its own: the usual one if it is free."""

    def __init__(self, faults: Faults, ledger_url: str) -> None:
        app = create_page(faults, ledger_url)
        try:
            self._server = Server(HOST, PAGE_PORT, app)
        except OSError:
            self._server = Server(HOST, 0, app)
        self.url = f"http://{HOST}:{self._server.port}"

    def close(self) -> None:
        self._server.stop()


def _set_up(stage: Stage) -> None:
    service, telnyx = stage.service, stage.telnyx
    title("Setting up")
    click.echo(f"  sandbox   {telnyx.url}, which plays Telnyx")
    click.echo(f"  database  {service.database}, {service.upgrade()}")
    stage.pause()
    click.echo(f"  history   {service.make_up(Day(telnyx, now()).lines())}; its calls are called history")
    stage.pause()
    service.create_key("demo")
    click.echo(f"  API key   {service.key}")
    stage.pause()
    service.start(stage.pause)
    stage.console.begin()
    taken = "" if service.port == USUAL_PORT else f", as port {USUAL_PORT} is taken"
    click.echo(f"  service   {service.url}{taken}")
    click.echo("\nBelow, an id is cut to its last 8 characters, and times are UTC.")
