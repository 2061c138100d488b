"""The page of one session, its evidence, and its stop."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from urllib.parse import urljoin

import pytest
from sqlalchemy import text

from service.domain.access import Access, Scope
from service.domain.ids import new_id
from service.sandbox import Answer
from service.sandbox import Session as TelnyxSession
from tests.web.indoors import Indoors, JsonResponse
from tests.web.pages.visitor import Visitor, leads_to, token


def logged_in(indoors: Indoors, *scopes: Scope, accounts: list[str] | None = None) -> Visitor:
    access = Access(frozenset(scopes or Scope), None if accounts is None else frozenset(accounts))
    visitor = Visitor(indoors)
    visitor.log_in(indoors.new_key(f"visitor {new_id()}", access))
    return visitor


@pytest.fixture
def visitor(indoors: Indoors) -> Visitor:
    return logged_in(indoors)


def words(answer: JsonResponse) -> str:
    """What a reader reads."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", answer.text)).split())


def section(answer: JsonResponse, title: str) -> str:
    found = re.search(
        rf'<section class="card[^"]*" aria-label[^>]*>\s*<h2[^>]*>{title}.*?</section>', answer.text, re.S
    )
    assert found, answer.text
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", found[0])).split())


def test_it_begins_with_why_and_shows_both_clocks_and_every_callback(
    indoors: Indoors, visitor: Visitor
) -> None:
    session_id = indoors.started(reference="claim-77", labels={"team": "fraud"})
    for _ in range(2):
        indoors.tell("siprec-started", Timestamp="2026-11-28T10:00:01.250000Z")
    answer = visitor.get(f"/sessions/{session_id}")
    assert answer.status_code == 200
    assert words(answer).index("that it started") < words(answer).index("Timeline")
    shown = indoors.session(session_id)
    table = section(answer, "Timeline")
    for what in ("Requested by app-1", "Accepted by Telnyx", "siprec-started received"):
        assert what in table
    for at in (shown["requested_at"], shown["accepted_at"]):
        assert f'<time datetime="{at}">' in answer.text
    callbacks = section(answer, "Callbacks")
    assert "siprec-started" in callbacks
    assert callbacks.count("ed25519:") == 3  # the callback, and its two deliveries
    assert "style=" not in answer.text
    for link in ("?reference=claim-77", "?label=team%3Afraud", "?account_sid=account-1"):
        assert f'href="../sessions{link}"' in answer.text


def test_problems_of_callbacks_are_shown(indoors: Indoors, visitor: Visitor) -> None:
    session_id = indoors.started()
    indoors.tell("siprec-started", AccountSid="account-9", Timestamp="yesterday")
    (callback,) = indoors.callbacks(session_id)
    assert callback["problem"]
    for problem in callback["problem"].split("; "):
        assert problem in words(visitor.get(f"/sessions/{session_id}"))


