"""What Telnyx calls back with: whose it is, what it says, and that nothing trips over it."""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey
from telnyx.lib.webhook_verification import WebhookVerificationError, verify_webhook_signature

from service.domain.callback import Callback, Delivery
from service.domain.notice import Error, ErrorKind, NoticeKind
from service.domain.start import CallbackMethod
from service.sandbox import Sandbox
from service.telnyx.callback import Reader, RejectedCallback, RejectionReason, read_time
from service.telnyx.callback_url import CallbackUrls

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SESSION_ID = "0195f7a0-1111-7222-8333-444455556666"
SANDBOX = Sandbox()  # only signs
ADDRESSES = CallbackUrls("https://ledger.example.com", ["a secret that is long enough for a test"])
TOKEN = ADDRESSES.of(SESSION_ID).rpartition("/")[2]
GET_TOKEN = ADDRESSES.of(SESSION_ID, CallbackMethod.GET).rpartition("/")[2]
FIELDS = {
    "AccountSid": "account-1",
    "CallSid": "v3:call-1",
    "SiprecSid": "sid-1",
    "SiprecEvent": "siprec-started",
    "Timestamp": "2026-03-01T11:59:59.123456Z",
}
BODY = urlencode(FIELDS).encode()
STRANGER = SigningKey.generate()


def reader(*, keys: list[str] | None = None, must_be_signed: bool = True) -> Reader:
    return Reader(keys or [SANDBOX.public_key], ADDRESSES, must_be_signed=must_be_signed)


def delivery(
    body: bytes = BODY,
    method: str = "POST",
    token: str | None = TOKEN,
    query: bytes = b"",
    headers: Mapping[str, str] | None = None,
    at: datetime = NOW,
) -> Delivery:
    """Signed by the sandbox, unless it is given other headers."""
    signed = SANDBOX.sign(body, at) if headers is None else headers
    return Delivery("delivery-1", NOW, method, token, query, signed, body)


def read(body: bytes = BODY, **others: object) -> Callback:
    return reader().read(delivery(body, **others))  # type: ignore[arg-type]


def said(**fields: str | None) -> Callback:
    """Of a callback with these fields instead of the usual ones."""
    return read(urlencode({k: v for k, v in {**FIELDS, **fields}.items() if v is not None}).encode())


def reason(read_by: Reader, came: Delivery) -> RejectionReason:
    with pytest.raises(RejectedCallback) as caught:
        read_by.read(came)
    return caught.value.reason


# Whose it is


def test_a_signed_callback_says_who_it_is_about_and_who_proved_it() -> None:
    callback = read()
    assert callback.session_id == SESSION_ID
    assert callback.verified_by.startswith("ed25519:")
    assert (callback.event, callback.problem) == ("siprec-started", None)
    notice = callback.notice
    assert (notice.kind, notice.received_at) == (NoticeKind.STARTED, NOW)
    assert notice.happened_at == datetime(2026, 3, 1, 11, 59, 59, 123456, tzinfo=UTC)
    assert (notice.account_sid, notice.call_sid, notice.siprec_sid) == ("account-1", "v3:call-1", "sid-1")
    assert notice.error is None


def test_each_key_has_a_fingerprint_of_its_own_and_the_second_counts_too() -> None:
    both = reader(keys=[base64.b64encode(bytes(STRANGER.verify_key)).decode(), SANDBOX.public_key])
    by_second, by_first = (
        both.read(delivery(headers=SANDBOX.sign(BODY, NOW, key))).verified_by for key in (None, STRANGER)
    )
    assert by_second == read().verified_by
    assert by_first != by_second


def signature(raw: bytes) -> dict[str, str]:
    return SANDBOX.sign(BODY, NOW) | {"telnyx-signature-ed25519": base64.b64encode(raw).decode()}


