"""What a key may do: what it holds, and nothing that it does not."""

from __future__ import annotations

import pytest

from service.domain.access import ALL_BUT_ADMIN, Access, Scope, is_name

READER = frozenset({Scope.READ})
BOTH = frozenset({"a", "b"})


def test_keys_of_before_keep_every_right_but_never_administer() -> None:
    assert set(Scope) - ALL_BUT_ADMIN == {Scope.ADMIN}
    assert Access() == Access(ALL_BUT_ADMIN, None)


def test_no_scope_implies_another() -> None:
    for scope in Scope:
        access = Access(frozenset({scope}))
        assert [one for one in Scope if access.allows(one)] == [scope]


def test_a_key_reaches_its_accounts_and_an_unlimited_one_all() -> None:
    assert [Access(READER, BOTH).reaches(one) for one in ("a", "b", "c", "")] == [True, True, False, False]
    assert Access(READER, None).reaches("c")
    assert not Access(READER, frozenset()).reaches("a")


@pytest.mark.parametrize(
    ("granter", "wanted", "may"),
    [
        (Access(), Access(), True),
        (Access(), Access(READER), True),
        (Access(), Access(frozenset({Scope.ADMIN})), False),
        (Access(frozenset({Scope.ADMIN})), Access(READER), False),
        (Access(READER, BOTH), Access(READER, frozenset({"a"})), True),
        (Access(READER, BOTH), Access(READER, BOTH), True),
        (Access(READER, BOTH), Access(READER, frozenset({"a", "c"})), False),
        (Access(READER, BOTH), Access(READER, None), False),
        (Access(READER, None), Access(READER, BOTH), True),
    ],
)
def test_nobody_grants_what_they_do_not_hold(granter: Access, wanted: Access, may: bool) -> None:
    assert granter.may_grant(wanted) is may


def test_what_a_key_has_already_may_stay_or_be_taken_from_it() -> None:
    admin = Access(frozenset({Scope.ADMIN}))
    held = Access(ALL_BUT_ADMIN, BOTH)
    assert admin.may_grant(held, held)
    assert admin.may_grant(Access(READER, frozenset({"a"})), held)
    assert not admin.may_grant(Access(READER, frozenset({"c"})), held)
    assert not admin.may_grant(Access(ALL_BUT_ADMIN, None), held)


def test_rights_are_not_put_together_of_two_that_hold_half_each() -> None:
    """Reading for b is neither the admin's, who reads nothing, nor the key's, which is for a."""
    admin = Access(frozenset({Scope.ADMIN}), BOTH)
    assert not admin.may_grant(Access(READER, BOTH), Access(READER, frozenset({"a"})))


@pytest.mark.parametrize("name", ["", " ", "a\nb", "\0", "\u202e", "x" * 101])
def test_a_name_is_printable(name: str) -> None:
    assert not is_name(name)
    assert is_name("ünïcode app")
