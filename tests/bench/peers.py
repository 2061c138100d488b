"""What people would take instead: which of it is here, and how it is started."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from urllib.parse import parse_qs

from sqlalchemy import make_url

from tests.bed import node

NODE = Path(__file__).parent / "node"
UVICORN = ("-m", "uvicorn", "--factory", "--loop", "uvloop", "--http", "httptools", "--no-access-log")


class NotHere(Exception):
    """What a peer needs is not installed, in words."""


@dataclass(frozen=True)
class Peer:
    """One process that stores callbacks in a database of `kind`; `packages` are what it is made of."""

    name: str
    kind: str
    packages: tuple[str, ...]
    check: Callable[[tuple[str, ...]], dict[str, str]]  # the packages' versions, or NotHere
    command: Callable[[int], list[str]]  # of its port

    def versions(self) -> dict[str, str]:
        """Of its packages. Raises NotHere."""
        return self.check(self.packages)


def environment(database_url: str) -> dict[str, str]:
    """Where the database is, as drivers understand it."""
    url = make_url(database_url)
    if url.get_backend_name() == "sqlite":
        return {"SQLITE_FILE": url.database or ""}
    host = parse_qs(database_url.partition("?")[2])["host"][0]
    return {"PGHOST": host, "PGUSER": url.username or "", "PGDATABASE": url.database or ""}


def installed() -> tuple[list[Peer], dict[str, str]]:
    """The peers that can be started, and why each of the others cannot."""
    here, left_out = [], {}
    for peer in PEERS:
        try:
            peer.versions()
        except NotHere as reason:
            left_out[peer.name] = str(reason)
        else:
            here.append(peer)
    return here, left_out


def install() -> None:
    """What runs on node, if node and npm are here."""
    node.install(NODE, "the bench's")


def _python_versions(packages: tuple[str, ...]) -> dict[str, str]:
    try:
        return {package: metadata.version(package) for package in packages}
    except metadata.PackageNotFoundError as missing:
        raise NotHere(f"{missing.name} is not installed (make bench does it)") from missing


def _of_node(packages: tuple[str, ...]) -> dict[str, str]:
    program = shutil.which("node")
    if program is None:
        raise NotHere("node is not installed")
    found = node.versions(NODE)
    if missing := [package for package in packages if package not in found]:
        raise NotHere(f"npm did not install {', '.join(missing)}")
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return {"node": done.stdout.strip().removeprefix("v")} | {name: found[name] for name in packages}


def _fastapi(name: str, kind: str, driver: str) -> Peer:
    def command(port: int) -> list[str]:
        app = f"tests.bench.fastapi_app:with_{driver}"
        return [sys.executable, *UVICORN, "--log-level", "warning", "--port", str(port), app]

    packages = ("fastapi", "uvicorn", "uvloop", "httptools", driver)
    return Peer(name, kind, packages, _python_versions, command)


def _fastify(name: str, kind: str, driver: str) -> Peer:
    def command(port: int) -> list[str]:
        return ["env", f"PORT={port}", "node", str(NODE / "app.mjs"), driver]

    return Peer(name, kind, ("fastify", driver), _of_node, command)


PEERS = (
    _fastapi("FastAPI, aiosqlite", "SQLite", "aiosqlite"),
    _fastify("Fastify, better-sqlite3", "SQLite", "better-sqlite3"),
    _fastapi("FastAPI, asyncpg", "PostgreSQL", "asyncpg"),
    _fastify("Fastify, pg", "PostgreSQL", "pg"),
)
