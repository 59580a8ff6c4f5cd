"""
What one upstream chunk costs a stream translator: `python -m tests.adapters.bench_feed`. Not a test; prints microseconds of CPU per chunk.
"""

import time
from collections.abc import Callable

from neuroroute.adapters import translator_for
from neuroroute.core.types import Dialect
from tests.support.transcripts.reader import client, target

Chunk = Callable[[int], bytes]


def chat(delta: str, more: str = "") -> bytes:
    choice = f'{{"index":0,"delta":{delta},"finish_reason":null}}'
    return f'data: {{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{choice}]{more}}}\n\n'.encode()


def said(i: int) -> str:
    return f'{{"content":" word{i}"}}'


def text(i: int) -> bytes:
    return chat(said(i))


def claude(i: int) -> bytes:
    return (
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" word%d"}}\n\n' % i
    )


def response(i: int) -> bytes:
    return (
        b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","sequence_number":%d,"item_id":"msg_1",'
        b'"output_index":0,"content_index":0,"delta":" word%d","logprobs":[]}\n\n' % (i, i)
    )


ROLE = chat('{"role":"assistant"}')
CALL = chat('{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}]}')
START = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[]}}\n\n'
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n'
)
CREATED = (
    b'event: response.created\ndata: {"type":"response.created","sequence_number":0,"response":{"id":"r","model":"m","output":[]}}\n\n'
)

CASES: list[tuple[str, str, str, str, bytes, Chunk]] = [
    ("chat passes", "chat", "openai", "m", ROLE, text),
    ("chat passes, model renamed", "chat", "openai", "inner", ROLE, text),
    ("chat passes, padded", "chat", "openai", "m", ROLE, lambda i: chat(said(i), f',"usage":null,"obfuscation":"{"x" * (i % 7)}"')),
    ("chat passes, 3 events a chunk", "chat", "openai", "m", ROLE, lambda i: text(i) * 3),
    (
        "chat passes, arguments",
        "chat",
        "openai",
        "m",
        CALL,
        lambda i: chat(f'{{"tool_calls":[{{"index":0,"function":{{"arguments":"k{i}"}}}}]}}'),
    ),
    ("chat passes, role each time", "chat", "openai", "m", ROLE, lambda i: chat('{"role":"assistant",' + said(i)[1:])),
    ("chat passes, no two alike", "chat", "openai", "m", ROLE, lambda i: chat(said(i), f',"n":{i}')),
    ("messages pass", "messages", "anthropic", "m", START, claude),
    ("responses pass", "responses", "openai", "m", CREATED, response),
    ("messages -> chat", "chat", "anthropic", "m", START, claude),
    ("chat -> messages", "messages", "openai", "m", ROLE, text),
    ("chat -> responses", "responses", "openai", "m", ROLE, text),
    ("messages -> chat -> responses", "responses", "anthropic", "m", START, claude),
]


def microseconds(dialect: str, protocol: str, upstream: str, start: bytes, chunk: Chunk, *, passes: bool) -> float:
    to = target(protocol, "m", upstream, speaks=["chat", dialect] if passes else ["chat"])
    stream = translator_for(Dialect(dialect), to).stream(client(dialect, b'{"model":"m","stream":true}', stream=True), to)
    stream.feed(start)
    chunks = [chunk(i) for i in range(1000)]
    best = float("inf")
    for _ in range(15):
        began = time.process_time()
        for piece in chunks:
            stream.feed(piece)
        best = min(best, time.process_time() - began)
    return best * 1000


if __name__ == "__main__":
    for name, dialect, protocol, upstream, start, chunk in CASES:
        print(f"{name:32} {microseconds(dialect, protocol, upstream, start, chunk, passes='pass' in name):6.2f} us")
