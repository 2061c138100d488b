"""How gunicorn serves us: `gunicorn -c python:service.gunicorn_conf 'service.app:web()'`."""

from __future__ import annotations

import logging
import re
import sys
from typing import Any

from gunicorn.glogging import Logger

from service.config import WrongConfiguration, load  # not the module: gunicorn has a setting `config`

try:
    settings = load()
except WrongConfiguration as wrong:
    sys.exit(f"siprec-ledger cannot start, the configuration is wrong:\n{wrong}")

SECRET_PART = re.compile(r"(/callbacks)/[^\s\"']*")


class Masked(logging.Filter):
    """Callback URLs hold a secret, and a GET's query holds the callback."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = SECRET_PART.sub(r"\1/***", record.getMessage())
        record.args = ()
        return True


class MaskingLogger(Logger):
    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for logger in (self.access_log, self.error_log):
            logger.addFilter(Masked())


bind = f"{settings.HOST}:{settings.PORT}"
worker_class = "gthread"
workers = settings.WEB_CONCURRENCY
threads = settings.THREADS
timeout = 60  # a worker that hangs this long is replaced
graceful_timeout = 30
keepalive = 75
accesslog = "-"
access_log_format = '%(t)s "%(m)s %(U)s" %(s)s %(L)ss id=%({x-request-id}o)s'
logger_class = MaskingLogger
control_socket_disable = True
# The tokens in our paths are longer than most, and a GET's query holds a whole callback.
limit_request_line = 8190


def worker_exit(_arbiter: Any, worker: Any) -> None:
    """After the last request: nothing is in hand any more."""
    from service.app import stop  # not above: the master would hold on to the code across a reload

    if worker.wsgi is not None:
        stop(worker.wsgi)
