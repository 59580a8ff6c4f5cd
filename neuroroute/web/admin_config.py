"""/admin/config: what is in effect and where it comes from, changes to it, its versions. What a change is and does stands in `chain.changes`."""

from collections.abc import Iterable
from typing import Any, Final

from aiohttp import web

from neuroroute.chain import changes
from neuroroute.chain.changes import Cause, Draft
from neuroroute.chain.versions import Versions
from neuroroute.core.config import Change, effective, masked
from neuroroute.core.errors import BadRequest, NotFound
from neuroroute.core.settings import table
from neuroroute.store.config import ConfigVersion, ConfigVersions
from neuroroute.web.bodies import answer, listed, paging, read_body, read_object, validated, whole_number
from neuroroute.web.identity import actor, operator
from neuroroute.web.schemas import ConfigMeta, ConfigRollback
from neuroroute.web.state import DATABASE, OFFER, SERVICES, VERSIONS

_META: Final = ("comment", "after")


def shown(version: ConfigVersion) -> dict[str, Any]:
    """A version as the API shows it, without what it holds."""
    return {
        "object": "config.version",
        "version": version.version,
        "author": version.author,
        "comment": version.comment or None,
        "created_at": version.created_at,
    }


def shown_changes(found: Iterable[Change]) -> list[dict[str, Any]]:
    return [{"key": one.key, "before": one.before, "after": one.after} for one in found]


async def get_config(request: web.Request) -> web.Response:
    """
    GET /admin/config: every value in effect with its source (default, environment, file, database) and its place in the file; secrets are masked.

    `config` is the same as one document, `settings` are the variables of the environment. `version` (also as ETag) is the database's version in force.
    """
    await operator(request)
    return _in_effect(request)


def _in_effect(request: web.Request, differ: Iterable[Change] | None = None) -> web.Response:
    offer, versions = request.app[OFFER], request.app[VERSIONS]
    state = versions.state
    values = effective(offer.config, *offer.layers)
    body = {
        "object": "config",
        "version": state.number,
        "author": state.author,
        "comment": state.comment,
        "created_at": state.created_at,
        "config": masked(offer.config.model_dump(mode="json")),
        "values": [{"key": one.key, "value": one.value, "source": one.source, "place": one.place} for one in values],
        "settings": [
            {"variable": one.variable, "value": one.value, "source": "environment" if one.is_set else "default"}
            for one in table(request.app[SERVICES].settings)
        ],
        "fault": "The newest version does not fit what file and environment say; the one before it is in force."
        if versions.fault
        else None,
    }
    if differ is not None:
        body["changes"] = shown_changes(differ)
    response = answer(body)
    response.headers["etag"] = f'"{state.number}"'
    return response


async def put_config(request: web.Request) -> web.Response:
    """
    PUT /admin/config: a JSON merge patch in the shape of the configuration becomes the next version, in force everywhere within 5 seconds.

    null takes an entry of providers, models, aliases or routing.policies away; of any other key it takes back what was set here, so that file,
    environment or default hold again. `comment` is kept with the version. If-Match or `after` names the version that the change was made from: 409
    where it is not in force any more. With ?dry_run=true nothing is changed, and `changes` tells what would be.
    """
    principal = await operator(request)
    patch = await read_object(request)
    meta = validated(ConfigMeta, {name: patch.pop(name) for name in _META if name in patch})
    after = matched(request) if meta.after is None else meta.after
    versions = request.app[VERSIONS]
    if request.query.get("dry_run") == "true":
        return answer(dry(await changes.drafted(versions, patch, after=after)))
    cause = Cause(comment=meta.comment)
    draft = await changes.put(versions, patch, after=after, cause=cause, actor=actor(request, principal))
    return _in_effect(request, draft.changes)


def dry(draft: Draft) -> dict[str, Any]:
    """What a change would do, as the API shows it."""
    return {
        "object": "config.draft",
        "version": draft.state.number,
        "config": masked(draft.config.model_dump(mode="json")),
        "changes": shown_changes(draft.changes),
        "models": len(draft.catalog.entries),
    }


def matched(request: web.Request) -> int | None:
    """The version of If-Match; None = not given. Raises: BadRequest"""
    given = request.headers.get("If-Match", "").strip()
    if given in ("", "*"):
        return None
    number = given.removeprefix("W/").strip('"')
    if not (number.isascii() and number.isdigit() and len(number) <= 18):
        raise BadRequest('If-Match: the ETag of GET /admin/config is expected, such as "3".', param="If-Match")
    return int(number)


async def list_versions(request: web.Request) -> web.Response:
    """GET /admin/config/versions?page=&limit=: what was changed, newest first."""
    await operator(request)
    page, limit = paging(request)
    rows, total = await ConfigVersions(request.app[DATABASE]).page(page=page, limit=limit)
    return listed([shown(row) for row in rows], total, page, limit)


async def get_version(request: web.Request) -> web.Response:
    """
    GET /admin/config/versions/{version}?against=: what a version holds (credentials are no part of versions), and what it changed.

    against: the version to compare with; default: the one before it; 0 = before the first change.
    """
    await operator(request)
    given = request.match_info["version"]
    number = int(given) if given.isascii() and given.isdigit() and len(given) <= 18 else -1
    found = await ConfigVersions(request.app[DATABASE]).get(number) if number > 0 else None
    if found is None:
        raise NotFound(f"There is no version '{given[:64]}' of the configuration.", param="version")
    against = whole_number(request, "against", number - 1, 0, 999_999_999)
    differ = await changes.differences(request.app[VERSIONS], number, against)
    return answer({**shown(found), "config": masked(found.config), "against": against, "changes": shown_changes(differ)})


async def rollback(request: web.Request) -> web.Response:
    """POST /admin/config/rollback: a new version that holds what an older one held; 0 = before the first change. Credentials stay what they are."""
    principal = await operator(request)
    body = await read_body(request, ConfigRollback)
    after = matched(request) if body.after is None else body.after
    versions: Versions = request.app[VERSIONS]
    draft = await changes.rollback(versions, body.version, after=after, comment=body.comment, actor=actor(request, principal))
    return _in_effect(request, draft.changes)
