"""The fields of a callback: what makes two the same, and what cannot be read is named."""

from __future__ import annotations

import hashlib
import time
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.telnyx.callback_form import Form, Pairs

PAIRS = st.lists(st.tuples(st.binary(max_size=6), st.binary(max_size=6)), min_size=1, max_size=6)


def digest(body: bytes, query: bytes = b"", method: str = "POST") -> bytes:
    return Form.of(method, query, body).digest


def encode(pairs: Pairs, safe: str = "") -> bytes:
    written = [f"{quote_from_bytes(n, safe)}={quote_from_bytes(v, safe)}" for n, v in pairs]
    return "&".join(written).encode()


def encode_everything(pairs: Pairs) -> bytes:
    """Every byte escaped, in lower case where nobody else would."""
    return b"&".join(
        b"=".join(b"".join(b"%%%02x" % byte for byte in part) for part in pair) for pair in pairs
    )


@settings(deadline=None)
@given(PAIRS, st.data())
def test_neither_the_order_of_the_fields_nor_how_they_are_escaped_matters(
    pairs: Pairs, data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(pairs))
    same = {digest(encode(pairs)), digest(encode(shuffled, safe=":/~")), digest(encode_everything(shuffled))}
    assert len(same) == 1


@settings(deadline=None)
@given(PAIRS, PAIRS)
@example([(b"a", b"b"), (b"c", b"d")], [(b"a", b"b&c=d")])
@example([(b"ab", b"c")], [(b"a", b"bc")])
@example([(b"a", b""), (b"b", b"")], [(b"a", b"b")])
@example([(b"a", b"1")], [(b"a", b"1"), (b"a", b"1")])
@example([(b"a", b"\0\0\0\0\0\0\0\1b")], [(b"a", b""), (b"b", b"")])
def test_different_fields_never_have_the_same_digest(one: Pairs, other: Pairs) -> None:
    assert (digest(encode(one)) == digest(encode(other))) == (sorted(one) == sorted(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"a=b+c", b"a=b%20c"),
        (b"a=v3:x", b"a=v3%3Ax"),
        (b"a=1&b=2&", b"&b=2&&a=1"),
        (b"%61=%c3%BC", b"a=\xc3\xbc"),
    ],
)
def test_what_says_the_same_is_the_same(one: bytes, other: bytes) -> None:
    assert digest(one) == digest(other)


def test_only_what_is_signed_or_bound_makes_the_identity() -> None:
    assert digest(b"a=1", query=b"b=2") == digest(b"a=1", query=b"")
    assert digest(b"junk", query=b"a=1", method="GET") == digest(b"", query=b"a=1", method="GET")
    assert digest(b"", query=b"a=1", method="GET") == digest(b"a=1")


@pytest.mark.parametrize("body", [b"", b"a", b"&", b"a=1&b", b"a=%zz", b"a=%", b"a=%4", b'{"json": 1}'])
def test_what_is_no_clean_form_is_known_by_its_bytes(body: bytes) -> None:
    form = Form.of("POST", b"q=1", body)
    assert not form.is_clean
    assert "not a clean form" in form.problems
    assert form.digest != digest(body, query=b"q=2")
    assert form.digest != digest(body + b"x", query=b"q=1")
    assert form.digest == digest(body, query=b"q=1")


@settings(deadline=None)
@given(st.binary(max_size=40), st.binary(max_size=40), PAIRS)
def test_no_raw_bytes_pass_for_a_form(body: bytes, query: bytes, pairs: Pairs) -> None:
    raw = Form.of("POST", query, body)
    if not raw.is_clean:
        assert raw.digest != digest(encode(pairs), query)


@settings(deadline=None)
@given(st.binary(), st.binary(), st.sampled_from(["POST", "GET"]))
def test_any_bytes_can_be_read(body: bytes, query: bytes, method: str) -> None:
    form = Form.of(method, query, body)
    for text in (*form.problems, *(part for pair in form.texts for part in pair), form.get("a") or ""):
        assert "\0" not in text
        text.encode()  # raises on lone surrogates
    assert len(form.digest) == hashlib.sha256().digest_size


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"a=%00", "a field holds bytes that are no text"),
        (b"a=%ff", "a field holds bytes that are no text"),
        (b"a=\xff", "a field holds bytes that are no text"),
        (b"a=%ED%A0%80", "a field holds bytes that are no text"),  # a lone surrogate
        (b"%00=a", "a field holds bytes that are no text"),
        (b"a=1&a=1", "a is repeated"),
        (b"%61=1&a=2", "a is repeated"),
        (b"a=%E2%98%8E", None),
        (b"=1", None),
    ],
)
def test_a_problem_is_named(body: bytes, problem: str | None) -> None:
    assert Form.of("POST", b"", body).problems == ([problem] if problem else [])


def test_the_first_of_repeated_fields_counts() -> None:
    assert Form.of("POST", b"", b"a=1&b=2&a=3").get("a") == "1"


def test_problems_stay_readable_however_much_is_wrong() -> None:
    body = b"&".join(b"%d%s=1" % (number % 1000, b"n" * 500) for number in range(5000))
    problems = Form.of("POST", b"", body).problems
    assert len(problems) <= 10
    assert max(map(len, problems)) < 100


@pytest.mark.parametrize(
    "body",
    [b"a=" + b"x" * 2**20, b"a=" + b"%41" * (2**20 // 3), b"a=&" * (2**20 // 3), b"a&" * 2**19, b"%" * 2**20],
    ids=["one field", "escapes", "many fields", "many names", "broken escapes"],
)
def test_a_mebibyte_is_read_in_seconds(body: bytes) -> None:
    began = time.process_time()
    form = Form.of("POST", b"", body)
    assert form.digest
    assert form.get("nobody") is None
    assert isinstance(form.problems, list)
    assert time.process_time() - began < 5
