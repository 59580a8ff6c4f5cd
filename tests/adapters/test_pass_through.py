"""Any other path: bytes there, bytes back, usage read on the way."""

from collections.abc import AsyncIterator

import pytest

from neuroroute.adapters import translator_for
from neuroroute.core.errors import StreamCut, UpstreamBroken, UpstreamBusy, UpstreamRefused
from neuroroute.core.types import Dialect, Usage
from tests.support.transcripts.reader import client, target

TO = target("openai", "whisper", "whisper-1", kind="audio")


async def pieces() -> AsyncIterator[bytes]:
    yield b"--x\r\n"


def test_method_path_query_and_headers_pass() -> None:
    headers = {
        "content-type": "multipart/form-data; boundary=x",
        "x-custom": "1",
        "authorization": "Bearer nr_x",
        "cookie": "c",
        "x-api-key": "k",
    }
    ours = client("pass", b"", method="DELETE", path="/files/file-1", query="a=1&b=%20", headers=headers)
    request = translator_for(Dialect.PASS, TO).request(ours, TO)
    assert (request.method, request.url, request.body) == ("DELETE", "https://provider.test/v1/files/file-1?a=1&b=%20", b"")
    assert request.headers == {
        "content-type": "multipart/form-data; boundary=x",
        "x-custom": "1",
        "Authorization": "Bearer key-of-provider",
    }


def test_a_multipart_body_passes_as_it_comes() -> None:
    chunks = pieces()
    ours = client("pass", b"", path="/audio/transcriptions", chunks=chunks, headers={"content-type": "multipart/form-data; boundary=x"})
    assert translator_for(Dialect.PASS, TO).request(ours, TO).body is chunks


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        (b'{"model":"whisper", "input":1.0}', b'{"model":"whisper-1", "input":1.0}'),
        (b'{"model":"other"}', b'{"model":"other"}'),
        (b'{"input":"x","neuroroute":{"tags":"a=b"}}', b'{"input":"x"}'),
        (b"", b""),
    ],
)
def test_a_json_body_gets_the_models_inner_name(raw: bytes, wanted: bytes) -> None:
    assert translator_for(Dialect.PASS, TO).request(client("pass", raw, path="/audio/speech"), TO).body == wanted


def test_anthropic_paths() -> None:
    to = target("anthropic", "claude-opus-5")
    request = translator_for(Dialect.PASS, to).request(client("pass", b"", method="GET", path="/messages/batches"), to)
    assert request.url == "https://provider.test/v1/messages/batches"
    assert request.headers == {"anthropic-version": "2023-06-01", "x-api-key": "key-of-provider"}


@pytest.mark.parametrize(
    ("kind", "data", "usage"),
    [
        ("application/json", b'{"data":[],"usage":{"input_tokens":5,"output_tokens":7}}', Usage(5, 7, source="provider")),
        ("application/json; charset=utf-8", b'{"usage":{"prompt_tokens":5,"total_tokens":5}}', Usage(5, 0, source="provider")),
        ("application/json", b'{"usage":{"type":"duration","seconds":3}}', Usage()),
        ("application/json", b'{"usage', Usage()),
        ("audio/mpeg", b'\xff\xfb"usage"', Usage()),
        ("text/plain", b"hello", Usage()),
        ("application/json", b"", Usage()),
    ],
)
def test_whole_answers(kind: str, data: bytes, usage: Usage) -> None:
    headers = {"Content-Type": kind, "Set-Cookie": "a=b", "Server": "x"}
    reply = translator_for(Dialect.PASS, TO).whole(client("pass", b""), TO, 201, headers, data)
    assert (reply.body, reply.usage, reply.status, reply.headers) == (data, usage, 201, {"content-type": kind})


def test_binary_streams_pass() -> None:
    stream = translator_for(Dialect.PASS, TO).stream(client("pass", b"", stream=True), TO)
    data = bytes(range(256)) * 8
    assert b"".join(stream.feed(data[i : i + 100]) for i in range(0, len(data), 100)) + stream.end() == data
    assert stream.usage == Usage() and stream.failure(StreamCut("x")) == b""


def test_event_streams_pass_and_are_read() -> None:
    data = (
        b'event: image_generation.partial_image\r\ndata: {"b64_json":"aaaa"}\r\n\r\n: c\r\n\r\n'
        b'event: image_generation.completed\r\ndata: {"b64_json":"bb","usage":{"input_tokens":3,"output_tokens":4}}\r\n\r\n'
    )
    for size in (1, 7, 1000):
        stream = translator_for(Dialect.PASS, TO).stream(client("pass", b"", stream=True), TO)
        assert b"".join(stream.feed(data[i : i + size]) for i in range(0, len(data), size)) + stream.end() == data
        assert stream.usage == Usage(3, 4, source="provider")
        assert b'"error"' in stream.failure(StreamCut("x"))


def test_an_error_before_the_first_byte_is_raised() -> None:
    stream = translator_for(Dialect.PASS, TO).stream(client("pass", b"", stream=True), TO)
    with pytest.raises(UpstreamBusy):
        stream.feed(b'data: {"error":{"message":"x","type":"overloaded_error"}}\n\n')


def test_a_missing_file_is_no_missing_model() -> None:
    error = translator_for(Dialect.PASS, TO).error(
        404, {}, b'{"error":{"message":"No such File object: file-1","type":"invalid_request_error"}}'
    )
    assert type(error) is UpstreamRefused and error.status == 404


def whole(data: bytes) -> bytes:
    return translator_for(Dialect.PASS, TO).whole(client("pass", b"", path="/x"), TO, 200, {"content-type": "application/json"}, data).body


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'{"error":"Unexpected endpoint or method. (POST /v1/x)"}', "Unexpected endpoint"),
        (b' {"type":"error", "error":{"type":"x","message":"it failed"}}', "it failed"),
    ],
)
def test_an_error_that_came_as_an_answer_is_an_error(data: bytes, words: str) -> None:
    with pytest.raises(UpstreamBroken, match=words):
        whole(data)


@pytest.mark.parametrize(
    "data",
    [b'{"error":{"message":"it failed"},"id":"ftjob-1","object":"fine_tuning.job"}', b'{"error":null}', b'{"type":"error"}', b'{"error'],
)
def test_an_object_with_an_error_of_its_own_passes(data: bytes) -> None:
    assert whole(data) == data