GENUINE = base64.b64decode(SANDBOX.sign(BODY, NOW)["telnyx-signature-ed25519"])
FORGERIES = {
    "another key": SANDBOX.sign(BODY, NOW, STRANGER),
    "another body": SANDBOX.sign(BODY + b"&a=1", NOW),
    "another time": SANDBOX.sign(BODY, NOW) | {"telnyx-timestamp": "1"},
    "too short": signature(GENUINE[:63]),
    "too long": signature(GENUINE + b"\0"),
    "empty": signature(b""),
    "all zero": signature(bytes(64)),
    "one bit": signature(bytes([GENUINE[0] ^ 1]) + GENUINE[1:]),
    "not base64": SANDBOX.sign(BODY, NOW) | {"telnyx-signature-ed25519": "not base64!"},
    "not ASCII": SANDBOX.sign(BODY, NOW) | {"telnyx-signature-ed25519": "\u2603" * 88},
    "hexadecimal": SANDBOX.sign(BODY, NOW) | {"telnyx-signature-ed25519": GENUINE.hex()},
}


@pytest.mark.parametrize("headers", FORGERIES.values(), ids=FORGERIES)
@pytest.mark.parametrize("must_be_signed", [True, False])
def test_a_signature_that_does_not_fit_is_forged_whatever_the_token(
    headers: dict[str, str], must_be_signed: bool
) -> None:
    for token in (TOKEN, None, "strange"):
        came = delivery(headers=headers, token=token)
        assert reason(reader(must_be_signed=must_be_signed), came) is RejectionReason.FORGED


TIMESTAMPS = ["", "now", "1.5", "-1", "²", "1e9", "9" * 13, "12 ", "1|a=1", "1\n", "\u2603\0"]


@pytest.mark.parametrize("timestamp", [None, *TIMESTAMPS])
def test_a_time_that_is_no_number_of_seconds_is_rejected_though_it_is_signed(timestamp: str | None) -> None:
    """A `|` in it, for one, would move where the body begins that was signed."""
    key = SigningKey.generate()
    signed = key.sign((timestamp or "").encode() + b"|" + BODY).signature
    headers = {"telnyx-signature-ed25519": base64.b64encode(signed).decode()}
    if timestamp is not None:
        headers["telnyx-timestamp"] = timestamp
    judge = reader(keys=[base64.b64encode(bytes(key.verify_key)).decode()])
    assert reason(judge, delivery(headers=headers)) is RejectionReason.UNREADABLE_TIMESTAMP


@pytest.mark.parametrize("key", [bytes(32), b"\1" + bytes(31)])
def test_a_key_under_which_anything_fits_lets_nothing_in(key: bytes) -> None:
    try:
        weak = reader(keys=[base64.b64encode(key).decode()])
    except ValueError:
        return  # better still
    for raw in (bytes(64), b"\1" + bytes(63), key + bytes(32), GENUINE):
        assert reason(weak, delivery(headers=signature(raw))) is RejectionReason.FORGED