def test_the_callbacks_have_pages(
    indoors: Indoors, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.web.pages.one_session.CALLBACKS", 2)
    session_id = indoors.started()
    for n in range(5):
        indoors.tell("siprec-started", Number=str(n))
    path, found = f"/sessions/{session_id}", list[str]()
    for _ in range(3):
        answer = visitor.get(path)
        found += re.findall(r'<tr id="callback-([^"]+)"', answer.text)
        more = re.search(r'href="([^"]+)">Further callbacks', answer.text)
        path = urljoin(path, unescape(more[1])) if more else ""
    assert found == [one["id"] for one in indoors.callbacks(session_id)]
    assert path == ""


def test_other_sessions_on_the_call_are_those_that_the_key_may_see(
    indoors: Indoors, visitor: Visitor
) -> None:
    one, two = indoors.started("c"), indoors.started("c")
    foreign = indoors.started("c", account_sid="account-2")
    assert one not in section(visitor.get(f"/sessions/{one}"), "Other sessions")
    for other in (two, foreign):
        assert other in section(visitor.get(f"/sessions/{one}"), "Other sessions")
    limited = logged_in(indoors, accounts=["account-1"])
    shown = section(limited.get(f"/sessions/{one}"), "Other sessions")
    assert two in shown
    assert foreign not in shown


def test_a_merged_session_leads_to_its_survivor(indoors: Indoors, visitor: Visitor) -> None:
    indoors.answers(Answer(fields={"sid": "the-sid"}))
    body = indoors.sandbox.compose(TelnyxSession("account-1", "v3:call-1", "the-sid"), "siprec-started")
    indoors.stranger.post("/callbacks/siprec", data=body, headers=indoors.sandbox.sign(body))
    (adopted,) = indoors.client.get("/v1/sessions").json["sessions"]
    survivor = indoors.start().json["id"]
    answer = visitor.get(f"/sessions/{adopted['id']}")
    assert f'href="../sessions/{survivor}"' in answer.text
    assert "Stop recording" not in answer.text
    assert visitor.get(f"/sessions/{survivor}").status_code == 200
    assert leads_to(visitor.get("/sessions?q=the-sid"), "/sessions") == f"/sessions/{survivor}"


def test_what_a_limited_key_may_not_see_does_not_exist_for_it(indoors: Indoors) -> None:
    session_id = indoors.started()
    indoors.tell("siprec-started")
    (callback,) = indoors.callbacks(session_id)
    limited = logged_in(indoors, accounts=["account-2"])
    own = indoors.started("own", account_sid="account-2")
    form = token(limited.get(f"/sessions/{own}"))
    for unknown in (session_id, new_id(), "x", "%00", "'", "../x", own + "x"):
        path = f"/sessions/{unknown}"
        assert limited.get(path).status_code == 404
        assert limited.get(f"{path}/stop").status_code == 404
        assert limited.send(f"{path}/stop", token=form).status_code == 404
        assert limited.send(f"{path}/callbacks/{callback['id']}", token=form).status_code == 404
    assert limited.send(f"/sessions/{own}/callbacks/{callback['id']}", token=form).status_code == 404
    assert len(indoors.sandbox.requests) == 2
    assert indoors.session(session_id)["stop_requested_at"] is None


def readings(indoors: Indoors) -> list[tuple[str, str]]:
    with indoors.context.database.read() as db:
        rows = db.execute(
            text("SELECT subject_id, actor FROM event WHERE subject_kind = 'evidence' ORDER BY sequence")
        )
        return [(row.subject_id, row.actor) for row in rows]


def test_raw_bytes_are_shown_to_who_may_read_them_and_that_is_written_down(indoors: Indoors) -> None:
    session_id = indoors.started()
    indoors.tell("siprec-started", Extra="<script>alert(1)</script>\u202e")
    with indoors.context.database.read() as db:
        (callback_id,) = db.scalars(text("SELECT id FROM callback"))
    reader, other = logged_in(indoors), logged_in(indoors, Scope.READ)
    path = f"/sessions/{session_id}/callbacks/{callback_id}"
    page = reader.get(f"/sessions/{session_id}")
    assert "Raw bytes" in page.text
    assert readings(indoors) == []
    answer = reader.send(path, token=token(page))
    assert answer.status_code == 200
    assert "<script>alert" not in answer.text
    assert "<script>alert(1)</script>⟨U+202E⟩" in words(answer)
    assert "%3Cscript%3Ealert%281%29%3C%2Fscript%3E" in answer.text  # as it came
    ((subject, actor),) = readings(indoors)
    assert subject == session_id
    assert actor.startswith("visitor ")
    shown = other.get(f"/sessions/{session_id}")
    assert "Raw bytes" not in shown.text
    assert other.send(path, token=token(shown)).status_code == 403
    assert reader.get(path).status_code in {404, 405}
    assert reader.send(path).status_code == 403  # not by our form
    assert len(readings(indoors)) == 1


def stop(visitor: Visitor, session_id: str) -> JsonResponse:
    path = f"/sessions/{session_id}/stop"
    form = visitor.get(path)
    more = {"again": "yes"} if 'name="again"' in form.text else {}
    return visitor.send(path, token=token(form), **more)


def test_a_stop_asks_first_and_then_telnyx(indoors: Indoors, visitor: Visitor) -> None:
    session_id = indoors.started()
    assert f'href="../sessions/{session_id}/stop"' in visitor.get(f"/sessions/{session_id}").text
    assert "Stop recording this call?" in visitor.get(f"/sessions/{session_id}/stop").text
    assert len(indoors.sandbox.requests) == 1
    path = leads_to(stop(visitor, session_id), f"/sessions/{session_id}/stop")
    assert "Telnyx took the stop" in words(visitor.get(path))
    assert indoors.sandbox.requests[-1].fields == {"Status": "stopped"}
    assert indoors.session(session_id)["stop_requested_by"].startswith("visitor ")
    indoors.tell("siprec-stopped")
    assert "Stop recording" not in visitor.get(f"/sessions/{session_id}").text
    assert "Nothing to stop" in visitor.get(f"/sessions/{session_id}/stop").text


def test_the_form_sent_twice_stops_once(indoors: Indoors, visitor: Visitor) -> None:
    session_id = indoors.started()
    path = f"/sessions/{session_id}/stop"
    form = token(visitor.get(path))
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: visitor.send(path, token=form), range(4)))
    led = sorted(leads_to(one, path).rpartition("=")[2] for one in answers)
    assert led == ["stop", *["stop-asked"] * 3]
    assert len(indoors.sandbox.requests) == 2
    assert "Telnyx was not asked again" in words(visitor.get(f"/sessions/{session_id}?done=stop-asked"))
    assert "Ask Telnyx again" in visitor.get(path).text
    leads_to(stop(visitor, session_id), path)
    assert len(indoors.sandbox.requests) == 3


