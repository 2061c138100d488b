"""A canary takes a callback's way and is kept nowhere; neither is taken for the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
import requests
from sqlalchemy import func, select

from service.canary import mark
from service.canary.mark import LIFETIME, Canary, CanaryKeys, ForgedCanary, UnknownCanary, Wish
from service.ledger.canary import Durability, Tried
from service.sandbox import Sandbox
from service.store.events import WATCH
from service.store.tables import callback, event, rejected_delivery, session
from service.web.asgi import Message
from service.web.canary import CanaryEndpoint
from service.web.pace import RejectionPace
from tests.house import SECRET_KEY, House

KEYS = CanaryKeys([SECRET_KEY])
MIB = 1024 * 1024


def now() -> datetime:
    return datetime.now(UTC)


def send(house: House, canary: Canary, path: str | None = None, **headers: str | None) -> requests.Response:
    """`path` instead of its own; a header that is None is left out."""
    given = {name: value for name, value in {**canary.headers, **headers}.items() if value is not None}
    url = f"{house.web.url}{path or canary.path}"
    return requests.post(url, data=canary.body, headers=given, timeout=30)


def counts(house: House) -> list[int]:
    """Of all rows, but for what the watch may find at any moment."""
    with house.database.read() as db:
        found = [
            db.scalar(select(func.count()).select_from(one)) for one in (session, callback, rejected_delivery)
        ]
        by_others = select(func.count()).select_from(event).where(event.c.actor != WATCH)
        return [count or 0 for count in (*found, db.scalar(by_others))]


@pytest.fixture
def served_here(served: House) -> Iterator[House]:
    """Nothing of what a test sends is kept."""
    before = counts(served)
    yield served
    assert counts(served) == before


def test_it_is_answered_with_what_each_step_took_and_is_not_kept(house: House) -> None:
    before = counts(house)
    canary = KEYS.make(now())
    answer = send(house, canary)
    assert answer.status_code == 200, house.web.log[-2000:]
    told = answer.json()
    assert (told["canary"], told["bytes"]) == (canary.id, len(canary.body))
    assert list(told["steps"]) == ["loop", "signature", "database", "spool"]
    assert all(step["seconds"] >= 0 for step in told["steps"].values())
    assert counts(house) == before


def test_with_or_without_a_slash_at_its_end(served_here: House) -> None:
    canary = KEYS.make(now())
    assert send(served_here, canary, f"{canary.path}/").status_code == 200


def test_a_body_as_large_as_a_callbacks_passes_and_no_larger_one(served_here: House) -> None:
    assert send(served_here, KEYS.make(now(), size=MIB)).json()["bytes"] == MIB
    assert send(served_here, KEYS.make(now(), size=MIB + 1)).status_code == 413


def test_it_is_answered_later_or_in_parts_if_it_asks_for_that(served_here: House) -> None:
    later = send(served_here, KEYS.make(now(), Wish(delay=timedelta(seconds=0.3))))
    assert later.status_code == 200
    assert later.elapsed >= timedelta(seconds=0.3)
    parted = send(served_here, KEYS.make(now(), Wish(in_parts=True)))
    assert parted.content.startswith(b" {")
    assert "content-length" not in parted.headers
    assert parted.json()["steps"]


def test_each_is_taken_once(served_here: House) -> None:
    canary = KEYS.make(now())
    assert [send(served_here, canary).status_code for _ in range(3)] == [200, 404, 404]


@pytest.mark.parametrize(
    "made_at",
    [now() - LIFETIME - timedelta(seconds=1), now() + 2 * LIFETIME + timedelta(minutes=5)],
    ids=["too old", "of the future"],
)
def test_one_of_another_time_is_unknown(served_here: House, made_at: datetime) -> None:
    assert send(served_here, KEYS.make(made_at)).status_code == 404


def test_one_of_another_ledger_is_unknown(served_here: House) -> None:
    others = CanaryKeys(["another secret that is long enough for a test"])
    assert send(served_here, others.make(now())).status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/callbacks/canary/",
        "/callbacks/canary/x",
        "/callbacks/canary//x",
        "/callbacks/canary/%00",
        "/callbacks/canary",
    ],
)
def test_without_a_token_of_ours_there_is_nothing(served_here: House, path: str) -> None:
    assert send(served_here, KEYS.make(now()), path).status_code == 404


def test_what_was_changed_on_the_way_is_noticed(served_here: House) -> None:
    for change in ("body", "telnyx-timestamp", "telnyx-signature-ed25519"):
        canary = KEYS.make(now())
        if change == "body":
            canary = Canary(canary.id, canary.path, canary.headers, canary.body + b".")
            assert send(served_here, canary).status_code == 403
        else:
            assert send(served_here, canary, **{change: None}).status_code == 403
    theirs, ours = KEYS.make(now()), KEYS.make(now())
    assert send(served_here, theirs, ours.path).status_code == 403  # each signature fits its own token alone


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
def test_other_methods_find_nothing_out(served_here: House, method: str) -> None:
    for path in (KEYS.make(now()).path, "/callbacks/canary/x"):
        answer = requests.request(method, f"{served_here.web.url}{path}", timeout=30)
        assert (answer.status_code, answer.headers["allow"], answer.content) == (405, "POST", b"")


def test_a_callback_of_telnyx_is_no_canary(served_here: House) -> None:
    sandbox = served_here.sandbox
    body = b"AccountSid=account-1&CallSid=v3:1&SiprecSid=s&SiprecEvent=siprec-started"
    headers = sandbox.sign(body)
    for path, status in (("/callbacks/canary/x", 404), (KEYS.make(now()).path, 403)):
        url = f"{served_here.web.url}{path}"
        assert requests.post(url, data=body, headers=headers, timeout=30).status_code == status


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_a_canary_is_no_callback(build: Callable[..., House]) -> None:
    """Not even where callbacks need no signature."""
    house = build(CALLBACK_SIGNATURE="if_present")
    canary = KEYS.make(now())
    token = canary.path.rpartition("/")[2]
    started = house.start().json()["id"]
    ours = house.callback_url().removeprefix(house.web.url)
    for path in ("/callbacks/siprec", f"/callbacks/siprec/{token}", ours):
        assert send(house, canary, path).status_code == 403
    unsigned: dict[str, str | None] = {"telnyx-signature-ed25519": None}
    assert send(house, canary, f"/callbacks/siprec/{token}", **unsigned).status_code == 404
    assert send(house, canary, "/callbacks/siprec", **unsigned).status_code == 403
    house.wait_for(started, "started")
    assert len(house.callbacks(started)) == 1
    assert send(house, canary, f"/callbacks/canary/{ours.rpartition('/')[2]}").status_code == 404


def test_a_canary_of_telnyxs_key_for_its_bytes_is_forged() -> None:
    """What is signed is never the same: Telnyx's begins with digits."""
    canary, sandbox = KEYS.make(now()), Sandbox()
    token = KEYS.token(canary.path.rpartition("/")[2], now())
    with pytest.raises(ForgedCanary):
        mark.read(token, sandbox.sign(canary.body), canary.body)