@pytest.mark.parametrize(
    ("must_be_signed", "method", "token", "is_signed", "expected"),
    [
        (True, "POST", TOKEN, True, "ed25519"),
        (True, "POST", None, True, "ed25519"),
        (True, "POST", "strange", True, "ed25519"),  # found by its ids
        (True, "GET", GET_TOKEN, True, "ed25519"),
        (True, "POST", GET_TOKEN, True, "ed25519"),  # what is signed needs no token
        (True, "GET", TOKEN, True, RejectionReason.GET_NOT_ORDERED),
        (True, "GET", None, True, RejectionReason.GET_WITHOUT_TOKEN),  # one signature fits every query
        (True, "GET", "strange", True, RejectionReason.GET_WITHOUT_TOKEN),
        (True, "POST", TOKEN, False, RejectionReason.UNSIGNED),
        (True, "POST", None, False, RejectionReason.UNSIGNED),
        (True, "POST", "strange", False, RejectionReason.UNKNOWN_TOKEN),
        (True, "POST", "", False, RejectionReason.UNKNOWN_TOKEN),
        (True, "GET", TOKEN, False, RejectionReason.UNSIGNED),
        (False, "POST", TOKEN, True, "ed25519"),
        (False, "POST", TOKEN, False, "token"),
        (False, "GET", GET_TOKEN, False, "token"),
        (False, "GET", TOKEN, False, RejectionReason.GET_NOT_ORDERED),
        (False, "POST", None, False, RejectionReason.UNSIGNED),
        (False, "GET", None, False, RejectionReason.UNSIGNED),
        (False, "POST", "strange", False, RejectionReason.UNKNOWN_TOKEN),
        (False, "GET", "strange", False, RejectionReason.UNKNOWN_TOKEN),
        (False, "GET", None, True, RejectionReason.GET_WITHOUT_TOKEN),
    ],
)
def test_what_proves_a_callback(
    must_be_signed: bool, method: str, token: str | None, is_signed: bool, expected: str | RejectionReason
) -> None:
    query, body = (BODY, b"") if method == "GET" else (b"", BODY)
    headers: dict[str, str] | None = None if is_signed else {}
    came = delivery(body, method=method, token=token, query=query, headers=headers)
    judge = reader(must_be_signed=must_be_signed)
    if isinstance(expected, RejectionReason):
        assert reason(judge, came) is expected
        return
    callback = judge.read(came)
    assert callback.verified_by.partition(":")[0] == expected
    assert callback.session_id == (SESSION_ID if token in {TOKEN, GET_TOKEN} else None)
    assert callback.notice.kind is NoticeKind.STARTED


@pytest.mark.parametrize("seconds", [-301, -300, 0, 300, 301, 10**9])
def test_a_stale_signature_is_kept_with_the_problem(seconds: int) -> None:
    callback = read(at=NOW - timedelta(seconds=seconds))
    is_stale = abs(seconds) > 300
    assert callback.problem == (f"signed {seconds} s before it came" if is_stale else None)


@pytest.mark.parametrize("forgery", [None, *FORGERIES])
def test_the_official_client_agrees(forgery: str | None) -> None:
    now = datetime.now(UTC)
    headers = SANDBOX.sign(BODY, now)
    if forgery:
        wrong = FORGERIES[forgery]
        genuine = SANDBOX.sign(BODY, NOW)
        changed = {name: value for name, value in wrong.items() if value != genuine.get(name)}
        headers = {name: value for name, value in (headers | changed).items() if name in wrong}
    judged = {"ours": True, "theirs": True}
    try:
        reader().read(delivery(headers=headers))
    except RejectedCallback:
        judged["ours"] = False
    try:
        verify_webhook_signature(BODY, headers, SANDBOX.public_key)
    except WebhookVerificationError:
        judged["theirs"] = False
    assert judged == {"ours": forgery is None, "theirs": forgery is None}


# What it says


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ("siprec-started", NoticeKind.STARTED),
        ("siprec-stopped", NoticeKind.STOPPED),
        ("siprec-failed", NoticeKind.FAILED),
        ("siprec-paused", NoticeKind.OTHER),
        ("accepted", NoticeKind.OTHER),
        ("stop-requested", NoticeKind.OTHER),
    ],
)
def test_an_event_is_kept_as_written_and_an_unknown_one_is_a_problem(event: str, kind: NoticeKind) -> None:
    callback = said(SiprecEvent=event, SiprecError="no-answer")
    assert (callback.event, callback.notice.kind) == (event, kind)
    unheard_of = "SiprecEvent is unknown" if kind is NoticeKind.OTHER else None
    assert callback.problem == unheard_of


