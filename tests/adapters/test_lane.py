"""What only the own lane has: its pool, its retry of stale connections, its framing and its bounds."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator

import pytest

from neuroroute.adapters.lane import HttpLane
from neuroroute.adapters.transport import Transport
from neuroroute.core.errors import ConnectFailed, UpstreamBroken, UpstreamError, UpstreamTimeout
from neuroroute.core.money import Reservation
from neuroroute.core.types import Timeouts, UpstreamRequest
from tests.support.upstream import Upstream, sse, stream, whole
from tests.support.wire import Wire, request

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nx-a: 1, 2\r\ntransfer-encoding: Chunked\r\n\r\n"
    b"5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\nx-trailer: 1\r\n\r\n"
)


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    transport = Transport(HttpLane())
    yield transport
    await transport.close()


async def post(transport: Transport, url: str, body: bytes = b"{}", timeouts: Timeouts | None = None) -> tuple[int, bytes]:
    async with transport.open(
        UpstreamRequest(url, {"content-type": "application/json"}, body), timeouts or Timeouts(), Reservation(0)
    ) as response:
        return response.status, await response.read()


async def test_the_request_on_the_wire(transport: Transport) -> None:
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await request(reader))
        writer.write(OK)

    async with Wire(serve) as wire:
        headers = {"Authorization": "Bearer k", "Host": "evil", "Connection": "close", "Transfer-Encoding": "chunked"}
        async with transport.open(UpstreamRequest(wire.url + "?a=%2Fb", headers, b'{"a":1}'), Timeouts(), Reservation(0)) as response:
            assert await response.read() == b"ok"
    host = wire.url.split("/")[2].encode()
    assert seen == [
        b"POST /v1/chat/completions?a=%2Fb HTTP/1.1\r\nhost: " + host + b"\r\naccept-encoding: identity\r\n"
        b'Authorization: Bearer k\r\ncontent-length: 7\r\n\r\n{"a":1}'
    ]


async def test_a_stale_connection_is_replaced_once(transport: Transport) -> None:
    """The provider closes an idle connection at the moment when the next request is on its way."""
    served = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        for _ in range(2):
            await request(reader)
            if served == 1:
                served += 1
                writer.transport.abort()
                return
            served += 1
            writer.write(OK)

    async with Wire(serve) as wire:
        assert await post(transport, wire.url) == (200, b"ok")
        assert await post(transport, wire.url) == (200, b"ok")
        assert (served, wire.connections) == (3, 2)


async def test_no_second_try_once_an_answer_has_begun(transport: Transport) -> None:
    served = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        await request(reader)
        served += 1
        writer.write(OK)
        await request(reader)
        served += 1
        writer.write(b"HTTP/1.1 2")
        await writer.drain()

    async with Wire(serve) as wire:
        await post(transport, wire.url)
        with pytest.raises(UpstreamBroken):
            await post(transport, wire.url)
        assert served == 2


async def test_no_second_try_on_a_fresh_connection(transport: Transport) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)

    async with Wire(serve) as wire:
        with pytest.raises(UpstreamBroken):
            await post(transport, wire.url)
        assert wire.connections == 1


async def test_no_second_try_when_the_provider_worked_for_a_while(transport: Transport) -> None:
    served = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        await request(reader)
        writer.write(OK)
        await request(reader)
        served += 1
        await asyncio.sleep(1.1)

    async with Wire(serve) as wire:
        await post(transport, wire.url)
        with pytest.raises(UpstreamBroken):
            await post(transport, wire.url)
        assert (served, wire.connections) == (1, 1)


async def test_a_connection_closed_in_peace_is_not_used(transport: Transport) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(OK)
        await writer.drain()

    async with Wire(serve) as wire:
        for _ in range(3):
            assert await post(transport, wire.url) == (200, b"ok")
            await asyncio.sleep(0.02)
        assert wire.connections == 3


@pytest.mark.parametrize(
    "extra",
    [b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil", b"junk", b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\r\n"],
)
@pytest.mark.parametrize("later", [False, True])
async def test_bytes_that_nobody_asked_for_reach_nobody(transport: Transport, extra: bytes, later: bool) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(OK if later else OK + extra)
        if later:
            await asyncio.sleep(0.02)
            writer.write(extra)
        await reader.read()

    async with Wire(serve) as wire:
        for _ in range(2):
            assert await post(transport, wire.url) == (200, b"ok")
            await asyncio.sleep(0.4)  # long enough on a busy machine: bytes that come after the next request are its answer
        assert wire.connections == 2


@pytest.mark.parametrize("head", [b"connection: close\r\n", b"keep-alive: timeout=1\r\n"])
async def test_connections_that_may_not_be_kept(transport: Transport, head: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\n" + head + b"content-length: 2\r\n\r\nok")

    async with Wire(serve) as wire:
        for _ in range(2):
            assert await post(transport, wire.url) == (200, b"ok")
        assert wire.connections == 2


async def test_an_idle_connection_goes_when_the_provider_said_so(transport: Transport) -> None:
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nkeep-alive: timeout=2, max=10\r\ncontent-length: 2\r\n\r\nok")
        await reader.read()
        gone.set()

    async with Wire(serve) as wire:
        began = time.monotonic()
        await post(transport, wire.url)
        await asyncio.wait_for(gone.wait(), 3)
        assert 0.8 < time.monotonic() - began < 1.6


async def test_closing_the_lane_closes_idle_connections() -> None:
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(OK)
        await reader.read()
        gone.set()

    lane = HttpLane()
    async with Wire(serve) as wire:
        await post(Transport(lane), wire.url)
        await lane.close()
        await asyncio.wait_for(gone.wait(), 1)


async def test_an_answer_outlives_the_next_call_on_its_connection(transport: Transport) -> None:
    """The first answer is complete but unread while its connection serves another."""
    async with Upstream() as provider:
        provider.will(whole(b"first"), whole(b"second"))
        url = provider.base_url + "/x"
        async with transport.open(UpstreamRequest(url, {}, b"1"), Timeouts(), Reservation(0)) as first:
            await asyncio.sleep(0.05)
            async with transport.open(UpstreamRequest(url, {}, b"2"), Timeouts(), Reservation(0)) as second:
                assert await second.read() == b"second"
            assert await first.read() == b"first"
        assert provider.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 11\r\n\r\nhello world",
        CHUNKED,
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200\r\ncontent-type: text/plain\r\nx-a: 1, 2\r\n\r\nhello world",
    ],
    ids=["sized", "chunked", "until-close"],
)
async def test_answers_split_anywhere(transport: Transport, answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        at = int((await request(reader)).rpartition(b"\r\n\r\n")[2])
        writer.write(answer[:at])
        await writer.drain()
        await asyncio.sleep(0.002)
        writer.write(answer[at:])

    async with Wire(serve) as wire:
        for at in range(len(answer)):
            async with transport.open(UpstreamRequest(wire.url, {}, b"%d" % at), Timeouts(), Reservation(0)) as response:
                assert response.status == 200
                assert (response.headers["content-type"], response.headers["x-a"]) == ("text/plain", "1, 2")
                assert await response.read() == b"hello world"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\ncontent-length: 3, 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\ncontent-length: +3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\ncontent-length: 3\n\nabc",
        b"HTTP/1.1 200 OK\r\ncontent-length : 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nx: a\x00b\r\ncontent-length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\nabc\n0\n\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\nabc",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3;" + b"x" * 100_000 + b"\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n" + b"x-t: 1\r\n" * 20_000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx-t: " + b"1" * 200_000 + b"\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nabc",
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * 30 + OK,
        b"HTTP/3.7 200 OK\r\ncontent-length: 3\r\n\r\nabc",
        b"HTTP/1.1 99 Low\r\ncontent-length: 3\r\n\r\nabc",
        b"<html>hello</html>",
        b"\x15\x03\x01\x00\x02\x02\x46",
    ],
)
async def test_answers_that_are_refused(transport: Transport, answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(answer)
        await writer.drain()
        await asyncio.sleep(0.05)

    async with Wire(serve) as wire:
        with pytest.raises(UpstreamBroken):
            await post(transport, wire.url, timeouts=Timeouts(first_byte_s=3, idle_s=3))


async def test_broken_answers_end_in_bytes_or_in_an_error(transport: Transport) -> None:
    """Proper answers with bytes changed, dropped, doubled and cut: no hang, no other error, and nothing of one answer in the next."""
    dice = random.Random(7)
    proper = [OK, CHUNKED, b"HTTP/1.1 200 OK\r\n\r\nuntil the end", b"HTTP/1.1 204 No Content\r\n\r\n"]

    def broken() -> bytes:
        data = bytearray(dice.choice(proper))
        for _ in range(dice.randint(1, 3)):
            at = dice.randrange(len(data))
            match dice.randrange(5):
                case 0:
                    data[at] = dice.randrange(256)
                case 1:
                    del data[at : at + dice.randint(1, 9)]
                case 2:
                    data[at:at] = data[at : at + dice.randint(1, 9)]
                case 3:
                    data[at:at] = dice.choice(
                        [b"\r\n", b"\n", b"\0", b"content-length: 1\r\n", b"transfer-encoding: chunked\r\n", b"0\r\n\r\n"]
                    )
                case _:
                    del data[at:]
            if not data:
                break
        return bytes(data)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if b"proper" in await request(reader):
            writer.write(OK)
        else:
            writer.write(broken())

    async with Wire(serve) as wire:
        ended = 0
        for _ in range(400):
            with contextlib.suppress(UpstreamError):
                await asyncio.wait_for(post(transport, wire.url), 2)
                ended += 1
            assert await post(transport, wire.url, b"proper") == (200, b"ok")
        assert 20 < ended < 380


async def test_a_whole_answer_has_a_bound(transport: Transport) -> None:
    async with Upstream() as provider:
        provider.will(stream(*([b"x" * (1 << 20)] * 70)))
        with pytest.raises(UpstreamBroken, match="too large"):
            await post(transport, provider.base_url)


async def test_an_answer_before_the_request_is_sent_ends_the_sending(transport: Transport) -> None:
    sent = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(400):
            yield b"x" * 65536
            sent += 1
            await asyncio.sleep(0.005)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig")
        while await reader.read(1 << 20):
            pass

    async with Wire(serve) as wire:
        async with transport.open(UpstreamRequest(wire.url, {}, pieces()), Timeouts(), Reservation(0)) as response:
            assert (response.status, await response.read()) == (413, b"big")
        assert sent < 100
        assert await post(transport, wire.url) == (413, b"big")
        assert wire.connections == 2


@pytest.mark.parametrize("in_pieces", [False, True])
async def test_a_provider_that_does_not_take_the_request(transport: Transport, in_pieces: bool) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b"x" * (1 << 20)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(5)

    async with Wire(serve) as wire:
        began = time.monotonic()
        body = pieces() if in_pieces else b"x" * (64 << 20)
        with pytest.raises(UpstreamTimeout):
            async with transport.open(UpstreamRequest(wire.url, {}, body), Timeouts(first_byte_s=0.4), Reservation(0)):
                pass
        assert 0.35 < time.monotonic() - began < 4.0  # far from the 5 s of the provider, also on a busy machine


async def test_a_provider_that_takes_the_request_slowly_is_waited_for(transport: Transport) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        left = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        while left:
            left -= len(await reader.read(2 << 20))
            await asyncio.sleep(0.02)
        writer.write(OK)

    async with Wire(serve) as wire:
        assert await post(transport, wire.url, b"x" * (12 << 20), Timeouts(first_byte_s=0.5)) == (200, b"ok")


async def test_a_slow_source_of_the_request_is_waited_for(transport: Transport) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x"
            await asyncio.sleep(0.2)

    async with Upstream() as provider:
        provider.will(whole(b"ok"))
        async with transport.open(
            UpstreamRequest(provider.base_url, {}, pieces()), Timeouts(first_byte_s=0.15), Reservation(0)
        ) as response:
            assert response.status == 200


async def test_a_stalled_reader_costs_little_memory(transport: Transport) -> None:
    async with Upstream() as provider:
        provider.will(stream(*([b"x" * 65536] * 512)))
        async with transport.open(UpstreamRequest(provider.base_url, {}, b""), Timeouts(), Reservation(0)) as response:
            await asyncio.sleep(0.2)
            assert response.size <= 192 << 10  # type: ignore[attr-defined]
            assert not provider.seen[0].finished.is_set()


async def test_a_read_given_up_can_be_taken_up_again(transport: Transport) -> None:
    """The gateway stops waiting to send a keep-alive comment, then goes on."""
    async with Upstream() as provider:
        provider.will(sse({"n": 1}, 0.2, {"n": 2}))
        async with transport.open(UpstreamRequest(provider.base_url, {}, b""), Timeouts(), Reservation(0)) as response:
            assert await response.readany() == b'data: {"n":1}\n\n'
            for _ in range(3):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.03):
                        await response.readany()
            assert (await response.readany()).startswith(b'data: {"n":2}\n\n')


async def test_idle_connections_are_bounded(transport: Transport) -> None:
    async with Upstream() as provider:
        provider.auto = lambda seen: whole(b"ok", delay_s=0.3)
        await asyncio.gather(*(post(transport, provider.base_url) for _ in range(300)))
        assert provider.connections == 300
        pool = next(iter(transport._web._pools.values()))  # type: ignore[attr-defined]
        assert pool.in_all == 256


@pytest.mark.parametrize(
    "url", ["ftp://127.0.0.1/x", "http:///x", "http://user:pw@127.0.0.1/", "http://127.0.0.1:99999/", "http://127.0.0.1/a b", "x"]
)
async def test_addresses_that_can_not_be_asked(transport: Transport, url: str) -> None:
    with pytest.raises(ConnectFailed):
        await post(transport, url)