def test_an_earlier_secret_key_is_honoured_and_the_first_one_signs() -> None:
    keys = CanaryKeys(["a new secret", SECRET_KEY])
    token = KEYS.make(now()).path.rpartition("/")[2]
    assert keys.token(token, now()).text == token
    with pytest.raises(UnknownCanary):
        KEYS.token(keys.make(now()).path.rpartition("/")[2], now())


def test_of_many_that_are_not_ours_the_later_are_answered_later() -> None:
    """As rejected callbacks are; nothing is written, and no thread is asked."""
    sent: list[Message] = []
    postponed: list[bool] = []

    async def flood() -> None:
        endpoint = CanaryEndpoint(KEYS, tries_nothing, now, RejectionPace())
        state = {"postpone": lambda: postponed.append(True)}
        scope = {"method": "POST", "path": "/callbacks/canary/x", "headers": [], "state": state}
        await asyncio.gather(*(endpoint(scope, never, keep) for _ in range(300)))

    async def never() -> Message:
        raise AssertionError("its body is not read")

    async def keep(message: Message) -> None:
        sent.append(message)

    asyncio.run(flood())
    answers = [message for message in sent if message["type"] == "http.response.start"]
    assert {answer["status"] for answer in answers} == {404}
    closed = [answer for answer in answers if (b"connection", b"close") in answer["headers"]]
    assert len(closed) == len(postponed) > 0


def test_one_that_waits_is_answered_when_the_process_ends() -> None:
    canary = KEYS.make(now(), Wish(delay=timedelta(seconds=20)))
    sent: list[Message] = []

    async def serve() -> None:
        endpoint = CanaryEndpoint(KEYS, lambda: Durability(Tried(0.0), Tried(None)), now, RejectionPace())
        headers = [(name.lower().encode(), value.encode()) for name, value in canary.headers.items()]
        state = {"postpone": endpoint.end}  # which is called once it begins to wait
        scope = {"method": "POST", "path": canary.path, "headers": headers, "state": state}
        await asyncio.wait_for(endpoint(scope, receive, keep), 15)

    async def receive() -> Message:
        return {"type": "http.request", "body": canary.body}

    async def keep(message: Message) -> None:
        sent.append(message)

    asyncio.run(serve())
    assert sent[0]["status"] == 200


def tries_nothing() -> Durability:
    raise AssertionError("nothing is tried for it")
