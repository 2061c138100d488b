"""Certificates for the two names of the operators' page, and who vouches for them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

NAMES: Final = {"outside": "ledger.example.com", "inside": "ledger.internal"}


def make(folder: Path) -> None:
    """`ca.pem`, and `.pem` and `.key` for each."""
    folder.mkdir(parents=True, exist_ok=True)
    _certify(folder, "ca", "bare Debian")
    for file, name in NAMES.items():
        by_ca = ("-CA", "ca.pem", "-CAkey", "ca.key", "-addext", f"subjectAltName=DNS:{name}")
        _certify(folder, file, name, *by_ca)


def _certify(folder: Path, file: str, name: str, *arguments: str) -> None:
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{file}.key")
    made = ("openssl", "req", "-x509", "-days", "2", "-subj", f"/CN={name}", "-out", f"{file}.pem", *key)
    subprocess.run([*made, *arguments], cwd=folder, check=True, capture_output=True)