@pytest.mark.parametrize(
    ("does", "status", "said"),
    [
        (
            Answer.error(422, code="90018", detail="<b>Call has ended"),
            422,
            "Telnyx refused the request <b>Call has ended",
        ),
        (Answer("reset"), 503, "No answer from Telnyx"),
        (Answer.error(401), 502, "Telnyx refused our credentials"),
    ],
)
def test_what_telnyx_answers_is_shown_in_words(
    indoors: Indoors, visitor: Visitor, does: Answer, status: int, said: str
) -> None:
    session_id = indoors.started()
    indoors.answers(stop=does)
    answer = stop(visitor, session_id)
    assert answer.status_code == status
    assert said in words(answer)
    assert "<b>Call" not in answer.text
    assert "Ask Telnyx again" in answer.text


def test_only_who_may_stop_is_offered_it(indoors: Indoors) -> None:
    session_id = indoors.started()
    reader, stopper = logged_in(indoors, Scope.READ), logged_in(indoors, Scope.STOP)
    page = reader.get(f"/sessions/{session_id}")
    assert "Stop recording" not in page.text
    path = f"/sessions/{session_id}/stop"
    assert reader.get(path).status_code == 403
    assert reader.send(path, token=token(page)).status_code == 403
    assert stopper.send(path).status_code == 403
    assert len(indoors.sandbox.requests) == 1
    assert stop(stopper, session_id).status_code == 303


EVIL = [
    "<script>alert(1)</script>",
    "'",
    '"',
    '"><img src=x onerror=alert(1)>',
    "javascript:alert(1)",
    "\u202etxt",
]


@pytest.mark.parametrize("evil", EVIL)
def test_whatever_apps_and_telnyx_write_is_text(
    furnish: Callable[..., Indoors], sandbox: object, evil: str
) -> None:
    indoors = furnish()
    visitor = logged_in(indoors)
    session_id = indoors.started(
        "call", reference=evil, name=evil, connector_name=evil, account_sid=evil, labels={"team": evil}
    )
    indoors.started(evil, account_sid=evil, reference=evil)
    indoors.tell("siprec-failed", "call", SiprecError=evil, **{evil: evil})
    indoors.tell(
        "siprec-stopped", "call", SiprecEvent=evil, AccountSid=evil, CallSid=evil, SiprecSid="\0" + evil
    )
    with indoors.context.database.read() as db:
        callbacks = list(db.scalars(text("SELECT id FROM callback WHERE session_id IS NOT NULL")))
        ids = list(db.scalars(text("SELECT id FROM session")))
    pages = [visitor.get(f"/sessions/{one}") for one in ids]
    form = token(pages[0])
    pages += [visitor.get(f"/sessions/{one}/stop") for one in ids]
    pages += [visitor.send(f"/sessions/{session_id}/callbacks/{one}", token=form) for one in callbacks]
    for query in (
        {},
        {"reference": evil},
        {"label": f"team:{evil}"},
        {"q": evil},
        {"nonsense": evil},
        {evil: "x"},
    ):
        pages.append(visitor.client.get("/sessions", query_string=query, base_url="https://localhost"))
    for answer in pages:
        assert answer.status_code in {200, 422}, answer.text
        for mark in ("<script>alert", "<img", "\u202e", "\0", 'href="javascript', "href='"):
            if mark != "\u202e" or "value=" not in answer.text:
                assert mark not in answer.text, mark
        assert not re.search(r'="[^"]*"[^\s/>?]', answer.text), "a quote ended an attribute"
    assert len(callbacks) == 2
