"""Installs what makes the client for TypeScript, if node and npm are here."""

from pathlib import Path

from tests.bed import node

if __name__ == "__main__":
    node.install(Path(__file__).parent / "node", "the clients'")
