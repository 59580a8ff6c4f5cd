"""The page of alerts: what is wrong, how each rule stands, and what was."""

from typing import Final

from aiohttp import web

from neuroroute.core.errors import NeuroRouteError
from neuroroute.store.alert_silences import silent_until
from neuroroute.store.users import Users
from neuroroute.web import admin_alerts, admin_silences, forms
from neuroroute.web.bodies import one_of, paging, validated
from neuroroute.web.pages import page, render, see
from neuroroute.web.schemas import SilenceCreate
from neuroroute.web.session import PATH, Visitor
from neuroroute.web.state import DATABASE, SERVICES

_LENGTHS: Final = (("3600", "1 hour"), ("28800", "8 hours"), ("86400", "1 day"), ("604800", "1 week"))


@page
async def alerts_page(request: web.Request, found: Visitor) -> web.StreamResponse:
    """GET /dashboard/alerts: what fires, the rules, and what was."""
    return await _alerts(request, found)


async def _alerts(request: web.Request, found: Visitor, *, error: NeuroRouteError | None = None) -> web.Response:
    forms.readers_only(found)
    number, limit = paging(request)
    state = one_of(request, "state", ("", *admin_alerts.STATES)) or None
    past = await admin_alerts.alerts_of(request.app, page=number, limit=limit, firing=None if state is None else state == "firing")
    firing = await admin_alerts.alerts_of(request.app, limit=50, firing=True)
    users = Users(request.app[DATABASE])
    hands = {alert.acknowledged_by for alert in (*past.alerts, *firing.alerts) if alert.acknowledged_by}
    context = {
        "firing": firing.alerts,
        "past": past.alerts,
        "total": past.total,
        "page": number,
        "pages": max(-(-past.total // limit), 1),
        "rules": past.rules,
        "silences": past.silences,
        "silent": {
            alert.id: until for alert in firing.alerts if (until := silent_until(firing.silences, alert.name, alert.subject)) is not None
        },
        "names": admin_silences.rule_names(request.app),
        "lengths": _LENGTHS,
        "error": error,
        "judged_at": past.judged_at,
        "complete": past.complete,
        "hands": {user.id: user.name for one in hands if (user := await users.get(one)) is not None} if past.complete else {},
        "webhook": request.app[SERVICES].settings.alert_webhook_url is not None,
    }
    return render(request, "alerts.html", found, context)


@page
async def acknowledge(request: web.Request, found: Visitor) -> web.StreamResponse:
    """POST /dashboard/alerts/{id}/acknowledge: somebody takes care of it."""
    await forms.of_admin(request, found)
    await admin_alerts.acknowledged(request, found.principal, request.match_info["id"])
    return see(f"{PATH}/alerts")


@page
async def silence(request: web.Request, found: Visitor) -> web.StreamResponse:
    """POST /dashboard/alerts/silences: nobody is told for a while."""
    fields = await forms.of_admin(request, found)
    body = forms.filled(fields, ("name", "subject", "for_s", "comment"))
    try:
        await admin_silences.silenced(request, found.principal, validated(SilenceCreate, body))
    except forms.MENDABLE as error:
        return await _alerts(request, found, error=error)
    return see(f"{PATH}/alerts")


@page
async def end_silence(request: web.Request, found: Visitor) -> web.StreamResponse:
    """POST /dashboard/alerts/silences/{id}/end: people are told again."""
    await forms.of_admin(request, found)
    await admin_silences.ended(request, found.principal, request.match_info["id"])
    return see(f"{PATH}/alerts")
