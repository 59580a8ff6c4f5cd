"""Every lane to providers keeps the same promises: these tests run over each of them."""

import asyncio
import gzip
import os
import sys
import time
import zlib
from collections.abc import AsyncIterator, Callable

import pytest

from neuroroute.adapters.lane import HttpLane
from neuroroute.adapters.transport import Lane, SessionLane, Transport, UpstreamResponse
from neuroroute.core.errors import ClientGone, ConnectFailed, UpstreamBroken, UpstreamTimeout
from neuroroute.core.money import Reservation
from neuroroute.core.types import Timeouts, UpstreamRequest
from tests.support.upstream import CUT, RESET, STALL, Seen, Step, Upstream, cut, drip, raw, reset, sse, stall, stream, whole

LANES: dict[str, Callable[[], Lane]] = {"session": SessionLane, "own": HttpLane}


@pytest.fixture(params=list(LANES))
async def transport(request: pytest.FixtureRequest) -> AsyncIterator[Transport]:
    transport = Transport(LANES[request.param]())
    yield transport
    await transport.close()


@pytest.fixture
async def provider() -> AsyncIterator[Upstream]:
    async with Upstream() as provider:
        yield provider


def post(provider: Upstream, body: bytes | AsyncIterator[bytes] = b"{}", **headers: str) -> UpstreamRequest:
    sent = {"content-type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return UpstreamRequest(provider.base_url + "/chat/completions", sent, body)


async def drained(response: UpstreamResponse) -> bytes:
    data = b""
    while piece := await response.readany():
        data += piece
    return data


async def test_whole_answer(transport: Transport, provider: Upstream) -> None:
    provider.will(whole({"ok": True}, 201, x_thing="1"))
    async with transport.open(post(provider, b'{"a":1}', authorization="Bearer k"), Timeouts(), Reservation(0)) as response:
        assert response.status == 201
        assert response.headers["x-thing"] == "1"
        assert await response.read() == b'{"ok":true}'
    seen = provider.seen[0]
    assert (seen.method, seen.path, seen.body) == ("POST", "/v1/chat/completions", b'{"a":1}')
    assert seen.headers["authorization"] == "Bearer k"
    assert seen.headers["accept-encoding"] == "identity"
    assert seen.headers["host"] == f"127.0.0.1:{provider.port}"
    assert "user-agent" not in seen.headers


async def test_get_has_no_body(transport: Transport, provider: Upstream) -> None:
    provider.will(whole({"data": []}))
    request = UpstreamRequest(provider.base_url + "/models?limit=2&x=%2F", {}, b"", method="GET")
    async with transport.open(request, Timeouts(), Reservation(0)) as response:
        assert await response.read() == b'{"data":[]}'
    seen = provider.seen[0]
    assert (seen.method, seen.path, seen.query, seen.body) == ("GET", "/v1/models", "limit=2&x=%2F", b"")


async def test_stream_comes_as_it_is_sent(transport: Transport, provider: Upstream) -> None:
    provider.will(sse({"n": 1}, 0.1, {"n": 2}, 0.1))
    async with transport.open(post(provider), Timeouts(), Reservation(0)) as response:
        assert response.headers["content-type"] == "text/event-stream"
        assert await response.readany() == b'data: {"n":1}\n\n'
        assert await response.readany() == b'data: {"n":2}\n\n'
        assert await response.readany() == b"data: [DONE]\n\n"
        assert await response.readany() == b""
        assert await response.readany() == b""


async def test_connections_are_used_again(transport: Transport, provider: Upstream) -> None:
    for _ in range(5):
        provider.will(whole({"ok": True}), sse({"n": 1}))
        async with transport.open(post(provider), Timeouts(), Reservation(0)) as response:
            await response.read()
        async with transport.open(post(provider), Timeouts(), Reservation(0)) as response:
            await drained(response)
    assert provider.connections == 1


async def test_empty_answers(transport: Transport, provider: Upstream) -> None:
    provider.will(whole(b""), whole(b"", 204), stream())
    for status in (200, 204, 200):
        async with transport.open(post(provider), Timeouts(), Reservation(0)) as response:
            assert response.status == status
            assert await response.read() == b""


async def test_a_large_body_travels_both_ways(transport: Transport, provider: Upstream) -> None:
    data = bytes(range(256)) * (12 << 10)  # 3 MiB
    provider.will(whole(data), stream(*(data[at : at + 70_001] for at in range(0, len(data), 70_001))))
    for _ in range(2):
        async with transport.open(post(provider, data), Timeouts(), Reservation(0)) as response:
            assert await response.read() == data
    assert all(seen.body == data for seen in provider.seen)


async def test_a_body_in_pieces(transport: Transport, provider: Upstream) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for at in range(20):
            yield bytes([at]) * 50_000
            await asyncio.sleep(0)
        yield b""
        yield b"end"

    provider.will(whole({"ok": True}), whole({"ok": True}))
    async with transport.open(post(provider, pieces()), Timeouts(), Reservation(0)) as response:
        assert response.status == 200
    async with transport.open(post(provider, b"{}"), Timeouts(), Reservation(0)) as response:
        assert response.status == 200
    assert provider.seen[0].body == b"".join(bytes([at]) * 50_000 for at in range(20)) + b"end"
    assert provider.seen[0].headers["transfer-encoding"] == "chunked"
    assert provider.seen[1].body == b"{}"


async def test_a_body_in_pieces_of_known_length(transport: Transport, provider: Upstream) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"ab"
        yield b"cde"

    provider.will(whole({"ok": True}))
    async with transport.open(post(provider, pieces(), content_length="5"), Timeouts(), Reservation(0)) as response:
        assert await response.read() == b'{"ok":true}'
    assert provider.seen[0].body == b"abcde"
    assert "transfer-encoding" not in provider.seen[0].headers


async def test_a_client_that_leaves_while_its_body_is_sent_is_not_the_providers_fault(transport: Transport, provider: Upstream) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"half"
        raise ClientGone("the client left")

    with pytest.raises(ClientGone):
        async with transport.open(post(provider, pieces()), Timeouts(), Reservation(0)):
            pass


async def test_redirects_are_not_followed(transport: Transport, provider: Upstream) -> None:
    provider.will(whole(b"", 307, location="http://127.0.0.1:9/elsewhere"))
    async with transport.open(post(provider), Timeouts(), Reservation(0)) as response:
        assert response.status == 307


async def test_cookies_are_not_kept(transport: Transport, provider: Upstream) -> None:
    provider.will(whole({}, set_cookie="a=b"), whole({}))
    for _ in range(2):
        async with transport.open(post(provider), Timeouts(), Reservation(0)) as response:
            await response.read()
    assert "cookie" not in provider.seen[1].headers


async def test_nobody_listens(transport: Transport) -> None:
    with pytest.raises(ConnectFailed):
        async with transport.open(UpstreamRequest("http://127.0.0.1:1/v1", {}, b""), Timeouts(), Reservation(0)):
            pass


async def test_no_such_host(transport: Transport) -> None:
    with pytest.raises(ConnectFailed):
        async with transport.open(UpstreamRequest("http://nowhere.invalid/v1", {}, b""), Timeouts(), Reservation(0)):
            pass


async def test_plain_http_where_tls_is_asked(transport: Transport, provider: Upstream) -> None:
    request = UpstreamRequest(f"https://127.0.0.1:{provider.port}/v1", {}, b"")
    with pytest.raises(ConnectFailed):
        async with transport.open(request, Timeouts(connect_s=1.0), Reservation(0)):
            pass


async def test_connect_limit(transport: Transport) -> None:
    """A listener whose queue is full takes no more connections: the SYN goes unanswered."""
    import socket

    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        fillers = []
        for _ in range(3):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
            fillers.append(filler)
        began = time.monotonic()
        with pytest.raises(ConnectFailed):
            async with transport.open(UpstreamRequest(f"http://127.0.0.1:{port}/", {}, b""), Timeouts(connect_s=0.2), Reservation(0)):
                pass
        assert 0.15 < time.monotonic() - began < 0.7
        for filler in fillers:
            filler.close()


async def test_first_byte_limit(transport: Transport, provider: Upstream) -> None:
    provider.will(stall())
    began = time.monotonic()
    with pytest.raises(UpstreamTimeout):
        async with transport.open(post(provider), Timeouts(first_byte_s=0.2), Reservation(0)):
            pass
    assert 0.15 < time.monotonic() - began < 0.7
    await asyncio.wait_for(provider.seen[0].gone.wait(), 1)


async def test_first_byte_limit_holds_against_a_dripped_head(transport: Transport, provider: Upstream) -> None:
    head: list[bytes | float] = []
    for at in range(200):
        head += [b"HTTP/1.1 200 OK\r\n" if at == 0 else b"x-%d: 1\r\n" % at, 0.05]
    provider.will(raw(*head))
    began = time.monotonic()
    with pytest.raises(UpstreamTimeout):
        async with transport.open(post(provider), Timeouts(first_byte_s=0.3, idle_s=5), Reservation(0)):
            pass
    assert 0.25 < time.monotonic() - began < 0.8


async def test_idle_limit(transport: Transport, provider: Upstream) -> None:
    provider.will(sse({"n": 1}, STALL))
    async with transport.open(post(provider), Timeouts(idle_s=0.2), Reservation(0)) as response:
        assert await response.readany() == b'data: {"n":1}\n\n'
        began = time.monotonic()
        with pytest.raises(UpstreamTimeout):
            await response.readany()
        assert 0.15 < time.monotonic() - began < 0.7
    await asyncio.wait_for(provider.seen[0].gone.wait(), 1)


async def test_idle_limit_of_a_whole_answer(transport: Transport, provider: Upstream) -> None:
    provider.will(sse({"n": 1}, STALL))
    async with transport.open(post(provider), Timeouts(idle_s=0.2), Reservation(0)) as response:
        began = time.monotonic()
        with pytest.raises(UpstreamTimeout):
            await response.read()
        assert 0.15 < time.monotonic() - began < 0.7


@pytest.mark.parametrize("whole_read", [True, False])
async def test_total_limit_holds_against_a_drip(transport: Transport, provider: Upstream, whole_read: bool) -> None:
    provider.will(drip(b"x" * 200))
    began = time.monotonic()
    with pytest.raises(UpstreamTimeout):
        async with transport.open(post(provider), Timeouts(idle_s=1, total_s=0.4), Reservation(0)) as response:
            await (response.read() if whole_read else drained(response))
    assert 0.35 < time.monotonic() - began < 0.9


async def test_a_slow_reader_is_not_the_providers_silence(transport: Transport, provider: Upstream) -> None:
    provider.will(sse({"n": 1}, 0.02, {"n": 2}))
    async with transport.open(post(provider), Timeouts(idle_s=0.15), Reservation(0)) as response:
        await asyncio.sleep(0.4)
        assert (await drained(response)).endswith(b"[DONE]\n\n")


@pytest.mark.parametrize(
    "step", [cut(), reset(), raw(b"HTTP/1.1 200"), raw(b"SSH-2.0-OpenSSH_9.6\r\n")], ids=["cut", "reset", "half", "ssh"]
)
async def test_no_answer(transport: Transport, provider: Upstream, step: object) -> None:
    provider.will(step)  # type: ignore[arg-type]
    with pytest.raises(UpstreamBroken):
        async with transport.open(post(provider), Timeouts(), Reservation(0)):
            pass


@pytest.mark.parametrize("end", [CUT, RESET])
async def test_broken_off(transport: Transport, provider: Upstream, end: object) -> None:
    provider.will(sse({"n": 1}, 0.05, end), sse({"n": 1}, 0.05, end))
    with pytest.raises(UpstreamBroken):
        async with transport.open(post(provider), Timeouts(), Reservation(0)) as response:
            await drained(response)
    with pytest.raises(UpstreamBroken):
        async with transport.open(post(provider), Timeouts(), Reservation(0)) as response:
            await response.read()


async def test_shorter_than_promised(transport: Transport, provider: Upstream) -> None:
    provider.will(raw(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc"))
    with pytest.raises(UpstreamBroken):
        async with transport.open(post(provider), Timeouts(), Reservation(0)) as response:
            await response.read()


async def test_a_body_that_ends_with_the_connection(transport: Transport, provider: Upstream) -> None:
    provider.will(raw(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\nabc", 0.02, b"def"))
    async with transport.open(post(provider), Timeouts(), Reservation(0)) as response:
        assert await response.read() == b"abcdef"


async def test_interim_answers_are_passed_over(transport: Transport, provider: Upstream) -> None:
    provider.will(
        raw(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n",
            0.02,
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        )
    )
    async with transport.open(post(provider), Timeouts(), Reservation(0)) as response:
        assert (response.status, await response.read()) == (200, b"ok")
        assert "link" not in response.headers


async def test_leaving_the_block_cancels_at_once(transport: Transport, provider: Upstream) -> None:
    provider.will(sse({"n": 1}, STALL))
    async with transport.open(post(provider), Timeouts(), Reservation(0)) as response:
        await response.readany()
    await asyncio.wait_for(provider.seen[0].gone.wait(), 1)


async def test_cancelling_the_wait_for_the_head_cancels_at_once(transport: Transport, provider: Upstream) -> None:
    provider.will(stall())

    async def call() -> None:
        async with transport.open(post(provider), Timeouts(), Reservation(0)):
            pass

    task = asyncio.ensure_future(call())
    seen = await provider.arrived()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(seen.gone.wait(), 1)


async def test_cancelling_a_read_cancels_at_once(transport: Transport, provider: Upstream) -> None:
    provider.will(sse({"n": 1}, STALL))
    began = asyncio.Event()

    async def call() -> None:
        async with transport.open(post(provider), Timeouts(), Reservation(0)) as response:
            await response.readany()
            began.set()
            await response.readany()

    task = asyncio.ensure_future(call())
    await began.wait()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(provider.seen[0].gone.wait(), 1)


async def test_nothing_is_left_of_calls_that_were_given_up(transport: Transport, provider: Upstream) -> None:
    def answer(seen: Seen) -> Step:
        return stall() if len(provider.seen) % 2 else sse({"n": 1}, STALL)

    provider.auto = answer

    async def call() -> None:
        async with transport.open(post(provider), Timeouts(), Reservation(0)) as response:
            await drained(response)

    files = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    tasks = [asyncio.ensure_future(call()) for _ in range(60)]
    await provider.arrived(60)
    assert provider.open_now == 60
    for task in tasks:
        task.cancel()
    assert all(isinstance(end, asyncio.CancelledError) for end in await asyncio.gather(*tasks, return_exceptions=True))
    async with asyncio.timeout(1):
        while provider.open_now:
            await asyncio.sleep(0.01)
        while sys.platform == "linux" and len(os.listdir("/proc/self/fd")) > files:
            await asyncio.sleep(0.01)


async def test_an_error_of_the_block_is_left_alone(transport: Transport, provider: Upstream) -> None:
    provider.will(sse({"n": 1}, STALL))
    with pytest.raises(ConnectionResetError):
        async with transport.open(post(provider), Timeouts(), Reservation(0)) as response:
            await response.readany()
            raise ConnectionResetError("the client left")


async def test_a_slow_reader_holds_the_provider_back(transport: Transport, provider: Upstream) -> None:
    block = b"x" * 65536
    provider.will(stream(*([block] * 512)))  # 32 MiB
    async with transport.open(post(provider), Timeouts(), Reservation(0)) as response:
        await asyncio.sleep(0.3)
        assert not provider.seen[0].finished.is_set()
        received = 0
        while piece := await response.readany():
            received += len(piece)
    assert received == 512 * 65536


async def test_many_at_once(transport: Transport, provider: Upstream) -> None:
    provider.auto = lambda seen: whole(seen.body)

    async def call(number: int) -> None:
        body = b'{"n":%d}' % number
        async with transport.open(post(provider, body), Timeouts(), Reservation(0)) as response:
            assert await response.read() == body

    for _ in range(3):
        await asyncio.gather(*(call(number) for number in range(100)))
    assert provider.connections <= 100


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcdef",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1_0\r\n\r\n0123456789",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nab\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nabcd\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx-long: " + b"a" * 200_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"x-%d: %s\r\n" % (at, b"a" * 500) for at in range(400)) + b"\r\n",
    ],
    ids=["both", "both2", "two-lengths", "negative", "underscore", "bad-chunk", "long-chunk", "no-colon", "long-header", "long-head"],
)
async def test_ambiguous_framing_is_refused(transport: Transport, provider: Upstream, answer: bytes) -> None:
    provider.will(raw(answer))
    with pytest.raises(UpstreamBroken):
        async with transport.open(post(provider), Timeouts(first_byte_s=2, idle_s=2), Reservation(0)) as response:
            await response.read()


async def test_a_header_can_not_be_smuggled(transport: Transport, provider: Upstream) -> None:
    with pytest.raises(ConnectFailed):
        async with transport.open(post(provider, x_evil="1\r\nx-admin: yes"), Timeouts(), Reservation(0)):
            pass
    assert provider.seen == []


@pytest.mark.parametrize("stream_it", [False, True])
@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_an_answer_that_is_compressed_all_the_same(transport: Transport, provider: Upstream, coding: str, stream_it: bool) -> None:
    data = b"".join(b'data: {"n":%d}\n\n' % at for at in range(5000))
    packed = gzip.compress(data) if coding == "gzip" else zlib.compress(data)
    pieces = [packed[at : at + 999] for at in range(0, len(packed), 999)]
    provider.will(stream(*pieces, content_encoding=coding) if stream_it else whole(packed, content_encoding=coding))
    async with transport.open(post(provider), Timeouts(), Reservation(0)) as response:
        assert "content-encoding" not in response.headers and "content-length" not in response.headers
        assert (await drained(response) if stream_it else await response.read()) == data


@pytest.mark.parametrize("body", [gzip.compress(b"x" * 1000)[:-9], b"not gzip at all", b""], ids=["cut", "another", "empty"])
async def test_an_answer_that_is_compressed_badly(transport: Transport, provider: Upstream, body: bytes) -> None:
    provider.will(whole(body, content_encoding="gzip"))
    with pytest.raises(UpstreamBroken):
        async with transport.open(post(provider), Timeouts(), Reservation(0)) as response:
            await response.read()


async def test_a_compressed_answer_has_the_same_bound(transport: Transport, provider: Upstream) -> None:
    provider.will(whole(gzip.compress(bytes(65 << 20)), content_encoding="gzip"))
    with pytest.raises(UpstreamBroken, match="too large"):
        async with transport.open(post(provider), Timeouts(), Reservation(0)) as response:
            await response.read()


async def test_other_codings_pass(transport: Transport, provider: Upstream) -> None:
    provider.will(whole(b"\x0b\x02\x80hello\x03", content_encoding="br"))
    async with transport.open(post(provider), Timeouts(), Reservation(0)) as response:
        assert response.headers["content-encoding"] == "br"
        assert await response.read() == b"\x0b\x02\x80hello\x03"
