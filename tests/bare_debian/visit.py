"""What comes to a machine that the operators' page has made: apps, Telnyx's callbacks, whoever is on duty."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from typing import Any, Final

from tests.bare_debian.root import Root

CA: Final = "/etc/ssl/siprec-ledger/ca.pem"
OUTSIDE, INSIDE = "https://ledger.example.com", "https://ledger.internal"
TELNYX: Final = "http://127.0.0.1:12111/"
RESTART: Final = "systemctl restart siprec-ledger"


def visit(root: Root, say: Callable[[str], None]) -> str:
    """Returns the key with which it came."""
    say("a stranger sees nothing but callbacks and /healthz")
    for path in ("/", "/v1/sessions", "/readyz", "/manual", "/metrics"):
        assert status(root, f"{OUTSIDE}{path}") == 404, path
    assert status(root, f"{OUTSIDE}/callbacks/siprec", "-d", "x=y") == 403
    assert status(root, f"{INSIDE}/manual/operators") == 200

    say("an app starts a session, and its callbacks come")
    root.start(f"exec /opt/siprec-ledger/bin/siprec-ledger sandbox --ca-file {CA}")
    root.run(f"for n in $(seq 100); do curl -s -o /dev/null {TELNYX} && exit; sleep 0.1; done; exit 1")
    key = root.run("siprec-ledger keys create visitor").split()[-1]
    for number, before in enumerate(("", RESTART)):
        root.run(before)
        started = call(root, key, "/v1/sessions", call_sid=f"v3:visit-{number}", account_sid="account-1")
        found = call(root, key, f"/v1/sessions/{started['id']}?wait=started")
        assert found["state"] in {"started", "stopped"}, found
        said = call(root, key, f"/v1/sessions/{started['id']}/callbacks")["callbacks"]
        assert [one["verified_by"][:8] for one in said][:1] == ["ed25519:"], said

    say("whoever is on duty is told that all is well")
    root.run("siprec-ledger status")
    say(root.run(f"REQUESTS_CA_BUNDLE={CA} siprec-ledger doctor"))
    return key


def sessions(root: Root, key: str) -> list[str]:
    """The ids of all, the newest first, once it serves."""
    return [one["id"] for one in call(root, key, "/v1/sessions")["sessions"]]


def count_as_reader(root: Root, database: str) -> int:
    """The sessions that the role of the page's analyst sees."""
    query = "SET ROLE analyst; SELECT count(*) FROM report_sessions_v1"
    return int(root.run(f"runuser -u postgres -- psql -qtA {database} -c '{query}'"))


def call(root: Root, key: str, path: str, **body: str) -> Any:
    sent = ("-H", "Content-Type: application/json", "-d", json.dumps(body)) if body else ()
    return json.loads(curl(root, f"{INSIDE}{path}", "--fail", "-H", f"Authorization: Bearer {key}", *sent))


def status(root: Root, url: str, *arguments: str) -> int:
    return int(curl(root, url, "-o", "/dev/null", "-w", "%{http_code}", *arguments))


def curl(root: Root, *arguments: str) -> str:
    return root.run(shlex.join(["curl", "--silent", "--max-time", "40", "--retry", "8", *arguments]))
