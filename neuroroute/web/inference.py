"""The endpoints that end at a model. What happens then stands in `chain.life`."""

from typing import Final

from aiohttp import web

from neuroroute.chain.call import Call
from neuroroute.chain.life import live
from neuroroute.chain.services import Services
from neuroroute.core.clock import monotonic_s
from neuroroute.core.types import Dialect
from neuroroute.web.identity import bearer
from neuroroute.web.lifecycle import Lifecycle
from neuroroute.web.paths import below_v1
from neuroroute.web.sink import HttpSink, HttpSource, LineSink
from neuroroute.web.state import KEEP_ALIVE, LIFECYCLE, SERVICES

DIALECTS: Final = {
    "/v1/chat/completions": Dialect.CHAT,
    "/v1/responses": Dialect.RESPONSES,
    "/v1/messages": Dialect.MESSAGES,
    "/v1/completions": Dialect.COMPLETIONS,
    "/v1/embeddings": Dialect.EMBEDDINGS,
}
"""Where calls of models come in, and what is spoken there."""


async def model_call(request: web.Request) -> web.StreamResponse:
    """POST below /v1: a call of a model in the dialect of its path, answered whole or as a stream of events."""
    return await infer(request, *opened(request, DIALECTS[request.path], request.path[3:]))


async def pass_through(request: web.Request) -> web.StreamResponse:
    """Any other path below /v1"""
    return await infer(request, *opened(request, Dialect.PASS, below_v1(request)))


async def infer(request: web.Request, call: Call, sink: HttpSink) -> web.StreamResponse:
    """One call, from its head to its last byte."""
    await lived(call, sink, request.app[SERVICES], request.app[LIFECYCLE])
    return sink.response or web.Response(status=499)  # nobody is there to read it


async def lived(call: Call, sink: LineSink, s: Services, lifecycle: Lifecycle) -> None:
    """The life of a call, seen by health checks and the drain."""
    lifecycle.live_calls += 1
    s.metrics.running += 1
    try:
        await live(call, sink, s)
    finally:
        lifecycle.live_calls -= 1
        s.metrics.running -= 1
        sink.close()


def opened(request: web.Request, dialect: Dialect, path: str, group: str = "v1") -> tuple[Call, HttpSink]:
    """The state of a call that begins now, and where its answer goes."""
    settings = request.app[SERVICES].settings
    headers = request.headers
    call = Call(
        source=HttpSource(request, settings.max_body_bytes, settings.body_timeout_s),
        bearer=bearer(headers),
        started_s=monotonic_s(),
        dialect=dialect,
        method=request.method,
        path=path,
        query=request.rel_url.raw_query_string if "?" in request._message.path else "",
        headers=headers,
        group=group,
        client_request_id=client_request_id(headers.get("X-Request-ID")),
    )
    return call, HttpSink(request, settings.slow_client_timeout_s, request.app[KEEP_ALIVE])


def client_request_id(given: str | None) -> str | None:
    """The client's own id, if it is one: at most 128 printable ASCII characters."""
    return given if given is not None and 0 < len(given) <= 128 and given.isascii() and given.isprintable() else None
