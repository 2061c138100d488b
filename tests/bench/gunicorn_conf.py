"""The service's own gunicorn settings, but for the access log: no contestant keeps one."""

from __future__ import annotations

from service import gunicorn_conf as shipped

globals().update({name: value for name, value in vars(shipped).items() if not name.startswith("_")})
accesslog = None
