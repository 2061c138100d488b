"""How gunicorn serves us: `gunicorn -c python:service.gunicorn_conf 'service.app:web()'`."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

from gunicorn.glogging import Logger

from service import metrics_folder
from service.config import WrongConfiguration, load  # not the module: gunicorn has a setting `config`
from service.logs import WRITER, Handler, write_as

try:
    settings = load()
except WrongConfiguration as wrong:
    sys.exit(f"siprec-ledger cannot start, the configuration is wrong:\n{wrong}")

ONE_PROCESS = "on SQLite there is one web process: WEB_CONCURRENCY and --workers must be 1"


class QueueLogger(Logger):
    """gunicorn's own lines, and uvicorn's, which take the same handlers."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        write_as(settings.LOG_FORMAT)
        self.error_log.handlers = [Handler(WRITER)]
        self.access_log.handlers = []
        # Ours is written by service.web.access_log, whatever this names, unless it is None.
        logging.getLogger("service.web.access_log").disabled = cfg.accesslog is None


outside = f"[{settings.HOST}]:{settings.PORT}" if ":" in settings.HOST else f"{settings.HOST}:{settings.PORT}"
bind = [outside, str(settings.INTERNAL_BIND)] if settings.INTERNAL_BIND else [outside]
umask = 0o007  # of a unix socket: for its user and group
worker_class = "service.web.worker.Worker"
workers = settings.WEB_CONCURRENCY
timeout = 60  # a worker that hangs this long is replaced
graceful_timeout = 30
keepalive = 75
accesslog = "-"
logger_class = QueueLogger
control_socket_disable = True
is_sqlite = settings.DATABASE_URL.get_secret_value().startswith("sqlite:")


def on_starting(arbiter: Any) -> None:
    """In the master, once, before it has workers."""
    if metrics_folder.make() is None:
        arbiter.log.warning("no folder for metrics can be made, /metrics shows those of one process")


def on_exit(_arbiter: Any) -> None:
    metrics_folder.remove()


def child_exit(_arbiter: Any, worker: Any) -> None:
    metrics_folder.bury(worker.pid)


def when_ready(arbiter: Any) -> None:
    """In the master, once it listens: --bind on the command line replaces what stands here."""
    inside, listening = settings.INTERNAL_BIND, [one.getsockname() for one in arbiter.LISTENERS]
    if inside is not None and listening and not any(inside.is_name_of(name) for name in listening):
        sys.exit(
            f"siprec-ledger cannot start: nothing listens at INTERNAL_BIND, {inside}; name it by --bind too"
        )


def post_fork(_arbiter: Any, worker: Any) -> None:
    worker.internal_bind = settings.INTERNAL_BIND
    if not metrics_folder.prepare(os.getpid()):
        worker.log.warning("no file for metrics can be made, this process counts by itself")


def nworkers_changed(arbiter: Any, wanted: int, before: int | None) -> None:
    """At the start, at a reload and at SIGTTIN, wherever the number comes from."""
    if not is_sqlite or wanted <= 1:
        return
    if before is None:
        sys.exit(f"siprec-ledger cannot start: {ONE_PROCESS}")
    arbiter.log.error("%s; it stays so", ONE_PROCESS)
    arbiter.num_workers = 1
