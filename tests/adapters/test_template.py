"""A spliced event is one that parsing would have given; anything else is left to the parser."""

from typing import Any

import pytest

from neuroroute.adapters import translator_for
from neuroroute.adapters.template import learn
from neuroroute.core import jsonbytes
from neuroroute.core.types import Dialect
from tests.support.transcripts.reader import client, target

SEEN = b'data: {"d":{"content":"Hi"},"f":null}\n\n'
SHOWN = b'data: {"x":{"text":"Hi"}}\n\n'


@pytest.mark.parametrize(
    ("chunk", "shown", "text"),
    [
        (b'data: {"d":{"content":"\\u00e9\\"\\n"},"f":null}\n\n', b'data: {"x":{"text":"\\u00e9\\"\\n"}}\n\n', b'\\u00e9\\"\\n'),
        (b'data: {"d":{"content":""},"f":null}\n\n', b'data: {"x":{"text":""}}\n\n', b""),
        (SEEN * 3, SHOWN * 3, b"HiHiHi"),
        (b'data: {"d":{"content":"a"},"f":1}\n\n', None, b""),
        (b'data: {"d":{"content":"a","b":"c"},"f":null}\n\n', None, b""),
        (b'data: {"d":{"content":"a\\"},"f":null}\n\n', None, b""),
        (b'data: {"d":{"content":"a\\x"},"f":null}\n\n', None, b""),
        (b'data: {"d":{"content":"a\nb"},"f":null}\n\n', None, b""),
        (SEEN + b'data: {"d":{"content":"a"},"f":1}\n\n' + SEEN, None, b""),
        (SEEN[:-1], None, b""),
        (b"", None, b""),
    ],
)
def test_splicing(chunk: bytes, shown: bytes | None, text: bytes) -> None:
    template = learn(SEEN, SHOWN)
    assert template is not None
    said = bytearray()
    assert template.splice(chunk, said) == shown
    assert said == text


def test_head_and_tail_may_not_share_a_quote() -> None:
    template = learn(SEEN, SEEN)
    assert template is not None and template.splice(b'data: {"d":{"content":"},"f":null}\n\n', bytearray()) is None


@pytest.mark.parametrize(
    "event", [b'data: {"content":"a","text":"b"}\n\n', b'data: {"content":""}\n\n', b"data: {}\n\n", b'data: {"content":7}\n\n']
)
def test_what_is_not_learned(event: bytes) -> None:
    assert learn(event, event) is None


def test_padding_stays_or_goes() -> None:
    padded = b'data: {"content":"Hi","obfuscation":"ab"}\n\n'
    same, bare = learn(padded, padded), learn(padded, SHOWN)
    assert same is not None and bare is not None and learn(SHOWN, padded) is None
    said = bytearray()
    two = b'data: {"content":"a","obfuscation":""}\n\ndata: {"content":"b","obfuscation":"xyz"}\n\n'
    assert same.splice(two, said) == two
    assert bare.splice(two, said) == b'data: {"x":{"text":"a"}}\n\ndata: {"x":{"text":"b"}}\n\n'
    assert said == b"abab"


def test_arguments_go_to_the_call_that_is_open() -> None:
    """Also where a provider uses the index of a block twice."""
    to = target("anthropic", "claude-opus-5")
    stream = translator_for(Dialect.CHAT, to).stream(client("chat", b"{}", stream=True), to)

    def sent(value: dict[str, Any]) -> list[Any]:
        out = stream.feed(b"event: %b\ndata: %b\n\n" % (value["type"].encode(), jsonbytes.dumps(value)))
        return [jsonbytes.loads(e[6:])["choices"][0]["delta"] for e in out.split(b"\n\n") if e]

    sent({"type": "message_start", "message": {"id": "m", "model": "x"}})
    for number in (0, 1):
        sent(
            {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": f"t{number}", "name": "f", "input": {}}}
        )
        for part in ("{", "}"):
            delta = {"type": "input_json_delta", "partial_json": part}
            [got] = sent({"type": "content_block_delta", "index": 0, "delta": delta})
            assert got["tool_calls"] == [{"index": number, "function": {"arguments": part}}]
        assert sent({"type": "content_block_stop", "index": 0}) == []
