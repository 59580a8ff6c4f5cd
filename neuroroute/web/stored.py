"""GET, DELETE, cancel and input_items of /v1/responses/{id}: what is kept here is answered here, the rest by the provider that keeps it."""

from aiohttp import web

from neuroroute.core.errors import BadRequest, NotFound
from neuroroute.core.types import Dialect, Principal
from neuroroute.store.responses import StoredResponse
from neuroroute.web.bodies import answer, whole_number
from neuroroute.web.identity import caller
from neuroroute.web.inference import infer, opened
from neuroroute.web.paths import below_v1
from neuroroute.web.state import SERVICES


async def get(request: web.Request) -> web.StreamResponse:
    """GET /v1/responses/{id}: a stored response."""
    stored = await _found(request)
    if stored is None or stored.response is None:
        return await _pass(request, stored)
    if request.query.get("stream") == "true":
        raise BadRequest("Only a background response can be streamed again; this one is complete.", param="stream")
    return answer(stored.response)


async def delete(request: web.Request) -> web.StreamResponse:
    """DELETE /v1/responses/{id}: forget a stored response."""
    principal = await caller(request)
    stored = await _found(request, principal)
    if stored is None or stored.response is None:
        return await _pass(request, stored)
    await request.app[SERVICES].responses.delete(principal.user_id, stored.id)
    return answer({"id": stored.id, "object": "response", "deleted": True})


async def cancel(request: web.Request) -> web.StreamResponse:
    """POST /v1/responses/{id}/cancel: for background responses of a provider; what was made here is complete already."""
    stored = await _found(request)
    if stored is None or stored.response is None:
        return await _pass(request, stored)
    raise BadRequest("Only a background response can be cancelled; this one is complete.", param="id")


async def input_items(request: web.Request) -> web.StreamResponse:
    """GET /v1/responses/{id}/input_items?limit=&order=&after=: what a stored response was asked with."""
    stored = await _found(request)
    if stored is None or stored.input is None:
        return await _pass(request, stored)
    limit = whole_number(request, "limit", 20, 1, 100)
    items = list(stored.input) if request.query.get("order") == "asc" else list(reversed(stored.input))
    rows = [{"id": f"{stored.id}_in_{place}", **item} for place, item in enumerate(items)]
    after = request.query.get("after")
    begin = next((place + 1 for place, row in enumerate(rows) if row["id"] == after), 0)
    shown = rows[begin : begin + limit]
    ends = {"first_id": shown[0]["id"] if shown else None, "last_id": shown[-1]["id"] if shown else None}
    return answer({"object": "list", "data": shown, "has_more": begin + limit < len(rows), **ends})


async def below(request: web.Request) -> web.StreamResponse:
    """Any other path below /v1/responses/{id}: passed on, unless the response is another user's"""
    return await _pass(request, await _found(request))


async def _found(request: web.Request, principal: Principal | None = None) -> StoredResponse | None:
    principal = principal or await caller(request)
    responses, response_id = request.app[SERVICES].responses, request.match_info["id"]
    stored = await responses.get(principal.user_id, response_id)
    if stored is None and await responses.foreign(principal.user_id, response_id):
        raise _not_found(response_id)
    return stored


def _not_found(response_id: str) -> NotFound:
    return NotFound(f"Response with id '{response_id[:256]}' not found.", param="id")


async def _pass(request: web.Request, stored: StoredResponse | None) -> web.StreamResponse:
    """To the provider that keeps it, or that may keep what we do not know. Raises NotFound where none can."""
    asked, response_id = request.app[SERVICES].catalog.current.default_provider, request.match_info["id"]
    if stored is None and response_id.startswith("resp_") and (asked is None or Dialect.RESPONSES not in asked.speaks):
        raise _not_found(response_id)
    call, sink = opened(request, Dialect.PASS, below_v1(request))
    call.only_provider = stored.provider if stored is not None else None
    return await infer(request, call, sink)
