"""The rows of reports as the API document has them: a model of each, made of the view's columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import Field, create_model

from service.store.report_page import Report
from service.store.report_views import Kind
from service.store.reports import REPORTS
from service.web.responses import Model, Time

TYPES: Final[Mapping[Kind, Any]] = {
    Kind.TEXT: str,
    Kind.TIME: Time,
    Kind.DAY: str,
    Kind.WHOLE: int,
    Kind.NUMBER: float,
    Kind.TRUTH: bool,
    Kind.LABELS: dict[str, str],
}


def _page(report: Report) -> type[Model]:
    title = report.name.capitalize()
    fields: dict[str, Any] = {n: (TYPES[report.view.kind(n)] | None, ...) for n in report.view.columns}
    row = create_model(f"{title}ReportRow", __base__=Model, **fields)
    return create_model(
        f"{title}ReportPage",
        __base__=Model,
        rows=(list[row], ...),
        next_cursor=(str | None, Field(description="for the next page; null on the last")),
    )


PAGES: Final[Mapping[str, type[Model]]] = {name: _page(report) for name, report in REPORTS.items()}
