"""The metrics, for Prometheus."""

from __future__ import annotations

from typing import Final

from flask import Blueprint, request

from service.domain.access import Scope
from service.web import auth, context
from service.web.exposition import exposition
from service.web.operation import Answer, operation

OPEN_METRICS: Final = "application/openmetrics-text"

blueprint = Blueprint("metrics", __name__)
blueprint.before_request(auth.metrics_reader)


@blueprint.get("/metrics")
@operation(
    "getMetrics",
    "Metrics, for Prometheus",
    answers={},
    texts=("text/plain", OPEN_METRICS),
    scope=Scope.REPORTS,
    query=None,
)
def metrics_() -> Answer:
    """Of all web processes behind this address, and of the database.

    Instead of a key, METRICS_TOKEN opens it, also while the database does not answer.
    """
    services = context.current().services
    services.gauges.run_once()
    found = context.current().conditions.of(services.database)
    media_type, body = exposition(request.headers.get("Accept", ""), found)
    return Answer(body.decode(), media_type=media_type)
