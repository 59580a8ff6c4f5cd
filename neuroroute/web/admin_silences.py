"""/admin/alerts/silences: what nobody is to be told of for a while."""

from datetime import timedelta
from typing import Any

from aiohttp import web

from neuroroute.access.keys import note
from neuroroute.core.errors import BadRequest, NotFound
from neuroroute.core.types import Principal
from neuroroute.store.alert_silences import AlertSilences, Silence
from neuroroute.telemetry.alert_rules import rules_of
from neuroroute.web.bodies import answer, listed, read_body
from neuroroute.web.identity import actor, operator
from neuroroute.web.schemas import SilenceCreate
from neuroroute.web.state import DATABASE, OFFER, SERVICES


def shown(silence: Silence) -> dict[str, Any]:
    return {
        "object": "alert.silence",
        "id": silence.id,
        "name": silence.name,
        "subject": silence.subject,
        "until": silence.until,
        "comment": silence.comment or None,
        "created_by": silence.created_by,
        "created_at": silence.created_at,
    }


def rule_names(app: web.Application) -> list[str]:
    """What the rules in effect are called."""
    return sorted({rule.name for rule in rules_of(app[OFFER].config.alerts, app[SERVICES].settings)})


async def list_silences(request: web.Request) -> web.Response:
    """GET /admin/alerts/silences: those in force, the one that ends first in front."""
    await operator(request)
    found = await AlertSilences(request.app[DATABASE]).current()
    return listed([shown(one) for one in found], len(found), 1, max(len(found), 1))


async def create_silence(request: web.Request) -> web.Response:
    """
    POST /admin/alerts/silences: for `for_s` seconds the webhook is not told of alerts of this rule and subject.

    They still fire and are shown. What still fires when the silence ends is told then; of what nobody was told, nobody hears that it is over.
    """
    principal = await operator(request)
    return answer(shown(await silenced(request, principal, await read_body(request, SilenceCreate))), 201)


async def silenced(request: web.Request, principal: Principal, body: SilenceCreate) -> Silence:
    """Raises: BadRequest where there is no such rule."""
    if body.name is not None and body.name not in (known := rule_names(request.app)):
        raise BadRequest(f"There is no rule '{body.name}': expected one of {', '.join(known)}, or null for all.", param="name")
    async with request.app[DATABASE].transaction() as change:
        made = await AlertSilences(change).add(
            name=body.name, subject=body.subject, lasts=timedelta(seconds=body.for_s), comment=body.comment, created_by=principal.user_id
        )
        await note(change, actor(request, principal), "alert.silence", made.id, after=shown(made))
    return made


async def end_silence(request: web.Request) -> web.Response:
    """DELETE /admin/alerts/silences/{id}: people are told again."""
    principal = await operator(request)
    silence_id = request.match_info["id"]
    await ended(request, principal, silence_id)
    return answer({"object": "alert.silence.deleted", "id": silence_id[:64], "deleted": True})


async def ended(request: web.Request, principal: Principal, silence_id: str) -> None:
    """Raises: NotFound"""
    async with request.app[DATABASE].transaction() as change:
        if not await AlertSilences(change).end(silence_id):
            raise NotFound(f"There is no silence '{silence_id[:64]}' in force.", param="id")
        await note(change, actor(request, principal), "alert.unsilence", silence_id[:64])
