"""/admin/cache: forget kept answers."""

from typing import Final

from aiohttp import web

from neuroroute.access.keys import note
from neuroroute.caching.responses import PREFIX
from neuroroute.core.errors import BadRequest
from neuroroute.web.bodies import answer
from neuroroute.web.identity import actor, operator
from neuroroute.web.state import DATABASE, SERVICES

_BY: Final = {"model": "model:", "key_id": "key:", "user_id": "user:", "tag": "tag:", "prefix": PREFIX}
_MAX_CHARS: Final = 512


async def drop(request: web.Request) -> web.Response:
    """
    DELETE /admin/cache?model=&key_id=&user_id=&tag=&prefix=: forget kept answers; without a filter, all.

    One filter at a time: a model, a key, a user, a tag (name=value, of the call or its key), or the models whose names begin so (`gpt-`, `openai/`).
    Every worker forgets them within two seconds. `dropped` counts those that the worker held which answers.
    """
    principal = await operator(request)
    tag = _tag(request)
    async with request.app[DATABASE].transaction() as change:
        await note(change, actor(request, principal), "cache.drop", tag or "*")
    return answer({"object": "cache.dropped", "tag": tag, "dropped": await forget(request, tag)})


async def forget(request: web.Request, tag: str | None) -> int:
    """Drop what carries the tag, its vectors too; how many answers of this process that were."""
    services = request.app[SERVICES]
    dropped = services.cache.drop(tag)
    await services.semantic.drop(tag)
    return dropped


def _tag(request: web.Request) -> str | None:
    given = [(name, value) for name, value in request.query.items() if value]
    for name, value in given:
        if name not in _BY:
            raise BadRequest(f"{name[:64]}: unknown; expected one of {', '.join(_BY)}", param=name[:64])
        if len(value) > _MAX_CHARS:
            raise BadRequest(f"{name}: at most {_MAX_CHARS} characters", param=name)
    if len(given) > 1:
        raise BadRequest("Name one of model, key_id, user_id, tag and prefix, or none of them.", param=given[1][0])
    if not given and request.query:
        raise BadRequest(
            "An empty filter forgets nothing: give it a value, or leave it out to forget all.", param=next(iter(request.query))[:64]
        )
    if not given:
        return None
    name, value = given[0]
    if name == "tag" and "=" not in value:
        raise BadRequest("tag: expected name=value", param="tag")
    return _BY[name] + value