def test_a_failure_says_why() -> None:
    failed = said(SiprecEvent="siprec-failed", SiprecError="no-answer")
    assert failed.notice.error == Error(ErrorKind.SIPREC_FAILED, detail="no-answer")
    silent = said(SiprecEvent="siprec-failed")
    assert (silent.notice.error, silent.problem) == (
        Error(ErrorKind.SIPREC_FAILED),
        "SiprecError is missing",
    )
    assert said(SiprecError="stray").notice.error is None


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("value", [None, ""])
def test_a_field_that_is_missing_or_empty_is_a_problem(name: str, value: str | None) -> None:
    callback = said(**{name: value})
    assert callback.problem == f"{name} is missing"


def test_other_fields_may_come_along() -> None:
    assert said(SiprecName="my siprec", Neu="ü").problem is None


def test_the_first_of_repeated_fields_counts_and_the_repetition_is_a_problem() -> None:
    callback = read(BODY + b"&SiprecEvent=siprec-failed")
    assert (callback.notice.kind, callback.problem) == (NoticeKind.STARTED, "SiprecEvent is repeated")


@pytest.mark.parametrize("name", ["AccountSid", "CallSid", "SiprecSid"])
@pytest.mark.parametrize(("long", "is_read"), [("x" * 255, True), ("x" * 256, False), ("\u2603" * 86, False)])
def test_an_id_too_long_to_be_looked_up_is_not_read(name: str, long: str, is_read: bool) -> None:
    callback = said(**{name: long})
    ids = (callback.notice.account_sid, callback.notice.call_sid, callback.notice.siprec_sid)
    assert (long in ids) is is_read
    assert callback.problem == (None if is_read else f"{name} is longer than 255 bytes, and was not read")


def test_a_text_too_long_to_be_shown_is_cut() -> None:
    failed = said(SiprecEvent="siprec-failed", SiprecError="e" * 5000)
    assert failed.notice.error == Error(ErrorKind.SIPREC_FAILED, detail="e" * 1000)
    assert failed.problem == "SiprecError is longer than 1000 characters, and was cut"
    assert said(SiprecEvent="e" * 300).event == "e" * 255


@pytest.mark.parametrize("broken", [b"%00", b"%FF", b"%ED%A0%80", b"\xff", b"\0"])
def test_bytes_that_are_no_text_are_shown_as_such(broken: bytes) -> None:
    callback = read(BODY.replace(b"sid-1", b"sid-" + broken))
    assert callback.notice.siprec_sid
    assert callback.notice.siprec_sid.startswith("sid-\N{REPLACEMENT CHARACTER}")
    assert callback.problem == "a field holds bytes that are no text"


def test_fields_outside_what_is_signed_are_not_read() -> None:
    beside_post = read(query=b"SiprecEvent=siprec-failed&a=1")
    assert beside_post.notice == read().notice
    assert beside_post.problem == "the query is not signed, and was not read"


@pytest.mark.parametrize("must_be_signed", [True, False])
@pytest.mark.parametrize("token", [TOKEN, GET_TOKEN])
def test_a_get_with_a_body_is_the_signature_of_a_post_used_again(token: str, must_be_signed: bool) -> None:
    came = delivery(BODY, method="GET", query=BODY, token=token)
    assert reason(reader(must_be_signed=must_be_signed), came) is RejectionReason.GET_WITH_BODY


def test_a_json_body_is_kept_and_says_nothing() -> None:
    callback = read(b'{"data": {"event_type": "call.hangup"}}')
    assert (callback.session_id, callback.event, callback.notice.kind) == (SESSION_ID, None, NoticeKind.OTHER)
    assert callback.problem
    assert callback.problem.startswith("not a clean form; ")


def test_only_headers_that_are_evidence_are_kept() -> None:
    headers = {
        **SANDBOX.sign(BODY, NOW),
        "content-type": "application/x-www-form-urlencoded",
        "user-agent": "telnyx-webhooks",
        "authorization": "secret",
    }
    assert delivery(headers=headers).evidence == {k: v for k, v in headers.items() if k != "authorization"}


