"""
Whose are the objects at a provider: files, batches, vector stores, stored chat completions.

All users share the provider's account, so here is noted who made what. Another's object is not there (404), neither by its path, nor in a
list, nor where a body refers to it. What nobody made here belongs to the account, and so to admins alone.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from neuroroute.chain.call import Call
from neuroroute.chain.services import Services
from neuroroute.core import jsonbytes
from neuroroute.core.errors import BadRequest, NeuroRouteError, NotFound
from neuroroute.core.types import Dialect, Reply, Role

_COLLECTIONS: Final = (
    "files", "uploads", "batches", "vector_stores", "chat/completions", "fine_tuning/jobs", "containers", "conversations", "assistants",
    "threads", "evals", "videos",
)  # fmt: skip
"""Below /v1. Source: OpenAI, API reference, 2026-11."""
_VERBS: Final = frozenset({"runs"})  # `POST /threads/runs` makes a thread
_CHAT_ID: Final = re.compile(rb'"id"\s*:\s*"([\w-]{1,200})"')
_REFERENCES_MAX: Final = 1000
_OF_PROVIDERS: Final = re.compile(r"(?:^|_)(?:file|vector_store)(?:_ids?)?$|^(?:container|conversation)$")
"""Fields that name an object of the provider's, and nothing else. Source: OpenAI and Anthropic, API references, 2026-11."""
_HOLDERS: Final = ("tools", "tool_resources", "container", "conversation", "attachments", "prompt", "file_ids")
"""Fields of a chat or a response, beside its messages, that may refer to one."""
_PLAIN: Final = frozenset({"text", "input_text", "output_text", "image_url"})
"""Parts of a message that refer to none."""
_OF_CLIENTS: Final = frozenset({"metadata", "parameters", "input_schema", "schema", "arguments"})
"""Fields whose insides are the client's own."""


async def check_body(call: Call, s: Services) -> None:
    """Raises NotFound where a call refers to files and the like that its user did not make; DatabaseAway where nobody can tell."""
    principal = call.principal
    if principal is None or principal.role is Role.ADMIN:
        return
    refers = dict(_named(call.body) if call.dialect is Dialect.PASS else _in_messages(call.body))
    if not refers:
        return
    if len(refers) > _REFERENCES_MAX:
        raise BadRequest(f"Your request refers to more than {_REFERENCES_MAX} objects.")
    own = await s.objects.owned(principal.user_id, list(refers))
    for object_id, name in refers.items():
        if object_id not in own:
            raise NotFound(f"There is no object with the id '{object_id[:256]}'.", param=name)


async def check(call: Call, s: Services) -> None:
    """Raises NotFound for what is another user's; DatabaseAway where nobody can tell."""
    await check_body(call, s)
    place, principal = _place(call.path), call.principal
    if place is None or principal is None or principal.role is Role.ADMIN or principal.allowed_models is not None:
        return  # a key that may use some models only is refused these paths by `plan`
    _, object_id = place
    if object_id is not None and await s.objects.owner(object_id) != principal.user_id:
        raise NotFound(f"There is no object with the id '{object_id[:256]}'.", param="id")
    if refers := list(_references(call.body)):
        if len(refers) > _REFERENCES_MAX:
            raise BadRequest(f"Your request refers to more than {_REFERENCES_MAX} objects.")
        if (other := await s.objects.foreign(principal.user_id, refers)) is not None:
            raise NotFound(f"There is no object with the id '{other}'.")


async def answered(call: Call, reply: Reply, s: Services) -> Reply:
    """Note who made what the answer shows, and leave out of a list what is another's. Raises DatabaseAway for a list."""
    place, principal = _place(call.path), call.principal
    if place is None or principal is None or reply.status >= 300:
        return reply
    try:
        body = jsonbytes.loads(reply.body)
    except ValueError:
        return reply
    if not isinstance(body, dict):
        return reply
    _, object_id = place
    if object_id is None and call.method == "GET":
        return await _own_part(call, reply, body, s) if principal.role is not Role.ADMIN else reply
    made = [body["id"]] if object_id is None and isinstance(body.get("id"), str) else []
    made += [value for name, value in body.items() if name.endswith("_file_id") and isinstance(value, str)]
    await _claim(call, made, s)
    return reply


