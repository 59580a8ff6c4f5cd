"""The cache key: equal for equal calls, different for everything else."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from neuroroute.caching.keys import Share, cache_key, scope_of
from neuroroute.core.jsonbytes import dumps, loads
from neuroroute.core.types import Dialect, Principal, Role

CALL: dict[str, Any] = {
    "scope": "u:usr_1",
    "dialect": Dialect.CHAT,
    "path": "/chat/completions",
    "catalog_version": "7",
    "model": "auto:cheap",
    "body": {
        "model": "auto:cheap",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "image_url", "image_url": {"url": "u"}}]}],
        "temperature": 0,
        "max_tokens": 5,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "unknown_field": {"deep": [1, 2.5, None, True]},
    },
    "stream": False,
    "query": "",
    "steering": {"quality_floor": 0.5, "allow": ["a", "b"]},
    "headers": {"anthropic-beta": "x"},
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=12,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value inside a JSON value."""
    if path:
        yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in inner:
        yield from places(child, (*path, name))


def changed(body: Any, path: tuple[Any, ...], new: Any) -> Any:
    made = copy.deepcopy(body)
    at = made
    for name in path[:-1]:
        at = at[name]
    at[path[-1]] = new
    return made


@pytest.mark.parametrize(
    ("field", "other"),
    [
        ("scope", "u:usr_2"), ("dialect", Dialect.MESSAGES), ("dialect", Dialect.COMPLETIONS), ("path", "/embeddings"), ("catalog_version", "8"), ("catalog_version", None), ("model", "auto"),
        ("query", "a=1"), ("steering", {"quality_floor": 0.5, "allow": ["b", "a"]}), ("headers", None),
    ],
)  # fmt: skip
def test_each_part_of_a_call_changes_the_key(field: str, other: Any) -> None:
    assert cache_key(**CALL) != cache_key(**{**CALL, field: other})


@pytest.mark.parametrize("path", list(places(CALL["body"])), ids=str)
def test_each_value_of_the_body_changes_the_key(path: tuple[Any, ...]) -> None:
    for new in ("other", 12345, None, [], {"a": 1}):
        body = changed(CALL["body"], path, new)
        assert (body == CALL["body"]) == (cache_key(**CALL) == cache_key(**{**CALL, "body": body}))


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.text(max_size=6), JSON, max_size=5), st.data())
def test_bodies_have_one_key_exactly_if_the_model_sees_the_same(body: dict[str, Any], data: st.DataObject) -> None:
    body.pop("neuroroute", None)
    key = cache_key(**{**CALL, "body": body})
    turned = dict(reversed(list(body.items())))
    assert cache_key(**{**CALL, "body": turned}) == key
    assert cache_key(**{**CALL, "body": loads(dumps(body))}) == key
    assert cache_key(**{**CALL, "body": {**body, "neuroroute": {"explain": True}}}) == key
    found = list(places(body))
    assume(found)
    path = data.draw(st.sampled_from(found))
    other = changed(body, path, data.draw(JSON))
    if dumps(other) != dumps(body):
        assert cache_key(**{**CALL, "body": other}) != key


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(max_size=5), min_size=4, max_size=4), st.lists(st.text(max_size=5), min_size=4, max_size=4))
def test_parts_can_not_flow_into_one_another(one: list[str], other: list[str]) -> None:
    names = ("scope", "path", "model", "query")
    keys = [cache_key(**{**CALL, **dict(zip(names, values, strict=True))}) for values in (one, other)]
    assert (keys[0] == keys[1]) == (one == other)


def test_an_embedding_format_that_is_left_out_is_not_the_one_that_is_named() -> None:
    body = {"model": "e", "input": "x"}
    call = {**CALL, "dialect": Dialect.EMBEDDINGS}
    keys = {cache_key(**{**call, "body": {**body, **extra}}) for extra in ({}, {"encoding_format": "float"}, {"encoding_format": "base64"})}
    assert len(keys) == 3


def test_scopes_keep_tenants_apart() -> None:
    callers = [Principal(f"key_{k}", f"usr_{u}", Role.USER) for k, u in ((1, 1), (2, 1), (3, 2))]
    assert len({scope_of(caller, Share.KEY) for caller in callers}) == 3
    assert len({scope_of(caller, Share.USER) for caller in callers}) == 2
    assert len({scope_of(caller, Share.EVERYONE) for caller in callers}) == 1
    assert scope_of(Principal("a", "b", Role.USER), Share.KEY) != scope_of(Principal("b", "a", Role.USER), Share.USER)


FORMS: list[dict[str, Any]] = [
    {},
    {"stream": False},
    {"stream": True},
    {"stream": True, "stream_options": {"include_usage": True}},
    {"stream": None},
]


@pytest.mark.parametrize("dialect", list(Dialect))
def test_a_whole_answer_and_a_stream_are_one_where_each_can_be_told_as_the_other(dialect: Dialect) -> None:
    keys = {
        cache_key(**{**CALL, "dialect": dialect, "stream": form.get("stream") is True, "body": {**CALL["body"], **form}}) for form in FORMS
    }
    assert len(keys) == (1 if dialect in (Dialect.CHAT, Dialect.COMPLETIONS) else len(FORMS))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_caller_is_answered_with_anothers_answer_in_whatever_form(data: st.DataObject) -> None:
    """Two calls that differ in anything but their form have different keys: over all parts at once."""
    parts: dict[str, list[Any]] = {
        "scope": ["k:key_1", "k:key_2", "u:key_1", "u:usr_1", "*"],
        "dialect": [Dialect.CHAT, Dialect.COMPLETIONS, Dialect.MESSAGES],
        "path": ["/chat/completions", "/completions"],
        "catalog_version": [None, "None", "7"],
        "model": ["m", "auto"],
        "query": ["", "a=1"],
        "steering": [None, {"allowed_models": ["m"]}, {"policy": "m"}],
        "headers": [None, {"anthropic-beta": "x"}],
        "body": [{}, {"messages": []}, {"messages": [], "user": "a"}, {"messages": [], "streams": True}],
    }
    calls = [{name: data.draw(st.sampled_from(values)) for name, values in parts.items()} for _ in range(2)]
    drawn = [data.draw(st.sampled_from(FORMS[:4])) for _ in range(2)]
    keys = [cache_key(**{**c, "body": {**c["body"], **f}}, stream=f.get("stream") is True) for c, f in zip(calls, drawn, strict=True)]
    alike = calls[0] == calls[1] and (calls[0]["dialect"] is not Dialect.MESSAGES or drawn[0] == drawn[1])
    assert (keys[0] == keys[1]) == alike
