"""The playground, which calls models from the browser."""

from aiohttp import web

from neuroroute.core.errors import Unauthenticated
from neuroroute.core.types import Dialect
from neuroroute.web import session
from neuroroute.web.inference import infer, opened
from neuroroute.web.pages import page, render
from neuroroute.web.session import Visitor, visitor
from neuroroute.web.state import SERVICES


@page
async def playground_page(request: web.Request, found: Visitor) -> web.StreamResponse:
    """GET /dashboard/playground: ask `auto`, and up to two other models beside it."""
    catalog = request.app[SERVICES].catalog.current
    chat = {entry.name for entry in catalog.candidates()}
    names = [name for name in catalog.listing(found.principal.allowed_models) if name not in catalog.entries or name in chat]
    return render(request, "playground.html", found, {"names": names})


async def playground_chat(request: web.Request) -> web.StreamResponse:
    """POST /dashboard/playground/chat: a chat call of the signed-in user; body and answer as at /v1/chat/completions."""
    found = await visitor(request)
    if found is None:
        raise Unauthenticated("You are not signed in any more: open the page again.")
    session.ours(request, found)
    call, sink = opened(request, Dialect.CHAT, "/chat/completions")
    call.principal = found.principal
    return await infer(request, call, sink)
