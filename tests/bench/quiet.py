"""The service as it ships, but for its access log: no contestant keeps one."""

from __future__ import annotations

from typing import Any

from service import app
from service.web.pages import figures
from tests.web.watched import Watched


def web() -> Any:
    """What gunicorn serves."""
    vars(app)["AccessLog"] = _no_log
    return app.web()


def watched() -> Watched:
    """The same, and it says how long its event loop lets others wait."""
    return Watched(web())


def pages() -> Any:
    """The same, and nothing that a page shows was looked up for somebody else."""
    vars(figures)["KEPT_SECONDS"] = 0.0
    return web()


def _no_log(inner: Any) -> Any:
    return inner
