"""Edits of JSON bytes change what they are asked to change and nothing else."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroroute.core import jsonbytes

TEXT = st.text(st.characters(codec="utf-8") | st.sampled_from('"\\{}[],: '), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
KEYS = TEXT | st.sampled_from(["model", "a", 'mo"del', "models"])


@settings(deadline=None)
@given(st.dictionaries(KEYS, JSON, max_size=5), KEYS, st.booleans())
def test_an_edit_is_what_a_dict_would_do(value: dict[str, Any], key: str, indented: bool) -> None:
    raw = jsonbytes.dumps_pretty(value).encode() if indented else jsonbytes.dumps(value)
    assert jsonbytes.loads(jsonbytes.edit(raw, {key: b"[7]"})) == {**value, key: [7]}
    assert jsonbytes.loads(jsonbytes.edit(raw, {key: None})) == {k: v for k, v in value.items() if k != key}
    assert jsonbytes.loads(jsonbytes.set_model(raw, 'x"y')) == {**value, "model": 'x"y'}


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        (b'{"model":"a","t":1.0}', b'{"model":"b","t":1.0}'),
        (b'{ "t" : 1e0, "model" : "a" }', b'{ "t" : 1e0, "model":"b" }'),
        (b'{"t":"\\"model\\":\\"x\\"","model":"a"}', b'{"t":"\\"model\\":\\"x\\"","model":"b"}'),
        (b'{"t":{"model":"x"},"model":"a"}', b'{"t":{"model":"x"},"model":"b"}'),
        (b'{"t":"model","model":"a"}', b'{"t":"model","model":"b"}'),
        (b'{"model":null}', b'{"model":"b"}'),
        (b'{"model":"a\\"b"}', b'{"model":"b"}'),
    ],
)
def test_only_the_model_changes(raw: bytes, wanted: bytes) -> None:
    assert jsonbytes.set_model(raw, "b") == wanted


def test_half_a_surrogate_pair_is_written() -> None:
    assert jsonbytes.dumps({"a": "x\ud83d"}) == b'{"a":"x?"}'
