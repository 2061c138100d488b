"""Keys are made, changed, rotated and revoked over HTTP, by those that may."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner

from service import cli
from service.domain.access import Scope
from tests.web.indoors import Caller, Indoors, JsonResponse

FAR = "2999-01-01T00:00:00Z"


@pytest.fixture
def boss(indoors: Indoors) -> Caller:
    """May do everything, for all accounts."""
    return indoors.limited()


def made(boss: Caller, name: str = "app", *scopes: str, **more: Any) -> dict[str, Any]:
    answer = boss.post("/v1/keys", json={"name": name, "scopes": scopes or ["sessions:read"], **more})
    assert answer.status_code == 201, answer.text
    return dict(answer.json)


def problem(answer: JsonResponse) -> tuple[int, str]:
    assert answer.mimetype == "application/problem+json", answer.text
    return answer.status_code, answer.json["type"].rpartition(":")[2]


def test_a_key_is_made_and_its_text_is_shown_once(indoors: Indoors, boss: Caller) -> None:
    answer = boss.post(
        "/v1/keys",
        json={"name": "app", "scopes": ["sessions:read"], "accounts": ["b", "a", "b"], "expires_at": FAR},
    )
    assert answer.status_code == 201
    key = dict(answer.json)
    text = key.pop("text")
    assert (key["name"], key["in_force"], key["scopes"]) == ("app", True, ["sessions:read"])
    assert key["accounts"] == ["a", "b"]
    (secret,) = key["secrets"]
    assert text.split("_")[1] == secret["id"].replace("-", "")
    assert (secret["expires_at"], secret["revoked_at"]) == ("2999-01-01T00:00:00.000000Z", None)
    assert indoors.bearing(text).get("/v1/sessions").status_code == 200
    shown = boss.get(answer.headers["Location"])
    assert (shown.status_code, shown.json) == (200, key)
    assert key in boss.get("/v1/keys").json["keys"]
    assert text not in boss.get("/v1/keys").text


def test_keys_are_listed_page_by_page(indoors: Indoors, boss: Caller) -> None:
    ids = [made(boss, f"app {n}")["id"] for n in range(5)]
    seen: list[str] = []
    query: dict[str, Any] = {"limit": 2}
    while True:
        page = boss.get("/v1/keys", query_string=query).json
        seen += [key["id"] for key in page["keys"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert seen[-5:] == ids
    assert len(seen) == 6


WRONG: list[dict[str, Any]] = [
    {},
    {"name": "x"},
    {"name": "x", "scopes": []},
    {"name": "x", "scopes": ["sessions"]},
    {"name": "x", "scopes": None},
    {"name": " ", "scopes": ["admin"]},
    {"name": "\u202e", "scopes": ["admin"]},
    {"name": "x" * 101, "scopes": ["admin"]},
    {"name": "x", "scopes": ["admin"], "accounts": []},
    {"name": "x", "scopes": ["admin"], "accounts": ["a\n"]},
    {"name": "x", "scopes": ["admin"], "accounts": [str(n) for n in range(101)]},
    {"name": "x", "scopes": ["admin"], "expires_at": "2020-01-01T00:00:00Z"},
    {"name": "x", "scopes": ["admin"], "expires_at": "2999-01-01T00:00:00"},
    {"name": "x", "scopes": ["admin"], "expires_at": 4102444800},
    {"name": "x", "scopes": ["admin"], "id": "1"},
]


def test_what_is_wrong_with_a_key_is_said_and_nothing_is_made(boss: Caller) -> None:
    for body in WRONG:
        answer = boss.post("/v1/keys", json=body)
        assert problem(answer) == (422, "invalid-request"), body
        assert answer.json["errors"], body
    assert len(boss.get("/v1/keys").json["keys"]) == 1


def test_a_name_is_given_once(boss: Caller) -> None:
    key = made(boss)
    for _ in range(2):
        answer = boss.post("/v1/keys", json={"name": "app", "scopes": ["admin"]})
        assert problem(answer) == (409, "key-name-taken")
        assert answer.json["title"] == "API key name taken"
        boss.delete(f"/v1/keys/{key['id']}")


def test_a_key_is_changed_and_what_is_left_out_stays(indoors: Indoors, boss: Caller) -> None:
    key = made(boss, "app", "sessions:read", accounts=["a"])
    path, client = f"/v1/keys/{key['id']}", indoors.bearing(key["text"])
    changed = boss.patch(path, json={"scopes": ["sessions:stop", "sessions:read"]}).json
    assert (changed["scopes"], changed["accounts"]) == (["sessions:read", "sessions:stop"], ["a"])
    changed = boss.patch(path, json={"accounts": None, "scopes": None}).json
    assert (changed["scopes"], changed["accounts"]) == (["sessions:read", "sessions:stop"], None)
    assert boss.patch(path, json={}).json == changed == boss.get(path).json
    assert client.get("/v1/sessions").status_code == 200
    boss.patch(path, json={"scopes": ["sessions:stop"], "accounts": ["b"]})
    assert problem(client.get("/v1/sessions")) == (403, "scope-missing")
    assert problem(boss.patch(path, json={"name": "another"})) == (422, "invalid-request")


def test_two_secrets_are_valid_at_once_and_one_may_be_revoked(indoors: Indoors, boss: Caller) -> None:
    key = made(boss, "app", "sessions:start", "sessions:read")
    path, old = f"/v1/keys/{key['id']}", indoors.bearing(key["text"])
    answer = boss.post(f"{path}/secrets")
    assert (answer.status_code, answer.json["id"]) == (201, key["id"])
    new = indoors.bearing(answer.json["text"])
    once = {"Idempotency-Key": "k"}
    started = [one.post("/v1/sessions", json={"call_sid": "c"}, headers=once) for one in (old, new)]
    assert [one.status_code for one in started] == [201, 201]
    assert started[0].json["id"] == started[1].json["id"]  # it is the same app
    assert started[1].json["requested_by"] == "app"
    third = boss.post(f"{path}/secrets", json={"expires_at": FAR})
    assert problem(third) == (409, "too-many-secrets")
    first, second = answer.json["secrets"]
    revoked = boss.delete(f"{path}/secrets/{first['id']}")
    assert (revoked.status_code, revoked.json["in_force"]) == (200, True)
    assert [one["in_force"] for one in revoked.json["secrets"]] == [False, True]
    assert [one.get("/v1/sessions").status_code for one in (old, new)] == [401, 200]
    assert boss.delete(f"{path}/secrets/{first['id']}").json == revoked.json
    third = boss.post(f"{path}/secrets", json={"expires_at": FAR})
    assert third.json["secrets"][2]["expires_at"].startswith("2999-01-01")
    assert boss.delete(f"{path}/secrets/{second['id']}").json["in_force"]


def test_a_revoked_key_opens_nothing_until_it_gets_another_secret(indoors: Indoors, boss: Caller) -> None:
    key = made(boss)
    path = f"/v1/keys/{key['id']}"
    boss.post(f"{path}/secrets")
    for _ in range(2):
        revoked = boss.delete(path)
        assert (revoked.status_code, revoked.json["in_force"]) == (200, False)
    assert indoors.bearing(key["text"]).get("/v1/sessions").status_code == 401
    again = boss.post(f"{path}/secrets").json
    assert (again["in_force"], again["name"], len(again["secrets"])) == (True, "app", 3)
    assert indoors.bearing(again["text"]).get("/v1/sessions").status_code == 200
    assert indoors.bearing(key["text"]).get("/v1/sessions").status_code == 401


def test_a_secret_ends_by_itself(indoors: Indoors, boss: Caller) -> None:
    key = made(boss, expires_at=(datetime.now(UTC) + timedelta(hours=1)).isoformat())
    client = indoors.bearing(key["text"])
    assert client.get("/v1/sessions").status_code == 200
    later = datetime.now(UTC) + timedelta(hours=2)
    object.__setattr__(indoors.context.services, "clock", lambda: later)
    assert client.get("/v1/sessions").status_code == 401
    shown = boss.get(f"/v1/keys/{key['id']}").json
    assert (shown["in_force"], shown["secrets"][0]["in_force"]) == (False, False)


def test_what_is_not_there_is_404(boss: Caller) -> None:
    nobody = "018f0000-0000-7000-8000-000000000000"
    for method, path in [
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("POST", "/secrets"),
        ("DELETE", f"/secrets/{nobody}"),
    ]:
        json: dict[str, Any] | None = {} if method in {"PATCH", "POST"} else None
        answer = boss.open(f"/v1/keys/{nobody}{path}", method=method, json=json)
        assert problem(answer) == (404, "unknown-key"), (method, path)
    one, other = made(boss), made(boss, "other")
    for secret in (nobody, other["secrets"][0]["id"]):
        answer = boss.delete(f"/v1/keys/{one['id']}/secrets/{secret}")
        assert problem(answer) == (404, "unknown-secret")
    assert boss.get(f"/v1/keys/{other['id']}").json["in_force"]


def test_nobody_grants_a_scope_that_they_lack(indoors: Indoors, boss: Caller) -> None:
    clerk = indoors.limited(Scope.ADMIN, Scope.READ)
    held = made(boss, "held", "sessions:read", "evidence:read")
    path = f"/v1/keys/{held['id']}"
    denied = 403, "right-not-held"
    evidence = {"name": "x", "scopes": ["sessions:read", "evidence:read"]}
    assert problem(clerk.post("/v1/keys", json=evidence)) == denied
    assert problem(clerk.patch(path, json={"scopes": ["sessions:read", "sessions:start"]})) == denied
    assert problem(clerk.post(f"{path}/secrets")) == denied  # whoever has its text has its rights
    assert clerk.patch(path, json={"accounts": ["a"]}).status_code == 200  # to take away is no grant
    assert problem(clerk.patch(path, json={"accounts": ["a", "b"]})) == denied
    assert clerk.patch(path, json={"scopes": ["sessions:read"]}).status_code == 200
    assert clerk.post(f"{path}/secrets").status_code == 201
    assert clerk.delete(path).status_code == 200
    assert clerk.post("/v1/keys", json={"name": "y", "scopes": ["admin"]}).status_code == 201


def test_an_admin_of_some_accounts_sees_and_grants_no_other(indoors: Indoors, boss: Caller) -> None:
    clerk = indoors.limited(accounts=["a", "b"])
    keys = {
        name: made(boss, name, accounts=accounts)
        for name, accounts in {"a": ["a"], "ab": ["b", "a"], "bc": ["b", "c"], "all": None}.items()
    }
    listed = [key["name"] for key in clerk.get("/v1/keys").json["keys"]]
    assert [name for name in listed if not name.startswith("limited")] == ["a", "ab"]
    assert len(listed) == 3  # and itself
    for name in ("bc", "all"):
        path = f"/v1/keys/{keys[name]['id']}"
        secret = f"{path}/secrets/{keys[name]['secrets'][0]['id']}"
        answers = [
            clerk.get(path),
            clerk.patch(path, json={"accounts": ["b"]}),
            clerk.delete(path),
            clerk.post(f"{path}/secrets"),
            clerk.delete(secret),
        ]
        assert {problem(answer) for answer in answers} == {(404, "unknown-key")}
        assert boss.get(path).json["in_force"]
    path = f"/v1/keys/{keys['a']['id']}"
    for accounts in (["a", "c"], None):
        assert problem(clerk.patch(path, json={"accounts": accounts})) == (403, "right-not-held")
        body = {"name": "new", "scopes": ["sessions:read"], "accounts": accounts}
        assert problem(clerk.post("/v1/keys", json=body)) == (403, "right-not-held")
    assert clerk.patch(path, json={"accounts": ["b"]}).status_code == 200
    assert clerk.post(f"{path}/secrets").status_code == 201
    assert clerk.delete(path).json["in_force"] is False


def test_when_it_was_used_last_is_shown_once_it_is_written(indoors: Indoors, boss: Caller) -> None:
    key = made(boss)
    path = f"/v1/keys/{key['id']}"
    assert (key["last_used_at"], key["secrets"][0]["last_used_at"]) == (None, None)
    before = datetime.now(UTC)
    assert indoors.bearing(key["text"]).get("/v1/sessions").status_code == 200
    assert indoors.bearing(key["text"] + "x").get("/v1/sessions").status_code == 401
    after = datetime.now(UTC)
    assert boss.get(path).json["last_used_at"] is None  # no request writes it
    indoors.context.services.last_used.run_once(after)
    shown = boss.get(path).json
    assert before <= datetime.fromisoformat(shown["last_used_at"]) <= after
    assert shown["secrets"][0]["last_used_at"] == shown["last_used_at"]
    listed = CliRunner().invoke(cli.main, ["keys", "list", "--database-url", indoors.database_url]).output
    (line,) = [one for one in listed.splitlines() if one.startswith("app\t")]
    written = datetime.fromisoformat(shown["last_used_at"]).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert line.endswith(f" in force, used {written}\tused {written}")
