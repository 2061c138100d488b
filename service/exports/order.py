"""What is to be exported, and how it is handed to the process that does it: as one line of JSON."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from service.domain.access import Accounts
from service.exports import formats
from service.exports.formats import Format
from service.store.report_page import Key, Report
from service.store.report_wanted import Wanted
from service.store.reports import REPORTS


@dataclass(frozen=True)
class ExportOrder:
    """A report of what is wanted and these accounts may see, from behind the key `after` on.

    `database_url` is a secret: it stands neither in the arguments of a process nor in a log.
    """

    database_url: str = field(repr=False)
    report_name: str
    wanted: Wanted
    accounts: Accounts
    format_name: str
    exact: bool = False
    after: Key | None = None

    @property
    def report(self) -> Report:
        return REPORTS[self.report_name]

    @property
    def format(self) -> Format:
        return formats.of(self.format_name, self.report.view, exact=self.exact)

    def line(self) -> bytes:
        return msgspec.json.encode(self) + b"\n"


def read(line: bytes) -> ExportOrder:
    return msgspec.json.decode(line, type=ExportOrder)
