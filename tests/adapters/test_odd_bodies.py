"""No body of a client and no answer of a provider makes a translator fail in a way that is not foreseen."""

import copy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroroute.adapters import translator_for
from neuroroute.core import jsonbytes
from neuroroute.core.errors import BadRequest, UpstreamError
from neuroroute.core.types import Dialect
from tests.support.transcripts.reader import all_transcripts, client, play, target

ODD = st.sampled_from(
    [
        None,
        True,
        False,
        0,
        1,
        -1,
        1.5,
        "",
        "x",
        [],
        [None],
        ["x"],
        [5],
        [[]],
        [{}],
        {},
        {"x": 1},
        {"type": "x"},
        {"type": None},
        [{"type": "text"}],
    ]
)
REQUESTS = {
    t.name: (t.head["dialect"], jsonbytes.loads(t.sections["client request"].encode()))
    for t in all_transcripts()
    if "upstream request" in t.sections
}
WHOLES = [t for t in all_transcripts() if not t.stream]
STREAMS = [t for t in all_transcripts() if t.stream and "ends" not in t.head]


def paths(value: Any, so_far: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [so_far, *(p for k, v in inner for p in paths(v, (*so_far, k)))]


def changed(value: Any, path: tuple[Any, ...], odd: Any) -> Any:
    value = copy.deepcopy(value)
    place = value
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = odd
    return value


CASES = [(name, path) for name, (_, body) in REQUESTS.items() for path in paths(body) if path and path[0] not in ("model", "stream")]


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from(CASES),
    ODD,
    st.sampled_from(["openai", "anthropic"]),
    st.sampled_from(["m", "o3", "claude-sonnet-4-5", "claude-opus-5"]),
)
def test_odd_requests(case: tuple[str, tuple[Any, ...]], odd: Any, protocol: str, model: str) -> None:
    name, path = case
    dialect, body = REQUESTS[name]
    to = target(protocol, model, max_output_tokens=9000)
    ours = client(dialect, jsonbytes.dumps(changed(body, path, odd)), stream=True)
    try:
        request = translator_for(Dialect(dialect), to).request(ours, to)
    except BadRequest as error:
        assert error.param
    else:
        assert isinstance(jsonbytes.loads(request.body), dict)  # type: ignore[arg-type]


@pytest.mark.parametrize("dialect", ["chat", "messages", "responses"])
def test_bodies_of_great_depth(dialect: str) -> None:
    deep: Any = {}
    for _ in range(400):
        deep = {"a": deep}
    tool = {"type": "function", "function": {"name": "f", "parameters": deep}, "name": "f", "parameters": deep, "input_schema": deep}
    body = {
        "messages": [{"role": "user", "content": "x"}],
        "input": "x",
        "tools": [tool if dialect != "messages" else {"name": "f", "input_schema": deep}],
    }
    to = target("anthropic" if dialect == "chat" else "openai", "m")
    ours = replace(client(dialect, b"{}"), body=body)
    with pytest.raises(BadRequest, match="deep"):
        translator_for(Dialect(dialect), to).request(ours, to)


@pytest.mark.parametrize("t", WHOLES, ids=lambda t: t.name)
def test_odd_answers(t: Any) -> None:
    answer = jsonbytes.loads(t.upstream_bytes)
    for path in paths(answer):
        for odd in (None, 5, "x", [], {}, [5], {"x": 1}):
            data = jsonbytes.dumps(changed(answer, path, odd) if path else odd)
            try:
                reply = t.translator.whole(t.client, t.target, 200, {}, data)
            except UpstreamError:
                continue
            assert isinstance(jsonbytes.loads(reply.body), dict)


def stream_cases() -> list[tuple[Any, int, tuple[Any, ...]]]:
    cases = []
    for t in STREAMS:
        for k, event in enumerate(t.upstream_bytes.split(b"\n\n")):
            payload = event.partition(b"data: ")[2]
            if payload.startswith(b"{"):
                cases += [(t, k, path) for path in paths(jsonbytes.loads(payload)) if path]
    return cases


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(stream_cases()), ODD)
def test_odd_events(case: tuple[Any, int, tuple[Any, ...]], odd: Any) -> None:
    t, k, path = case
    events = t.upstream_bytes.split(b"\n\n")
    name, _, payload = events[k].partition(b"data: ")
    events[k] = name + b"data: " + jsonbytes.dumps(changed(jsonbytes.loads(payload), path, odd))
    stream = t.open()
    _, error = play(stream, [b"\n\n".join(events)])
    assert error is None or isinstance(error, UpstreamError)
    assert isinstance(stream.finish_reason, str)
    assert isinstance(stream.text(), str)