async def chat(call: Call, answer: bytes, s: Services) -> None:
    """Note whose a chat completion is that its provider was asked to store."""
    if (found := _CHAT_ID.search(answer)) is not None:
        await _claim(call, [found[1].decode()], s)


def refuse_long_list(call: Call) -> None:
    """Raises BadRequest for a list that is too long to be read, and so to be looked through, for who may not see all of it."""
    place, principal = _place(call.path), call.principal
    if place is not None and place[1] is None and call.method == "GET" and principal is not None and principal.role is not Role.ADMIN:
        raise BadRequest("This list is too long. Ask for fewer objects at once.", param="limit")


async def _claim(call: Call, ids: list[str], s: Services) -> None:
    if not ids or call.principal is None or call.target is None:
        return
    try:
        await s.objects.claim(call.principal.user_id, call.target.provider.name, ids)
    except NeuroRouteError as error:  # the object is there: its answer is not held back, but only an admin will find it
        s.log.warning("nobody knows whose the objects of %s are: %s", call.request_id, error)


async def _own_part(call: Call, reply: Reply, body: dict[str, Any], s: Services) -> Reply:
    assert call.principal is not None
    data = body.get("data")
    if not isinstance(data, list):
        return reply
    ids = [item["id"] for item in data if isinstance(item, dict) and isinstance(item.get("id"), str)]
    own = await s.objects.owned(call.principal.user_id, ids)
    shown = [item for item in data if isinstance(item, dict) and item.get("id") in own]
    return replace(reply, body=jsonbytes.dumps({**body, "data": shown}))  # first_id and last_id stay: they are where the next page begins


def _place(path: str) -> tuple[str, str | None] | None:
    """(collection, id) of a path below /v1, as `web.paths` lets them pass; None where it leads to no collection."""
    parts = path.strip("/").split("/")
    for collection in _COLLECTIONS:
        depth = collection.count("/") + 1
        if "/".join(parts[:depth]).lower() == collection:
            object_id = parts[depth] if len(parts) > depth else None
            return collection, None if object_id in _VERBS else object_id
    return None


def _references(value: Any, name: str = "") -> Iterator[str]:
    """All that a body calls an id of something."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _references(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner, name)
    elif isinstance(value, str) and name.endswith(("_id", "_ids")):
        yield value


def _in_messages(body: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The same of a chat or a response, without a look into its text: most have nothing else."""
    for holder in _HOLDERS:
        if holder in body:
            yield from _named(body[holder], holder)
    items = body.get("messages") or body.get("input")
    for item in items if isinstance(items, list) else ():
        content = item.get("content", item) if isinstance(item, dict) else None
        if isinstance(content, dict):
            yield from _named(content)
        for part in content if isinstance(content, list) else ():
            if isinstance(part, dict) and part.get("type") not in _PLAIN:
                yield from _named(part)


def _named(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """(id, field) of every object of the provider's that a body refers to."""
    if isinstance(value, dict):
        own = "input" if value.get("type") in ("tool_use", "server_tool_use") else ""  # what a tool was called with is the client's
        for key, inner in value.items():
            if key not in _OF_CLIENTS and key != own:
                yield from _named(inner, name if key == "id" and name in ("container", "conversation") else key)
    elif isinstance(value, list):
        for inner in value:
            yield from _named(inner, name)
    elif isinstance(value, str) and value and _OF_PROVIDERS.search(name) is not None:
        yield value, name


def stores_chat(call: Call) -> bool:
    return call.dialect is Dialect.CHAT and call.body.get("store") is True
