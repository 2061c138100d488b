"""The door that Telnyx calls back to: what it answers, keeps, refuses, and shows afterwards."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any
from urllib.parse import parse_qsl

import pytest
from click.testing import CliRunner
from nacl.signing import SigningKey

from service import cli
from service.sandbox import Answer
from service.sandbox import Session as TelnyxSession
from service.store import rejected
from service.store.rejected import RejectedDelivery
from service.telnyx.callback import RejectionReason
from service.web import callbacks
from tests.web.indoors import FORM, SECRET_KEY, Indoors, JsonResponse

STRANGER = SigningKey(b"\1" * 32)
OTHER_SECRET = "another secret that is long enough for it"
NO_TOKEN = "/callbacks/siprec"

# (signature, token) -> what a POST and a GET are answered, where a signature is required and where not.
STATUSES: dict[tuple[str, str], tuple[int, int, int, int]] = {
    ("signed", "ours"): (200, 200, 200, 200),
    ("signed", "strange"): (200, 404, 200, 404),
    ("signed", "none"): (200, 404, 200, 404),
    ("unsigned", "ours"): (403, 403, 200, 200),
    ("unsigned", "strange"): (404, 404, 404, 404),
    ("unsigned", "none"): (403, 403, 403, 403),
    ("forged", "ours"): (403, 403, 403, 403),
    ("forged", "strange"): (403, 403, 403, 403),
    ("forged", "none"): (403, 403, 403, 403),
    ("half signed", "ours"): (403, 403, 403, 403),
}


def refused(indoors: Indoors) -> list[RejectedDelivery]:
    """The newest first."""
    indoors.settle()
    with indoors.context.database.read() as db:
        return rejected.newest(db, 1000)


def headers_of(indoors: Indoors, signature: str, body: bytes) -> dict[str, str]:
    if signature == "unsigned":
        return {}
    headers = indoors.sandbox.sign(body, key=STRANGER if signature == "forged" else None)
    if signature == "half signed":
        del headers["telnyx-timestamp"]
    return headers


def bring(indoors: Indoors, method: str, path: str, form: bytes, signature: str = "signed") -> JsonResponse:
    """Deliver `form` as Telnyx would."""
    if method == "GET":
        return indoors.stranger.get(
            path, query_string=form.decode(), headers=headers_of(indoors, signature, b"")
        )
    headers = headers_of(indoors, signature, form)
    return indoors.stranger.post(path, data=form, headers=headers, content_type=FORM)


@pytest.mark.parametrize("policy", ["required", "if_present"])
def test_signature_and_token_decide_the_answer(
    furnish: Callable[..., Indoors], policy: str, subtests: pytest.Subtests
) -> None:
    indoors = furnish(CALLBACK_SIGNATURE=policy)
    session_id = indoors.started(status_callback_method="GET")
    paths = {"ours": indoors.callback_path(), "strange": f"{NO_TOKEN}/{session_id}.x", "none": NO_TOKEN}
    forms = (
        indoors.sandbox.compose(indoors.sid(), "siprec-started", More=str(n))
        for n in range(len(STATUSES) * 2)
    )
    kept = no = 0
    for (signature, token), (number, method) in product(STATUSES, enumerate(("POST", "GET"))):
        with subtests.test(f"{signature} {token} {method}"):
            status = STATUSES[signature, token][number + (0 if policy == "required" else 2)]
            answer = bring(indoors, method, paths[token], next(forms), signature)
            assert (answer.status_code, answer.data) == (status, b"")
            assert "Location" not in answer.headers
            kept, no = kept + (status == 200), no + (status != 200)
            # With a sid that only this session has, even a callback without our token finds it.
            assert len(indoors.callbacks(session_id)) == kept
            assert len(refused(indoors)) == no
            if status != 200:
                assert (refused(indoors)[0].answered, refused(indoors)[0].method) == (status, method)


def test_a_refused_delivery_is_kept_as_it_came(furnish: Callable[..., Indoors], database_url: str) -> None:
    indoors = furnish()
    indoors.started()
    bring(indoors, "POST", indoors.callback_path() + "?a=%00&b", b"CallSid=\0\xff", "forged")
    bring(indoors, "GET", f"{NO_TOKEN}/x", b"SiprecEvent=siprec-started", "unsigned")
    indoors.settle()
    done = CliRunner().invoke(cli.main, ["callbacks", "rejected"], env={"DATABASE_URL": database_url})
    assert done.exit_code == 0, done.output
    newest, oldest = (json.loads(line) for line in done.output.splitlines())
    assert (newest["answered"], newest["method"], newest["query"]) == (
        404,
        "GET",
        "SiprecEvent=siprec-started",
    )
    assert (oldest["answered"], oldest["method"], oldest["query"]) == (403, "POST", "a=%00&b")
    assert oldest["body"] == "CallSid=\0\xff"
    assert oldest["reason"] == "the signature does not fit"
    assert {"telnyx-timestamp", "telnyx-signature-ed25519", "content-type"} <= set(oldest["headers"])
    assert datetime.fromisoformat(oldest["received_at"]).utcoffset() == timedelta(0)
    few = CliRunner().invoke(
        cli.main, ["callbacks", "rejected", "--limit", "1"], env={"DATABASE_URL": database_url}
    )
    assert few.output.splitlines() == done.output.splitlines()[:1]


def test_each_reason_to_reject_has_its_status() -> None:
    assert set(callbacks.STATUSES) == set(RejectionReason)


def test_with_and_without_a_slash_at_the_end_and_never_elsewhere(indoors: Indoors) -> None:
    session_id = indoors.started()
    for n, path in enumerate((indoors.callback_path(), NO_TOKEN)):
        for slash in ("", "/"):
            form = indoors.sandbox.compose(indoors.sid(), "siprec-started", More=f"{n}{slash}")
            answer = bring(indoors, "POST", path + slash, form)
            assert (path, slash, answer.status_code, answer.data) == (path, slash, 200, b"")
    assert len(indoors.callbacks(session_id)) == 4
    for path in ("/", "//callbacks/siprec", "/callbacks//siprec", "/callbacks", "/callbacks/siprecx"):
        assert bring(indoors, "POST", path, b"a=b").status_code in {404, 405}


def test_other_methods_are_405_and_record_nothing(indoors: Indoors) -> None:
    indoors.started()
    for method in ("PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "NONSENSE"):
        for path in (indoors.callback_path(), NO_TOKEN):
            answer = indoors.stranger.open(path, method=method, data=b"a=b")
            assert (method, answer.status_code) == (method, 405)
            assert answer.headers["Allow"] == "GET, HEAD, POST"
    assert refused(indoors) == []


def test_a_head_records_nothing(indoors: Indoors) -> None:
    session_id = indoors.started()
    form = indoors.sandbox.compose(indoors.sid(), "siprec-started")
    for path in (indoors.callback_path(), NO_TOKEN, f"{NO_TOKEN}/x"):
        answer = indoors.stranger.head(path, query_string=form.decode(), headers=indoors.sandbox.sign(b""))
        assert (answer.status_code, answer.data) == (200, b"")
    assert indoors.callbacks(session_id) == []
    assert refused(indoors) == []


def test_a_callback_of_another_secret_finds_its_session_by_its_ids(furnish: Callable[..., Indoors]) -> None:
    indoors = furnish(SECRET_KEY=OTHER_SECRET)
    session_id = indoors.started()
    path = indoors.callback_path()
    form = indoors.sandbox.compose(indoors.sid(), "siprec-started")
    changed = furnish()
    assert bring(changed, "GET", path, form).status_code == 404
    assert bring(changed, "POST", path, form, "unsigned").status_code == 404
    assert bring(changed, "POST", path, form).status_code == 200
    assert indoors.session(session_id)["state"] == "started"


def test_a_rotated_secret_still_opens(furnish: Callable[..., Indoors]) -> None:
    session_id = (old := furnish()).started(status_callback_method="GET")
    new = furnish(SECRET_KEY=OTHER_SECRET, SECRET_KEY_FALLBACKS=[SECRET_KEY])
    form = old.sandbox.compose(old.sid(), "siprec-started")
    assert bring(new, "GET", old.callback_path(), form).status_code == 200
    assert new.session(session_id)["state"] == "started"


def test_any_of_telnyx_keys_may_have_signed(furnish: Callable[..., Indoors]) -> None:
    second = base64.b64encode(bytes(STRANGER.verify_key)).decode()
    indoors = furnish()
    both = furnish(TELNYX_PUBLIC_KEY=[second, indoors.sandbox.public_key])
    session_id = both.started()
    for n, signature in enumerate(("signed", "forged")):
        form = both.sandbox.compose(both.sid(), "siprec-started", More=str(n))
        assert bring(both, "POST", both.callback_path(), form, signature).status_code == 200
    verified = [one["verified_by"] for one in both.callbacks(session_id)]
    assert len(set(verified)) == 2
    assert all(one.startswith("ed25519:") and len(one) == 24 for one in verified)


def test_only_the_body_of_a_signed_post_counts(indoors: Indoors) -> None:
    session_id = indoors.started()
    form = indoors.sandbox.compose(indoors.sid(), "siprec-started")
    query = "?SiprecEvent=siprec-failed&SiprecError=made-up&Timestamp=2020-01-01T00:00:00Z"
    assert bring(indoors, "POST", indoors.callback_path() + query, form).status_code == 200
    (kept,) = indoors.callbacks(session_id)
    assert (kept["event"], kept["error"]) == ("siprec-started", None)
    assert kept["fields"] == [list(pair) for pair in parse_qsl(form.decode())]
    assert kept["problem"] == "the query is not signed, and was not read"
    assert indoors.session(session_id)["state"] == "started"


def test_a_captured_post_is_no_ticket_for_gets(indoors: Indoors) -> None:
    """Its body and headers prove themselves, and nothing of the query that a GET would be read by."""
    session_id = indoors.started()
    body = indoors.sandbox.compose(indoors.sid(), "siprec-started")
    signed = indoors.sandbox.sign(body)
    assert indoors.stranger.post(indoors.callback_path(), data=body, headers=signed).status_code == 200
    for number in range(3):
        answer = indoors.stranger.get(
            indoors.callback_path(),
            query_string=f"SiprecEvent=siprec-failed&More={number}",
            data=body,
            headers=signed,
        )
        assert answer.status_code == 403
    assert indoors.session(session_id)["state"] == "started"
    assert len(indoors.callbacks(session_id)) == 1


@pytest.mark.parametrize("policy", ["required", "if_present"])
def test_a_get_counts_only_where_get_was_asked_for(furnish: Callable[..., Indoors], policy: str) -> None:
    indoors = furnish(CALLBACK_SIGNATURE=policy)
    answers = {}
    for method in ("POST", "GET"):
        indoors.started(f"v3:{method}", status_callback_method=method)
        form = indoors.sandbox.compose(indoors.sid(f"v3:{method}"), "siprec-started")
        path = indoors.callback_path(f"v3:{method}")
        answers[method] = bring(indoors, "GET", path, form).status_code
    assert answers == {"POST": 403, "GET": 200}


STRANGE_FORMS: dict[str, tuple[bytes, list[str]]] = {
    "nothing at all": (b"", ["not a clean form", "SiprecEvent is missing", "CallSid is missing"]),
    "JSON": (b'{"SiprecEvent": "siprec-started"}', ["not a clean form", "SiprecEvent is missing"]),
    "a repeated field": (
        b"SiprecEvent=siprec-started&SiprecEvent=siprec-failed",
        ["SiprecEvent is repeated"],
    ),
    "NUL": (b"SiprecEvent=siprec-started&CallSid=a%00b", ["a field holds bytes that are no text"]),
    "raw NUL": (b"SiprecEvent=siprec-started&More=\0", ["a field holds bytes that are no text"]),
    "no UTF-8": (b"SiprecEvent=siprec-started&More=%ff%fe", ["a field holds bytes that are no text"]),
    "a broken escape": (b"SiprecEvent=siprec-started&More=%zz", ["not a clean form"]),
    "control characters": (b"SiprecEvent=siprec-started&More=%1b%07%0d%0a", ["Timestamp is missing"]),
    "an unknown event": (b"SiprecEvent=siprec-paused", ["SiprecEvent is unknown"]),
    "an event too long": (b"SiprecEvent=" + b"x" * 300, ["SiprecEvent is longer than 255 characters"]),
    "an id too long": (
        b"SiprecEvent=siprec-started&SiprecSid=" + b"x" * 300,
        ["SiprecSid is longer than 255"],
    ),
    "an error too long": (b"SiprecEvent=siprec-failed&SiprecError=" + b"x" * 5000, ["SiprecError is longer"]),
    "no time": (b"SiprecEvent=siprec-started&Timestamp=noon", ["Timestamp is not a time"]),
    "an ancient time": (
        b"SiprecEvent=siprec-started&Timestamp=1999-01-01T00:00:00Z",
        ["Timestamp is too far from when it came"],
    ),
    "a time outside of time": (
        b"SiprecEvent=siprec-started&Timestamp=0001-01-01T00:00:00%2B14:00",
        ["Timestamp"],
    ),
    "a mebibyte": (b"SiprecEvent=siprec-started&More=" + b"x" * (1024 * 1024 - 32), ["CallSid is missing"]),
    "a thousand fields": (b"&".join(b"f%d=%d" % (n, n) for n in range(5000)), ["SiprecEvent is missing"]),
}


def test_what_is_genuine_is_kept_however_strange(indoors: Indoors, subtests: pytest.Subtests) -> None:
    for n, (name, (form, problems)) in enumerate(STRANGE_FORMS.items()):
        with subtests.test(name):
            session_id = indoors.started(f"call-{n}")
            answer = bring(indoors, "POST", indoors.callback_path(f"call-{n}"), form)
            assert (answer.status_code, answer.data) == (200, b"")
            (kept,) = indoors.callbacks(session_id)
            assert all(problem in kept["problem"] for problem in problems), kept["problem"]
            assert indoors.session(session_id)["id"] == session_id
            # The same again is a repeat, not a second one.
            assert bring(indoors, "POST", indoors.callback_path(f"call-{n}"), form).status_code == 200
            (kept,) = indoors.callbacks(session_id)
            assert kept["deliveries"] == 2


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_a_body_over_a_mebibyte_is_413(indoors: Indoors) -> None:
    indoors.started()
    for path in (indoors.callback_path(), NO_TOKEN):
        answer = bring(indoors, "POST", path, b"a=" + b"x" * (1024 * 1024 - 1))
        assert (answer.status_code, answer.data) == (413, b"")


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "multipart/form-data; boundary=x", "application/json"]
)
@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_what_the_body_says_it_is_does_not_matter(indoors: Indoors, content_type: str | None) -> None:
    session_id = indoors.started()
    body = indoors.sandbox.compose(indoors.sid(), "siprec-started")
    headers = indoors.sandbox.sign(body)
    path = indoors.callback_path()
    answer = indoors.stranger.post(path, data=body, headers=headers, content_type=content_type)
    assert answer.status_code == 200
    assert indoors.session(session_id)["state"] == "started"


@pytest.mark.parametrize(
    ("age", "problem"),
    [
        (timedelta(seconds=200), None),
        (timedelta(seconds=-200), None),
        (timedelta(minutes=10), "s before it came"),
        (timedelta(minutes=-10), "signed -"),
        (timedelta(days=400), "s before it came"),
    ],
)
@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_a_stale_signature_is_kept_and_shown(indoors: Indoors, age: timedelta, problem: str | None) -> None:
    session_id = indoors.started()
    body = indoors.sandbox.compose(indoors.sid(), "siprec-started")
    headers = indoors.sandbox.sign(body, at=datetime.now(UTC) - age)
    assert indoors.stranger.post(indoors.callback_path(), data=body, headers=headers).status_code == 200
    (kept,) = indoors.callbacks(session_id)
    assert kept["problem"] is None if problem is None else problem in kept["problem"]
    assert indoors.session(session_id)["state"] == "started"


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize("timestamp", ["", "now", "1e9", "-5", "9" * 40, "\xe4", "1700000000.5"])
def test_a_signed_timestamp_that_is_none_is_rejected(indoors: Indoors, timestamp: str) -> None:
    key = SigningKey(b"\2" * 32)
    session_id = indoors.started()
    body = indoors.sandbox.compose(indoors.sid(), "siprec-started")
    signature = key.sign(timestamp.encode("latin-1") + b"|" + body).signature
    headers = {
        "telnyx-timestamp": timestamp,
        "telnyx-signature-ed25519": base64.b64encode(signature).decode(),
    }
    path = indoors.callback_path()
    other = Indoors(
        str(indoors.context.database.engine.url),
        indoors.sandbox,
        TELNYX_PUBLIC_KEY=[base64.b64encode(bytes(key.verify_key)).decode()],
    )
    assert other.stranger.post(path, data=body, headers=headers).status_code == 403
    other.settle()
    other.close()
    assert indoors.callbacks(session_id) == []
    assert refused(indoors)[0].reason == "telnyx-timestamp is not a number of seconds"


@pytest.mark.parametrize("signature", ["", "x", "A" * 88, "AAAA", "\xe4", "=" * 88, "A" * 8000])
@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_a_signature_that_is_none_is_403(indoors: Indoors, signature: str) -> None:
    indoors.started()
    body = indoors.sandbox.compose(indoors.sid(), "siprec-started")
    headers = {**indoors.sandbox.sign(body), "telnyx-signature-ed25519": signature}
    answer = indoors.stranger.post(indoors.callback_path(), data=body, headers=headers)
    assert answer.status_code == 403
    assert refused(indoors)[0].headers.get("telnyx-signature-ed25519", "") == signature


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_a_changed_body_is_403(indoors: Indoors) -> None:
    indoors.started()
    body = indoors.sandbox.compose(indoors.sid(), "siprec-started")
    headers = indoors.sandbox.sign(body)
    for changed in (body + b"&", body.replace(b"started", b"stopped"), b"", body.lower()):
        answer = indoors.stranger.post(indoors.callback_path(), data=changed, headers=headers)
        assert answer.status_code == 403


def test_a_database_that_is_away_is_503(furnish: Callable[..., Indoors]) -> None:
    indoors = furnish()
    indoors.started()
    form = indoors.sandbox.compose(indoors.sid(), "siprec-started")
    away = furnish(DATABASE_URL="postgresql://postgres@/ledger?host=/nowhere")
    for signature, status in (("signed", 503), ("forged", 403)):  # a rejection promises nothing
        answer = bring(away, "POST", indoors.callback_path(), form, signature)
        assert (answer.status_code, answer.data) == (status, b"")


def test_what_is_shown_of_a_callback(indoors: Indoors) -> None:
    session_id = indoors.started()
    at = datetime.now(UTC) - timedelta(seconds=2)
    before = datetime.now(UTC)
    indoors.tell("siprec-failed", SiprecError="no-answer", Timestamp=at.isoformat(), SiprecName="n & n")
    (shown,) = indoors.callbacks(session_id)
    assert shown.pop("last_received_at") == shown["received_at"]
    received_at = datetime.fromisoformat(shown.pop("received_at"))
    assert before <= received_at <= datetime.now(UTC)
    fields = dict(shown.pop("fields"))
    assert (fields["SiprecName"], fields["SiprecError"]) == ("n & n", "no-answer")
    assert len(shown.pop("id")) == 36
    assert shown.pop("session_id") == session_id
    assert shown.pop("verified_by").startswith("ed25519:")
    assert shown == {
        "event": "siprec-failed",
        "happened_at": at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "deliveries": 1,
        "problem": None,
        "method": "POST",
        "account_sid": "account-1",
        "call_sid": "v3:call-1",
        "siprec_sid": indoors.sid(),
        "error": "no-answer",
    }


def test_a_callback_without_a_signature_is_verified_by_its_token(furnish: Callable[..., Indoors]) -> None:
    indoors = furnish(CALLBACK_SIGNATURE="if_present")
    session_id = indoors.started(status_callback_method="GET")
    form = indoors.sandbox.compose(indoors.sid(), "siprec-started")
    assert bring(indoors, "GET", indoors.callback_path(), form, "unsigned").status_code == 200
    (shown,) = indoors.callbacks(session_id)
    assert (shown["verified_by"], shown["method"], shown["problem"]) == ("token", "GET", None)


def test_deliveries_are_counted_and_in_the_order_in_which_they_came(indoors: Indoors) -> None:
    session_id = indoors.started()
    sent = {
        event: indoors.sandbox.compose(indoors.sid(), event) for event in ("siprec-stopped", "siprec-started")
    }
    for event in ("siprec-stopped", "siprec-started", "siprec-stopped", "siprec-stopped"):
        assert bring(indoors, "POST", indoors.callback_path(), sent[event]).status_code == 200
    shown = indoors.callbacks(session_id)
    assert [(one["event"], one["deliveries"]) for one in shown] == [
        ("siprec-stopped", 3),
        ("siprec-started", 1),
    ]


def test_a_contradiction_is_shown(indoors: Indoors) -> None:
    session_id = indoors.started()
    indoors.tell("siprec-started", CallSid="v3:another")
    indoors.tell("siprec-started", AccountSid="another")
    moved, other = indoors.callbacks(session_id)
    assert moved["problem"] == "CallSid is another call's: it moved nothing"
    assert other["problem"] == "AccountSid is not the one that was asked for"


def test_a_callback_of_nobodys_is_adopted_and_shown(indoors: Indoors) -> None:
    theirs = TelnyxSession("account-9", "call-9", "sid-9")
    form = indoors.sandbox.compose(theirs, "siprec-started")
    assert bring(indoors, "POST", NO_TOKEN, form).status_code == 200
    (shown,) = indoors.client.get("/v1/sessions").json["sessions"]
    assert (shown["origin"], shown["account_sid"], shown["call_sid"]) == ("adopted", "account-9", "call-9")
    assert (shown["state"], shown["siprec_sid"], shown["requested_by"]) == ("started", "sid-9", None)
    assert [one["event"] for one in indoors.callbacks(shown["id"])] == ["siprec-started"]
    assert [event["state"] for event in indoors.session(shown["id"])["timeline"]] == ["started"]


def events_of(indoors: Indoors, session_id: str) -> list[dict[str, Any]]:
    return list(indoors.session(session_id)["timeline"])


def test_the_timeline_tells_every_change_with_before_and_after(indoors: Indoors) -> None:
    session_id = indoors.started()
    sid = indoors.sid()
    indoors.tell("siprec-started", Timestamp=(at := datetime.now(UTC)).isoformat())
    indoors.client.post(f"/v1/sessions/{session_id}/stop")
    indoors.tell("siprec-failed", SiprecError="no-answer")
    timeline = events_of(indoors, session_id)
    assert [one["state"] for one in timeline] == ["requested", "accepted", "started", "started", "failed"]
    assert [one["changes"].get("state") for one in timeline] == [
        [None, "requested"],
        ["requested", "accepted"],
        ["accepted", "started"],
        None,
        ["started", "failed"],
    ]
    assert timeline[1]["changes"]["siprec_sid"] == [None, sid]
    moment = at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    assert timeline[2]["changes"]["started_at"] == [None, moment]
    assert timeline[2]["happened_at"] == moment < timeline[2]["written_at"]
    assert set(timeline[3]["changes"]) == {"stop_requested_at", "stop_requested_by"}
    before, after = timeline[4]["changes"]["error"]
    assert (before, after["detail"]) == (None, "no-answer")
    assert [one["sequence"] for one in timeline] == sorted({one["sequence"] for one in timeline})
    assert [one["actor"] for one in timeline] == ["app-1", "telnyx", "telnyx", "app-1", "telnyx"]
    assert set(timeline[0]) == {
        *("sequence", "kind", "actor", "correction", "state", "changes", "happened_at", "written_at"),
    }


def test_a_repeat_changes_nothing_and_is_no_event(indoors: Indoors) -> None:
    session_id = indoors.started()
    form = indoors.sandbox.compose(indoors.sid(), "siprec-started")
    for _ in range(3):
        bring(indoors, "POST", indoors.callback_path(), form)
    assert len(events_of(indoors, session_id)) == 3


def test_a_refused_start_has_a_timeline_too(indoors: Indoors) -> None:
    indoors.answers(Answer.error(422, code="90018"))
    session_id = indoors.start().json["session_id"]
    requested, said_no = events_of(indoors, session_id)
    assert said_no["changes"]["error"][1]["code"] == "90018"
    assert said_no["changes"]["state"] == ["requested", "refused"]
    assert requested["changes"]["state"] == [None, "requested"]
