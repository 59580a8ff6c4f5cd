"""POST /v1/messages/count_tokens: counted by Anthropic for its own models, estimated here for all others, so that Claude Code works on them."""

from aiohttp import web

from neuroroute.chain import conversation
from neuroroute.chain.auth import auth
from neuroroute.chain.parse import parse
from neuroroute.chain.rate_limit import rate_limit, release
from neuroroute.chain.shapes import check
from neuroroute.core import tokens
from neuroroute.core.errors import Forbidden
from neuroroute.core.types import ClientRequest, Dialect, Protocol
from neuroroute.routing.catalog import is_auto
from neuroroute.web.bodies import answer
from neuroroute.web.inference import infer, opened
from neuroroute.web.state import SERVICES


async def count_tokens(request: web.Request) -> web.StreamResponse:
    """POST /v1/messages/count_tokens: how many tokens a body of /v1/messages has; counted by Anthropic for its models, estimated for all others."""
    s = request.app[SERVICES]
    call, sink = opened(request, Dialect.PASS, "/messages/count_tokens")
    await auth(call, s)
    await parse(call, s)
    assert call.client is not None and call.catalog is not None and call.principal is not None
    name, allowed = call.requested_model, call.principal.allowed_models
    check({**call.client.body, "max_tokens": 1}, Dialect.MESSAGES)
    if not is_auto(name):
        [target, *_] = call.catalog.find(name, allowed)
        if not call.catalog.may_name(name, allowed):
            raise Forbidden(f"This key may not use the model {name[:256]!r}.", param="model")
        if target.provider.protocol is Protocol.ANTHROPIC:
            again, sink = opened(request, Dialect.PASS, "/messages/count_tokens")  # aiohttp keeps the body that was read
            return await infer(request, again, sink)
    await rate_limit(call, s)
    release(call)
    said = conversation.read(ClientRequest(Dialect.MESSAGES, call.client.raw, call.client.body))
    return answer({"input_tokens": tokens.scaled(name, said.prompt_tokens)})
