"""The page of alerts: what is wrong, how each rule stands, and what was."""

from aiohttp import web

from neuroroute.core.errors import Forbidden
from neuroroute.core.types import Role
from neuroroute.store.users import Users
from neuroroute.web import admin_alerts, session
from neuroroute.web.bodies import one_of, paging
from neuroroute.web.pages import page, render, see
from neuroroute.web.session import PATH, Visitor
from neuroroute.web.state import DATABASE, SERVICES


@page
async def alerts_page(request: web.Request, found: Visitor) -> web.StreamResponse:
    """GET /dashboard/alerts: what fires, the rules, and what was."""
    if found.principal.role is Role.USER:
        raise Forbidden("This page is for admins and viewers.")
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
        "judged_at": past.judged_at,
        "complete": past.complete,
        "hands": {user.id: user.name for one in hands if (user := await users.get(one)) is not None} if past.complete else {},
        "webhook": request.app[SERVICES].settings.alert_webhook_url is not None,
    }
    return render(request, "alerts.html", found, context)


@page
async def acknowledge(request: web.Request, found: Visitor) -> web.StreamResponse:
    """POST /dashboard/alerts/{id}/acknowledge: somebody takes care of it."""
    await session.form(request, found.csrf)
    if found.principal.role is not Role.ADMIN:
        raise Forbidden("This needs the key of an admin.")
    await admin_alerts.acknowledged(request, found.principal, request.match_info["id"])
    return see(f"{PATH}/alerts")
