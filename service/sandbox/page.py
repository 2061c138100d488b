"""The demo's own page: buttons that break something and mend it, for whoever watches the ledger's page."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from flask import Flask, Response, abort, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from .faults import Faults
from .freezer import CannotFreeze

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",  # with no-referrer, a form's Origin would be null
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True)
class Button:
    """`does` and `watch` are sentences: what it does, and what to look at on the ledger's page then."""

    id: str
    name: str
    does: str
    watch: str
    while_on: str  # said while it is in force


KILL: Final = Button(
    "kill-recorder",
    "Kill the recorder",
    "The recording server dies. Telnyx reports siprec-stopped for sessions that run, which nobody asked for, "
    "and siprec-failed for those that are to start. The calls go on.",
    "Within 25 s: “… live and probably not recorded”, side recorder, and what to do. Three failed starts "
    "open an alert, which stays until ten minutes have passed without another.",
    "The recorder is dead.",
)
DROP: Final = Button(
    "drop-callbacks",
    "Drop callbacks",
    "A call begins. Telnyx accepts its recording and records it, but no callback reaches the ledger, for any "
    "call, until you mend it.",
    "Within 25 s: the new call is overdue, live and probably not recorded. After Mend all its late callback "
    "overrules that; both stand on the page of the session.",
    "Callbacks are dropped.",
)
FREEZE: Final = Button(
    "freeze-database",
    "Freeze the database",
    "For a minute at most, nothing can be written to the ledger’s database. A call is hung up meanwhile, so "
    "that a callback comes.",
    "The callback is answered 200 and kept on disk: under The promise, the two numbers part, and it says how "
    "many wait. New recordings are refused with 503, and asked for again.",
    "The database is frozen.",
)
MEND: Final = Button(
    "mend-all",
    "Mend all",
    "The recorder lives, the database thaws, held callbacks are sent now, and calls that lost their "
    "recording are hung up.",
    "The two numbers agree again. Within two minutes all is well: of a call whose recording broke off, "
    "Telnyx is asked once a minute.",
    "",
)


HOSTS: Final = {"127.0.0.1", "localhost"}


def create_page(faults: Faults, ledger_url: str) -> Flask:
    app = Flask(__name__)
    presses = {
        KILL.id: faults.kill_recorder,
        DROP.id: faults.drop_callbacks,
        FREEZE.id: faults.freeze_database,
        MEND.id: faults.mend,
    }

    @app.before_request
    def check() -> None:
        # A page from elsewhere may know this port, and a name from elsewhere may lead to it.
        if urlsplit(f"//{request.host}").hostname not in HOSTS:
            abort(403)
        if request.method == "POST" and not _is_own_form():
            abort(403)

    @app.after_request
    def protect(response: Response) -> Response:
        response.headers.update(HEADERS)
        return response

    @app.get("/")
    def show() -> str:
        buttons = (
            (KILL, faults.is_recorder_dead),
            (DROP, faults.are_callbacks_held),
            (FREEZE, faults.is_frozen),
        )
        return render_template(
            "faults.html", buttons=buttons, mend=MEND, live=faults.live(), ledger_url=ledger_url
        )

    @app.post("/<name>")
    def press(name: str) -> AnyResponse:
        if name not in presses:
            abort(404)
        try:
            presses[name]()
        except CannotFreeze as busy:
            abort(503, str(busy))
        return redirect(f"/#{name}", 303)

    return app


def _is_own_form() -> bool:
    if site := request.headers.get("Sec-Fetch-Site"):
        return site == "same-origin"
    return urlsplit(request.headers.get("Origin", "")).netloc == request.host
