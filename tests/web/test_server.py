"""The edge of the server, from raw sockets: slow heads, malformed requests, large bodies, draining."""

import asyncio
import json
import logging
import socket
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientSession, web

from neuroroute.web.server import Edge

LEFT = web.AppKey("left", asyncio.Event)
HEAD_TIMEOUT_S = 0.4
MAX_BYTES = 100_000


async def hello(request):
    return web.Response(text=f"read {len(await request.read())}")


async def slow(request):
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(int(request.query["ticks"])):
        await response.write(b"tick\n")
        await asyncio.sleep(0.1)
    await response.write(b"end\n")
    return response


async def broken(request):
    raise ValueError("with nr_secretsecretsecret")


async def left(request):
    try:
        await asyncio.sleep(30)
    finally:
        request.app[LEFT].set()
    return web.Response()


@asynccontextmanager
async def serving():
    app = web.Application()
    app[LEFT] = asyncio.Event()
    app.router.add_route("*", "/hello", hello)
    app.router.add_post("/v1/messages", hello)
    app.router.add_get("/slow", slow)
    app.router.add_get("/broken", broken)
    app.router.add_get("/left", left)
    edge = Edge(app, header_timeout_s=HEAD_TIMEOUT_S, max_body_bytes=MAX_BYTES)
    await edge.setup()
    listener = socket.create_server(("127.0.0.1", 0))
    await web.SockSite(edge, listener).start()
    try:
        yield edge, listener.getsockname()[1]
    finally:
        await edge.cleanup()


