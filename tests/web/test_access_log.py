"""What a line of the access log shows."""

from __future__ import annotations

import pytest

from service.web import access_log


@pytest.mark.parametrize(
    ("path", "key", "shown"),
    [
        ("/callbacks/siprec/secret", None, '"POST /callbacks/***" 200'),
        ('/a"b\n', None, '"POST /a\\"b\\x0a" 200'),
        ("/", 'a "b"', 'key="a \\"b\\""'),
        ("/", "x/callbacks-app", 'key="x/callbacks-app"'),
    ],
)
def test_only_the_secret_of_a_callback_url_is_hidden(path: str, key: str | None, shown: str) -> None:
    scope = {
        "client": ("192.0.2.1", 1),
        "method": "POST",
        "path": path,
        "state": {access_log.KEY: key},
    }
    assert shown in access_log.line(scope, {"status": 200, "headers": ()}, 0.1)
