"""
The reference of every ratio: the least that an aiohttp proxy can do.

It passes POST /v1/chat/completions to a provider and the answer back, whole or piece by piece: no keys, no limits, no cache, no books.
`--client lane` puts the gateway's own upstream lane in place of aiohttp's client, which shows what that lane alone is worth.

    python -m tests.bench.bare_proxy --port 9200 --upstream http://127.0.0.1:9100/v1 [--client session|lane] [--server app|low]
"""

import argparse
import asyncio
import contextlib
import gc
import socket
from collections.abc import Awaitable, Callable

import aiohttp
import uvloop
from aiohttp import web

from neuroroute.adapters.lane import HttpLane
from neuroroute.adapters.transport import Transport
from neuroroute.core.money import Reservation
from neuroroute.core.types import Timeouts, UpstreamRequest

JSON = {"content-type": "application/json"}
SSE = {"content-type": "text/event-stream"}
Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


def by_session(upstream: str) -> Handler:
    """aiohttp's own client."""
    url = upstream + "/chat/completions"
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_read=120),
        auto_decompress=False,
    )

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        async with session.post(url, data=await request.read(), headers=JSON) as answer:
            if answer.content_type != "text/event-stream":
                return web.Response(body=await answer.read(), status=answer.status, headers=JSON)
            reply = web.StreamResponse(status=answer.status, headers=SSE)
            await reply.prepare(request)
            async for data in answer.content.iter_any():
                await reply.write(data)
            await reply.write_eof()
            return reply

    return handle


def by_transport(upstream: str, transport: Transport) -> Handler:
    """The gateway's transport, over either of its lanes."""
    url = upstream + "/chat/completions"
    limits = Timeouts()

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        async with transport.open(UpstreamRequest(url, JSON, await request.read()), limits, Reservation(0)) as answer:
            if not answer.headers["content-type"].startswith("text/event-stream"):
                return web.Response(body=await answer.read(), status=answer.status, headers=JSON)
            reply = web.StreamResponse(status=answer.status, headers=SSE)
            await reply.prepare(request)
            while data := await answer.readany():
                await reply.write(data)
            await reply.write_eof()
            return reply

    return handle


async def healthy(request: web.BaseRequest) -> web.StreamResponse:
    return web.Response(text="ok")


async def serve(args: argparse.Namespace) -> None:
    if args.client == "session":
        handle = by_session(args.upstream)
    elif args.client == "lane":
        handle = by_transport(args.upstream, Transport(HttpLane()))
    else:
        handle = by_transport(args.upstream, Transport())
    if args.server == "low":
        runner: web.BaseRunner = web.ServerRunner(web.Server(handle, access_log=None))  # type: ignore[type-arg]
    else:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_post("/v1/chat/completions", handle)
        app.router.add_get("/health", healthy)
        runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    listener = socket.create_server(("127.0.0.1", args.port), backlog=4096)
    await web.SockSite(runner, listener, backlog=4096).start()
    if args.freeze:
        gc.collect()
        gc.freeze()
    await asyncio.Event().wait()


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--port", type=int, default=9200)
    p.add_argument("--upstream", default="http://127.0.0.1:9100/v1")
    p.add_argument("--client", choices=["session", "lane", "transport"], default="session")
    p.add_argument("--server", choices=["app", "low"], default="app")
    p.add_argument("--freeze", action="store_true", help="freeze the garbage collector's view of what is there at the start")
    args = p.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(serve(args))


if __name__ == "__main__":
    main()