async def talk(port, *pieces, wait_s=5.0, pause_s=0.0):
    """Send the pieces; give what came back until the server closed, and how long that took. None: it did not close."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    try:
        for piece in pieces:
            if reader.at_eof():
                break
            writer.write(piece)
            await asyncio.sleep(pause_s)
        try:
            answer = await asyncio.wait_for(reader.read(), wait_s)
        except TimeoutError:
            answer = None
        except (ConnectionResetError, BrokenPipeError):
            answer = b""
        return answer, loop.time() - began_s
    finally:
        writer.close()


async def test_a_request_is_answered_without_telling_the_software():
    async with serving() as (_, port), ClientSession() as session, session.post(f"http://127.0.0.1:{port}/hello", data=b"12345") as answer:
        assert (answer.status, await answer.text()) == (200, "read 5")
        assert answer.headers["Server"] == ""


async def test_a_silent_connection_is_closed_at_the_deadline():
    async with serving() as (_, port):
        answer, took_s = await talk(port)
        assert answer == b"" and HEAD_TIMEOUT_S - 0.05 < took_s < HEAD_TIMEOUT_S + 0.5


async def test_a_head_that_trickles_is_closed_at_the_deadline():
    async with serving() as (_, port):
        answer, took_s = await talk(port, *[b"GET /hello HTTP/1.1\r\nX: "] + [b"a"] * 50, pause_s=0.02)
        assert answer == b"" and took_s < 2.0


async def test_a_second_head_has_its_own_deadline_and_idling_has_none():
    async with serving() as (edge, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):
            writer.write(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
            assert b"read 0" in await reader.readuntil(b"read 0")
            await asyncio.sleep(HEAD_TIMEOUT_S * 1.5)
        assert len(list(edge.edge.handlers())) == 1
        writer.write(b"GET /hel")
        assert await asyncio.wait_for(reader.read(), HEAD_TIMEOUT_S + 1) == b""
        writer.close()


async def test_a_slow_body_and_a_slow_answer_do_not_count_as_a_slow_head():
    async with serving() as (_, port):
        head = b"POST /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 10\r\n\r\n"
        answer, _ = await talk(port, head, *[b"x"] * 10, pause_s=HEAD_TIMEOUT_S / 5)
        assert answer.endswith(b"read 10")
        answer, took_s = await talk(port, b"GET /slow?ticks=8 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert b"end\n" in answer and took_s > HEAD_TIMEOUT_S


MALFORMED = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    b"GET / HTTP/1.1\r\nNo colon\r\n\r\n",
    b"GET / HTTP/1.1\r\nAuthorization: Bearer nr_secretsecretsecret\r\nX: \x00\r\n\r\n",
    b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: a\r\n" % n for n in range(500)) + b"\r\n",
    b"POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\nhello",
    b"POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello",
    b"POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    b"POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\nhello",
    b"POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /hello HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /hello HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    b"POST /hello HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n",
    b"POST /hello HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    b"POST /hello HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n\r\n",
]


@pytest.mark.parametrize("request_bytes", MALFORMED, ids=range(len(MALFORMED)))
async def test_malformed_requests_get_one_short_refusal_and_leave_no_trace(request_bytes, caplog):
    caplog.set_level(logging.DEBUG)
    async with serving() as (_, port):
        answer, _ = await talk(port, request_bytes)
        status = answer.split(b" ", 2)[1]
        assert status.startswith(b"4"), answer
        assert answer.count(b"HTTP/1.") == 1
        error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
        assert error["type"] == "invalid_request_error" and b"Traceback" not in answer
    assert "Traceback" not in caplog.text and "secret" not in caplog.text
    assert all(record.levelno <= logging.DEBUG for record in caplog.records)


@pytest.mark.parametrize("path", [b"/hello", b"/v1/messages"])
async def test_a_body_announced_as_too_large_is_refused_unread(path):
    async with serving() as (_, port):
        head = b"POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (path, MAX_BYTES + 1)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head)  # and not a byte of the body
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 1)
        assert b" 413 " in answer
        writer.write(b"x" * 1000)
        body = json.loads(await asyncio.wait_for(reader.read(), 3))
        assert "larger than the 100000 bytes" in body["error"]["message"]
        assert body.get("type") == ("error" if path == b"/v1/messages" else None)
        writer.close()


async def test_a_body_of_just_the_allowed_size_passes():
    async with (
        serving() as (_, port),
        ClientSession() as session,
        session.post(f"http://127.0.0.1:{port}/hello", data=b"x" * MAX_BYTES) as answer,
    ):
        assert await answer.text() == f"read {MAX_BYTES}"


async def test_a_bug_is_answered_with_an_id_and_logged_once(caplog):
    async with serving() as (_, port):
        answer, _ = await talk(port, b"GET /broken HTTP/1.1\r\nHost: a\r\n\r\n")
    body = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert b" 500 " in answer and "secret" not in str(body)
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.getMessage().split("(")[1].rstrip(")") in body["error"]["message"]


async def test_a_client_that_leaves_ends_its_handler():
    async with serving() as (edge, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /left HTTP/1.1\r\nHost: a\r\n\r\n")
        await asyncio.sleep(0.1)
        writer.close()
        await asyncio.wait_for(edge.app[LEFT].wait(), 1)


async def test_a_drain_finishes_streams_serves_idle_peers_once_and_refuses_new_ones():
    async with serving() as (edge, port):
        stream = asyncio.ensure_future(talk(port, b"GET /slow?ticks=15 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"Connection" not in await reader.readuntil(b"read 0")
        drain = asyncio.ensure_future(edge.drain(10))
        await asyncio.sleep(0.3)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
        last = await reader.read()
        assert b"Connection: close" in last and last.endswith(b"read 0")
        writer.close()
        assert await drain is True
        answer, took_s = await stream
        assert answer.endswith(b"end\n\r\n0\r\n\r\n") and took_s < 4


async def test_a_drain_gives_up_after_its_grace():
    async with serving() as (edge, port):
        stream = asyncio.ensure_future(talk(port, b"GET /slow?ticks=100 HTTP/1.1\r\nHost: a\r\n\r\n"))
        await asyncio.sleep(0.1)
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        assert await edge.drain(0.3) is False
        assert loop.time() - began_s < 1
        await edge.cleanup()
        answer, _ = await stream
        assert not answer.endswith(b"0\r\n\r\n"), "a cut stream must not look whole"
