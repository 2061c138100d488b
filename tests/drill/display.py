"""Tells whoever watches how far the drill has come."""

from __future__ import annotations

import sys

import click


class Display:
    """On standard error: one line that changes on a terminal, a line for each step in a log."""

    def __init__(self) -> None:
        self._is_watched = sys.stderr.isatty()

    def step(self, line: str) -> None:
        if self._is_watched:
            self.tick(line)
        else:
            click.echo(line, err=True)

    def tick(self, line: str) -> None:
        if self._is_watched:
            click.echo(f"\r\033[K{line}", err=True, nl=False)

    def end(self) -> None:
        """What comes next has its line for itself."""
        self.tick("")
