"""
The memory of the Responses API, for providers that have none.

A provider that speaks the API keeps its own responses; then only its name is noted, so that the next turn goes to it. For all others input
and output are kept here, and put back in the place of `previous_response_id` and of every `item_reference`.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from neuroroute.adapters import responses_items
from neuroroute.chain.call import Call
from neuroroute.chain.services import Services
from neuroroute.core import jsonbytes
from neuroroute.core.errors import BadRequest, NeuroRouteError
from neuroroute.core.types import Dialect, Protocol
from neuroroute.store.responses import StoredResponse

_ID: Final = re.compile(rb'"id"\s*:\s*"(resp_[\w-]{1,200})"')


async def resolve(call: Call, s: Services) -> None:
    """Put what the request refers to in its place; set `only_provider` where its provider remembers by itself. Raises DatabaseAway."""
    assert call.client is not None and call.principal is not None
    body, user_id = call.client.body, call.principal.user_id
    previous, items = responses_items.references(body)
    earlier: list[dict[str, Any]] = []
    by_id: dict[str, dict[str, Any]] = {}
    if previous is not None:
        found = await s.responses.get(user_id, previous)
        if found is None:
            if await s.responses.foreign(user_id, previous):
                text = f"Previous response with id '{previous[:256]}' not found."
                raise BadRequest(text, param="previous_response_id", code="previous_response_not_found")
        elif found.conversation is None:
            call.only_provider = found.provider
            return
        else:
            earlier = list(found.conversation)
    if items:
        for response in await s.responses.with_items(user_id, items):
            by_id |= {item["id"]: item for item in response.conversation or () if isinstance(item.get("id"), str)}
    if earlier or by_id:
        resolved = responses_items.splice(body, earlier, by_id)
        plain = {name: value for name, value in resolved.items() if not name.startswith("_")}
        call.client = replace(call.client, body=resolved, raw=jsonbytes.dumps(plain))


async def keep(call: Call, answer: Mapping[str, Any] | bytes | None, s: Services) -> None:
    """
    Remember a good response before its last byte leaves: the next turn may follow at once.

    answer: the response, or bytes in which it stands. An answer is not held back because it can not be kept: that is logged.
    """
    client, target, principal = call.client, call.target, call.principal
    if call.dialect is not Dialect.RESPONSES or client is None or target is None or principal is None or client.body.get("store") is False:
        return
    native = target.provider.protocol is Protocol.OPENAI and Dialect.RESPONSES in target.provider.speaks
    if native and isinstance(answer, bytes):
        if (found := _ID.search(answer)) is None:
            return
        stored = StoredResponse(found[1].decode(), target.provider.name)
    else:
        response = jsonbytes.loads(answer) if isinstance(answer, bytes) else answer
        if not isinstance(response, Mapping) or not isinstance(response.get("id"), str):
            return
        spoken = responses_items.conversation(client.body, response)
        stored = StoredResponse(response["id"], target.provider.name, response, responses_items.input_items(client.body), spoken)
    try:
        await s.responses.put(principal.user_id, stored)
    except NeuroRouteError as error:
        s.log.warning("the response of %s is not kept: %s", call.request_id, error)