def test_a_repeat_with_a_new_signature_is_the_same_callback() -> None:
    assert read(at=NOW - timedelta(seconds=60)).notice == read().notice


def test_a_mebibyte_in_one_field_takes_no_time() -> None:
    body = BODY + b"&Padding=" + b"%" * 2**20
    came = delivery(body)
    began = time.process_time()
    assert reader().read(came).notice.kind is NoticeKind.STARTED
    assert time.process_time() - began < 5


# When it happened


def utc(
    year: int, month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0, micros: int = 0
) -> datetime:
    return datetime(year, month, day, hour, minute, second, micros, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2023-08-11T19:12:11Z", utc(2023, 8, 11, 19, 12, 11)),
        *(
            (f"2023-08-11T19:12:11.{'123456789'[:digits]}Z", utc(2023, 8, 11, 19, 12, 11, micros))
            for digits, micros in enumerate(
                [100000, 120000, 123000, 123400, 123450, 123456, 123456, 123456, 123456], start=1
            )
        ),
        ("2023-08-11T19:12:11.123456", utc(2023, 8, 11, 19, 12, 11, 123456)),
        ("2023-08-11 19:12:11", utc(2023, 8, 11, 19, 12, 11)),
        ("2023-08-11T19:12Z", utc(2023, 8, 11, 19, 12)),
        ("2023-08-11T19:12:11+02:00", utc(2023, 8, 11, 17, 12, 11)),
        ("2023-08-11T19:12:11-0730", utc(2023, 8, 12, 2, 42, 11)),
        (" 2023-08-11T19:12:11Z ", utc(2023, 8, 11, 19, 12, 11)),
        ("Fri, 11 Aug 2023 19:12:11 +0000", utc(2023, 8, 11, 19, 12, 11)),
        ("Fri, 11 Aug 2023 19:12:11 +0200", utc(2023, 8, 11, 17, 12, 11)),
        ("Fri, 11 Aug 2023 19:12:11 -0000", utc(2023, 8, 11, 19, 12, 11)),
        ("Fri, 11 Aug 2023 19:12:11 GMT", utc(2023, 8, 11, 19, 12, 11)),
        ("11 Aug 2023 19:12:11", utc(2023, 8, 11, 19, 12, 11)),
        ("0001-01-01T00:00:00Z", utc(1, 1, 1)),
        ("0001-01-01T00:00:00+01:00", None),
        ("0001-01-01T00:00:00-01:00", utc(1, 1, 1, 1)),
        ("9999-12-31T23:59:59.999999Z", utc(9999, 12, 31, 23, 59, 59, 999999)),
        ("9999-12-31T23:59:59-01:00", None),
        ("9999-12-31T23:59:59+01:00", utc(9999, 12, 31, 22, 59, 59)),
        ("Fri, 11 Aug 2023 19:12:11 +9999", None),
        ("2023-08-11", None),  # a day is not a time
        ("2023-02-30T19:12:11Z", None),
        ("2023-08-11T25:12:11Z", None),
        ("1691781131", None),
        ("yesterday", None),
        ("", None),
        ("\0", None),
        ("Fri, 11 Aug 99999 19:12:11 +0000", None),
        ("Fri, 11 Aug 2023 1.2.3.4 +0000", None),
    ],
)
def test_a_time_is_read_in_either_form_and_without_a_zone_it_is_utc(
    text: str, moment: datetime | None
) -> None:
    assert read_time(text) == moment


