"""The URL that Telnyx calls back to: only we can make one, and a rotated secret still reads it."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from itsdangerous import Signer

from service.domain.ids import new_id
from service.domain.start import CallbackMethod
from service.telnyx.callback_url import CallbackUrls, Target

OLD, NEW = "an old secret of enough characters", "a new secret of enough characters."
PUBLIC_URL = "https://ledger.example.com/base"
SESSION_ID = "0195f7a0-1111-7222-8333-444455556666"


def token(callback_urls: CallbackUrls, method: CallbackMethod = CallbackMethod.POST) -> str:
    return callback_urls.of(SESSION_ID, method).rpartition("/")[2]


def session_id(callback_urls: CallbackUrls, token: str) -> str | None:
    target = callback_urls.read(token)
    return target.session_id if target else None


def test_the_url_holds_the_session_and_needs_no_escaping() -> None:
    callback_urls = CallbackUrls(PUBLIC_URL, [NEW])
    url = callback_urls.of(SESSION_ID)
    assert url.startswith(f"{PUBLIC_URL}/callbacks/siprec/")
    assert quote(token(callback_urls), safe="") == token(callback_urls)
    assert session_id(callback_urls, token(callback_urls)) == SESSION_ID


def test_the_token_holds_the_method_too_and_is_short() -> None:
    callback_urls = CallbackUrls(PUBLIC_URL, [NEW])
    for method in CallbackMethod:
        assert callback_urls.read(token(callback_urls, method)) == Target(SESSION_ID, method)
        assert len(token(callback_urls, method)) < 100


def test_the_method_cannot_be_changed() -> None:
    callback_urls = CallbackUrls(PUBLIC_URL, [NEW])
    assert callback_urls.read(token(callback_urls).replace(".POST.", ".GET.")) is None


def test_tokens_of_an_earlier_secret_are_read_after_it_was_rotated() -> None:
    old, rotated = CallbackUrls(PUBLIC_URL, [OLD]), CallbackUrls(PUBLIC_URL, [NEW, OLD])
    assert session_id(rotated, token(old)) == SESSION_ID
    assert session_id(rotated, token(rotated)) == SESSION_ID


def test_the_first_secret_signs() -> None:
    rotated = CallbackUrls(PUBLIC_URL, [NEW, OLD])
    assert token(rotated) == token(CallbackUrls(PUBLIC_URL, [NEW]))
    assert session_id(CallbackUrls(PUBLIC_URL, [OLD]), token(rotated)) is None


def test_a_forgotten_secret_reads_nothing() -> None:
    assert session_id(CallbackUrls(PUBLIC_URL, [NEW]), token(CallbackUrls(PUBLIC_URL, [OLD]))) is None


def test_the_same_secret_signs_other_things_otherwise() -> None:
    assert session_id(CallbackUrls(PUBLIC_URL, [NEW]), Signer(NEW).sign(SESSION_ID).decode()) is None


@pytest.mark.parametrize(
    "forge", [lambda t: t[:-1], lambda t: t + "A", lambda t: t.replace("5", "6", 1), str.upper]
)
def test_a_token_that_was_tampered_with_names_nobody(forge: object) -> None:
    assert callable(forge)
    callback_urls = CallbackUrls(PUBLIC_URL, [NEW])
    assert session_id(callback_urls, forge(token(callback_urls))) is None


def test_a_signature_fits_one_session_only() -> None:
    callback_urls = CallbackUrls(PUBLIC_URL, [NEW])
    signature = token(callback_urls).rpartition(".")[2]
    assert session_id(callback_urls, f"{new_id()}.POST.{signature}") is None


@settings(deadline=None)
@given(st.text(st.characters()) | st.from_regex(r"\A[\w-]+\.[\w-]+\Z"))  # lone surrogates and NUL too
def test_any_text_can_be_asked_for(text: str) -> None:
    assert session_id(CallbackUrls(PUBLIC_URL, [NEW, OLD]), text) is None
