"""POST /v1/route: the decision on a chat body, with its reasons. No provider is asked, nothing is booked."""

from aiohttp import web

from neuroroute.chain.auth import auth
from neuroroute.chain.classify import read
from neuroroute.chain.parse import parse
from neuroroute.chain.plan import plan
from neuroroute.chain.rate_limit import rate_limit, release
from neuroroute.chain.replies import header_safe, router_of
from neuroroute.core import jsonbytes
from neuroroute.core.types import Dialect
from neuroroute.routing import explain
from neuroroute.web.inference import opened
from neuroroute.web.state import SERVICES


async def route(request: web.Request) -> web.Response:
    """POST /v1/route: which model would answer this chat body, and why: the gates, every candidate, what would have to change. Asks no provider."""
    s = request.app[SERVICES]
    call, _ = opened(request, Dialect.CHAT, "/chat/completions")
    await auth(call, s)
    await parse(call, s)
    await rate_limit(call, s)
    try:
        read(call, s)
        plan(call, s)
    finally:
        release(call)
    assert call.decision is not None
    body = jsonbytes.dumps(explain.explain(call.decision, router_of(s)))
    headers = {"content-type": "application/json", "x-request-id": call.request_id, "x-neuroroute-route": header_safe(call.decision.reason)}
    return web.Response(body=body, headers=headers)