def test_without_a_zone_it_is_utc_wherever_we_run(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        monkeypatch.setenv("TZ", "Asia/Kolkata")
        time.tzset()
        assert read_time("2023-08-11T19:12:11") == utc(2023, 8, 11, 19, 12, 11)
        assert read_time("11 Aug 2023 19:12:11") == utc(2023, 8, 11, 19, 12, 11)
    finally:
        monkeypatch.undo()
        time.tzset()


@settings(deadline=None)
@given(st.datetimes(), st.integers(-14 * 60, 14 * 60))
def test_every_time_written_as_iso_8601_is_read(naive: datetime, minutes: int) -> None:
    sign, offset = "-+"[minutes >= 0], divmod(abs(minutes), 60)
    written = f"{naive.isoformat(timespec='microseconds')}{sign}{offset[0]:02}:{offset[1]:02}"
    try:
        expected = (naive - timedelta(minutes=minutes)).replace(tzinfo=UTC)
    except OverflowError:
        assert read_time(written) is None
    else:
        assert read_time(written) == expected


DATE_PARTS = st.sampled_from(
    ["Fri,", "11", "Aug", "2023", "23", "0", "-1", "19:12:11", "1.2.3.4", "1:2:3:4", ":", ".", "+0000", "-",
     "+99999", "EST", "T", "Z", "99999999999999999999", "", ",", "-0000", "PM"]
)  # fmt: skip


@settings(deadline=None)
@given(
    st.text()
    | st.lists(DATE_PARTS, max_size=9).map(" ".join)
    | st.from_regex(r"\d{4}-\d\d-\d\d.\d\d:?.{0,9}")
)
def test_any_text_can_be_asked_for_its_time(text: str) -> None:
    moment = read_time(text)
    assert moment is None or moment.tzinfo is UTC


@pytest.mark.parametrize(
    ("timestamp", "problem"),
    [
        ("nonsense", "Timestamp is not a time"),
        ("2026-03-01T12:05:00Z", None),
        ("Sun, 01 Mar 2026 11:59:00 +0000", None),
    ],
)
def test_a_timestamp_that_is_no_time_is_a_problem(timestamp: str, problem: str | None) -> None:
    assert said(Timestamp=timestamp).problem == problem


@pytest.mark.parametrize(
    ("timestamp", "is_plausible"),
    [
        ("2026-03-01T12:05:00.000001Z", False),
        ("2026-02-22T11:59:59Z", False),
        ("0001-01-01T00:00:00Z", False),
        ("2026-03-01T12:05:00Z", True),
        ("2026-02-22T12:00:00Z", True),
    ],
)
def test_a_timestamp_is_believed_if_it_lies_near_its_receipt(timestamp: str, is_plausible: bool) -> None:
    notice = said(Timestamp=timestamp).notice
    assert notice.time_is_plausible is is_plausible
    assert (notice.time is not None) is is_plausible


# Anything at all

PARTS = st.sampled_from([*FIELDS, "SiprecError", "=", "&", "%", "%00", "siprec-failed", "%F", "\u2603"])
BODIES = st.binary(max_size=200) | st.lists(PARTS, max_size=20).map(lambda parts: "".join(parts).encode())
TEXTS = st.text(st.characters(), max_size=20)
HEADERS = st.dictionaries(
    st.sampled_from(["telnyx-timestamp", "telnyx-signature-ed25519", "content-type", "user-agent"]), TEXTS
)


TOKENS = st.none() | st.just(TOKEN) | TEXTS
METHODS = st.sampled_from(["POST", "GET"])


@settings(deadline=None)
@given(BODIES, BODIES, HEADERS, st.booleans(), TOKENS, METHODS, st.booleans())
@example(b"", b"", {}, True, None, "POST", True)
def test_whatever_comes_is_read_or_doubted(
    body: bytes, query: bytes, headers: dict[str, str], sign: bool, token: str | None, method: str, must: bool
) -> None:
    headers = headers | SANDBOX.sign(body, NOW) if sign else headers
    came = delivery(body, method=method, token=token, query=query, headers=headers)
    try:
        callback = reader(must_be_signed=must).read(came)
    except RejectedCallback:
        assert not (sign and method == "POST")  # what Telnyx signed is never refused
        return
    for text in (callback.problem, callback.event, callback.notice.siprec_sid):
        if text:
            assert "\0" not in text
            text.encode()
