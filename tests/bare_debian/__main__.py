"""Makes the root, does what the page says in it, and looks whether it serves, as an app and as Telnyx would;
then what other parts of the page say of a machine that serves: upgrade it, let readers in, back up, restore.

What differs from the page: the address of the inside is one of this machine; keys and certificates are made
here; Telnyx is the sandbox; nothing is PID 1 in the root, so `systemctl` is the program beside this one. The
root has its own processes and mounts, which end with it, but this machine's network: port 443 has to be free,
and a free port is taken for 8000.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from service.sandbox import Sandbox
from tests.bare_debian import certificates
from tests.bare_debian.page import Commands, File, steps
from tests.bare_debian.root import Root
from tests.bare_debian.visit import count_as_reader, sessions, visit

PAGE, HEADING = "operators.md", "On a Debian machine"
INSIDE_ADDRESS = "127.0.0.5"
HOSTS = f"127.0.0.1 localhost ledger.example.com\n{INSIDE_ADDRESS} ledger.internal\n"
SUITE = "bookworm"


def main(dist: Path) -> None:
    if os.geteuid() != 0:
        sys.exit("make bare-debian makes a root folder of a system: it needs root")
    missing = [name for name in ("debootstrap", "unshare", "openssl") if shutil.which(name) is None]
    if missing:
        sys.exit(
            f"make bare-debian needs {', '.join(missing)} (apt-get install debootstrap util-linux openssl)"
        )
    _refuse_taken(443)
    began = time.monotonic()
    with TemporaryDirectory(prefix="bare-debian-") as folder:
        path = Path(folder) / "root"
        say(f"a bare Debian {SUITE} in {path}")
        subprocess.run(["debootstrap", SUITE, str(path)], check=True, stdout=subprocess.DEVNULL)
        port = _free_port()
        with Root(path) as root:
            prepare(root, dist)
            follow(root, steps(PAGE, HEADING), port)
            key = visit(root, say)
            later(root, key, port)
            root.run("systemctl stop siprec-ledger")
    say(f"served; {time.monotonic() - began:.0f} s")


def follow(root: Root, page: Iterable[File | Commands], port: int) -> None:
    for step in page:
        if isinstance(step, File):
            say(f"write {step.path}")
            root.write(step.path, filled(step.text, step.path, port))
        else:
            say(step.text.rstrip())
            root.run(step.text)


def later(root: Root, key: str, port: int) -> None:
    """What an operator does to a machine that serves: nothing is lost by it."""
    known = sessions(root, key)
    assert known

    follow(root, steps(PAGE, "Upgrade"), port)
    assert sessions(root, key) == known

    follow(root, steps(PAGE, "Readers of the reports"), port)
    assert count_as_reader(root, "siprec-ledger") == len(known)

    backup, restore = steps(PAGE, "PostgreSQL")
    follow(root, [backup], port)
    root.run("systemctl stop siprec-ledger")
    follow(root, [restore], port)
    root.run("sed -i 's,///siprec-ledger?,///ledger_restored?,' /etc/siprec-ledger.env")
    root.run("siprec-ledger db upgrade && systemctl start siprec-ledger")
    assert sessions(root, key) == known
    root.run("siprec-ledger db reader analyst | runuser -u postgres -- psql ledger_restored")
    assert count_as_reader(root, "ledger_restored") == len(known)


def prepare(root: Root, dist: Path) -> None:
    """What a real machine has: a name, this network, certificates; and systemd, for which one stands."""
    shutil.copytree(dist, root.path / "root" / "dist")
    root.write("/etc/hosts", HOSTS)
    root.write("/root/.curlrc", 'cacert = "/etc/ssl/siprec-ledger/ca.pem"\n')
    certificates.make(root.path / "etc/ssl/siprec-ledger")
    shutil.copy(Path(__file__).with_name("systemctl"), root.path / "usr/local/bin/systemctl")
    (root.path / "usr/local/bin/systemctl").chmod(0o755)


def filled(text: str, path: str, port: int) -> str:
    """With what the reader puts in the places that the page leaves."""
    text = text.replace("10.0.0.5", INSIDE_ADDRESS).replace("8000", str(port))
    if path != "/etc/siprec-ledger.env":
        return text
    values: Mapping[str, str] = {
        "SECRET_KEY": os.urandom(24).hex(),
        "TELNYX_API_KEY": "KEY_SANDBOX",
        "TELNYX_PUBLIC_KEY": _public_key(),
    }
    for name, value in values.items():
        text, count = re.subn(f"^{name}=…$", f"{name}={value}", text, flags=re.MULTILINE)
        assert count == 1, name
    return f"{text}TELNYX_BASE_URL=http://127.0.0.1:12111/v2\n"


def _public_key() -> str:
    """Of the sandbox, which signs with a well-known seed."""
    with Sandbox(port=0) as sandbox:
        return sandbox.public_key


def _free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


def _refuse_taken(port: int) -> None:
    with socket.socket() as asked:
        if asked.connect_ex(("127.0.0.1", port)) == 0:
            sys.exit(f"something listens on port {port} of this machine: end it first")


def say(text: str) -> None:
    print(f"\033[1m{text}\033[0m" if sys.stdout.isatty() else text, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
