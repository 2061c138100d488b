"""A folder that is a system's root: commands run in it with mounts and processes of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

# How pip and others trust what stands between here and their sources, if anything does.
TRUST: Final = ("PIP_CERT", "SSL_CERT_FILE")
TRUSTED: Final = "/etc/trusted-by-the-machine.pem"  # where no package of the root's puts another
# In namespaces of their own: when the first process ends, so do all others, and nothing stays mounted. It
# ends when our end of its pipe closes, however we end.
APART: Final = ("unshare", "--mount", "--pid", "--fork", "--kill-child")
MOUNTS: Final = """
mount -t proc proc "$0/proc"
mount --rbind /dev "$0/dev"
mount -t tmpfs tmpfs "$0/dev/shm"
mount -t tmpfs tmpfs "$0/run"
touch "$0/run/mounted"
exec cat >/dev/null
"""


class Root:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._first: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        shutil.copy("/etc/resolv.conf", self.path / "etc/resolv.conf")
        if trusted := self._trusted():
            shutil.copy(trusted, self.path / TRUSTED.lstrip("/"))
        self._first = subprocess.Popen([*APART, "sh", "-ec", MOUNTS, str(self.path)], stdin=subprocess.PIPE)
        last = self._namespaces() / "root" / str(self.path).lstrip("/") / "run" / "mounted"
        while not last.exists():
            assert self._first.poll() is None, "the root's mounts failed"
            time.sleep(0.1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._first is not None
        self._first.kill()  # and all that runs in the root with it
        self._first.wait()

    def write(self, path: str, text: str) -> None:
        target = self.path / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")

    def run(self, commands: str) -> str:
        """In the folder /root, until one fails. What they print on stdout."""
        done = subprocess.run(self._inside(commands), stdout=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise SystemExit(f"{done.stdout}\nended with {done.returncode}: {commands}\n{self._logs()}")
        return done.stdout

    def start(self, commands: str) -> None:
        """They end with the root."""
        subprocess.Popen(self._inside(commands), stdout=subprocess.DEVNULL)

    def _inside(self, commands: str) -> list[str]:
        assert self._first is not None
        told = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "LANG": "C.UTF-8",
            "DEBIAN_FRONTEND": "noninteractive",
            **(dict.fromkeys(TRUST, TRUSTED) if self._trusted() else {}),
        }
        pid = self._namespaces().name
        enter = ["nsenter", f"--target={pid}", "--mount", "--pid", "chroot", str(self.path)]
        environment = ["env", "-i", *(f"{name}={value}" for name, value in told.items())]
        return [*enter, *environment, "sh", "-ec", f"cd /root\n{commands}"]

    def _namespaces(self) -> Path:
        """Of the first process in them, which `unshare` has forked."""
        assert self._first is not None
        children = Path(f"/proc/{self._first.pid}/task/{self._first.pid}/children")
        while not (found := children.read_text().split()):
            assert self._first.poll() is None, "unshare failed"
            time.sleep(0.1)
        return Path("/proc") / found[0]

    def _trusted(self) -> str | None:
        found = (os.environ.get(name, "") for name in TRUST)
        return next((path for path in found if Path(path).is_file()), None)

    def _logs(self) -> str:
        found = (self.path / "var/log").glob("**/*.log")
        ours = [one for one in found if one.parts[-2] in {"nginx", "postgresql"} or "siprec" in one.name]
        return "\n".join(f"{one}:\n{one.read_text(errors='replace')[-3000:]}" for one in ours)
