"""No tenant sees another's answer, and whatever reaches the model is part of the key: for any body, any caller, any field."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from neuroroute.caching.keys import FORM_FREE, Share, cache_key, scope_of
from neuroroute.core.types import Dialect, Principal, Role

NAMES = st.text(max_size=8)
LEAVES = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=12)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=8)
BODIES = st.dictionaries(NAMES.filter(lambda name: name not in ("neuroroute", "stream", "stream_options")), VALUES, max_size=5)
IDS = st.text("abcdef0123456789", min_size=1, max_size=8)
CALLS = st.fixed_dictionaries(
    {
        "scope": st.builds(lambda key, user, share: scope_of(Principal(key, user, Role.USER), share), IDS, IDS, st.sampled_from(Share)),
        "dialect": st.sampled_from(Dialect),
        "path": NAMES,
        "catalog_version": st.none() | st.integers(0, 9) | NAMES,
        "model": NAMES,
        "query": NAMES,
        "steering": st.none() | st.dictionaries(NAMES, LEAVES, min_size=1, max_size=3),
        "headers": st.none() | st.dictionaries(NAMES, NAMES, min_size=1, max_size=3),
        "body": BODIES,
    }
)


def key(call: dict[str, Any], stream: bool = False) -> bytes:
    return cache_key(stream=stream, **call)


def told(value: object) -> str:
    """A value so that only equal JSON is equal: True is not 1 here."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{name!r}:{told(value[name])}" for name in sorted(value)) + "}"
    return "[" + ",".join(map(told, value)) + "]" if isinstance(value, list) else repr(value)


@given(CALLS, CALLS, st.sampled_from(["scope", "dialect", "path", "catalog_version", "model", "query", "steering", "headers", "body"]))
def test_a_change_in_any_field_changes_the_key(call: dict[str, Any], other: dict[str, Any], name: str) -> None:
    changed = {**call, name: other[name]}
    assert (key(changed) == key(call)) == (told(changed[name]) == told(call[name]))


@given(CALLS, NAMES.filter(lambda name: name not in ("neuroroute", "stream", "stream_options")), VALUES)
def test_any_field_of_the_body_counts_and_its_place_does_not(call: dict[str, Any], name: str, value: Any) -> None:
    body = {**call["body"], name: value}
    assert (key({**call, "body": body}) == key(call)) == (name in call["body"] and told(call["body"][name]) == told(value))
    assert key({**call, "body": dict(reversed(body.items()))}) == key({**call, "body": body})


@given(CALLS, IDS, IDS, IDS, IDS)
def test_no_tenant_has_anothers_key(call: dict[str, Any], key_id: str, user_id: str, other_key: str, other_user: str) -> None:
    one, other = Principal("key_" + key_id, "usr_" + user_id, Role.USER), Principal("key_" + other_key, "usr_" + other_user, Role.USER)
    for share, same in ((Share.KEY, one.key_id == other.key_id), (Share.USER, one.user_id == other.user_id), (Share.EVERYONE, True)):
        keys = [key({**call, "scope": scope_of(principal, share)}) for principal in (one, other)]
        assert (keys[0] == keys[1]) == same
    assert key({**call, "scope": scope_of(one, Share.KEY)}) != key({**call, "scope": scope_of(one, Share.USER)})


@given(CALLS)
def test_the_form_is_part_of_the_key_where_one_can_not_be_told_as_the_other(call: dict[str, Any]) -> None:
    assert (key(call, stream=True) == key(call)) == (call["dialect"] in FORM_FREE)
