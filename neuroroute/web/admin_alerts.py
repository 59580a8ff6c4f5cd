"""/admin/alerts: what is wrong and what was, how the rules stand, and who takes care of it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from aiohttp import web

from neuroroute.access.keys import note
from neuroroute.core.dataclass import dataclass
from neuroroute.core.errors import NotFound
from neuroroute.core.types import Principal
from neuroroute.store.alert_silences import AlertSilences, Silence, silent_until
from neuroroute.store.alerts import Alert, Alerts, AlertWatch
from neuroroute.store.postgres import DatabaseAway
from neuroroute.telemetry.alert_rules import KINDS
from neuroroute.telemetry.alerts import shown
from neuroroute.web.bodies import answer, one_of, paging, plain
from neuroroute.web.identity import actor, operator
from neuroroute.web.state import DATABASE, WATCH

STATES: Final = ("firing", "resolved")


@dataclass(frozen=True, slots=True)
class Found:
    """
    A page of alerts, newest first, and how the rules stood at `judged_at` (None: never yet).

    complete: False while the database is away: then there is what this process knows to fire, and nothing else.
    """

    alerts: Sequence[Alert]
    total: int
    rules: Sequence[dict[str, Any]]
    judged_at: datetime | None
    complete: bool = True
    silences: Sequence[Silence] = ()

    def shown(self) -> list[dict[str, Any]]:
        """As JSON has them; `silenced_until` of what fires and nobody is told of."""
        until = {one.id: silent_until(self.silences, one.name, one.subject) for one in self.alerts if one.resolved_at is None}
        return [{**shown(one), "silenced_until": until.get(one.id)} for one in self.alerts]


async def alerts_of(
    app: web.Application, *, page: int = 1, limit: int = 50, firing: bool | None = None, rule: str | None = None, name: str | None = None
) -> Found:
    """For the API and the page. firing: None = all; rule: a kind; name: of one rule."""
    database = app[DATABASE]
    try:
        found, total = await Alerts(database).page(page=page, limit=limit, firing=firing, rule=rule, name=name)
        judged_at, rules = await AlertWatch(database).rules()
        silences = await AlertSilences(database).current()
    except DatabaseAway:
        known = (
            [] if firing is False else [one for one in reversed(app[WATCH].firing) if rule in (None, one.rule) and name in (None, one.name)]
        )
        return Found(known[(page - 1) * limit : page * limit], len(known), [], None, complete=False)
    return Found(found, total, rules, judged_at, silences=silences)


async def acknowledged(request: web.Request, principal: Principal, alert_id: str) -> Alert:
    """Somebody takes care of an alert. Raises NotFound."""
    async with request.app[DATABASE].transaction() as change:
        alert = await Alerts(change).acknowledge(alert_id[:64], principal.user_id)
        if alert is None:
            raise NotFound(f"There is no alert {alert_id[:64]!r}.")
        await note(change, actor(request, principal), "alert.acknowledge", alert.id)
    return alert


async def list_alerts(request: web.Request) -> web.Response:
    """
    GET /admin/alerts?state=&rule=&name=&page=&limit=: what fires and what was, newest first; `rules`: how each stands now.

    `complete` is false while the database is away: then only what this machine knows to fire is there.
    """
    await operator(request)
    page, limit = paging(request)
    state, rule = one_of(request, "state", STATES), one_of(request, "rule", tuple(KINDS))
    firing = None if state is None else state == "firing"
    found = await alerts_of(request.app, page=page, limit=limit, firing=firing, rule=rule, name=plain(request, "name", 100))
    pages = max((found.total + limit - 1) // limit, 1)
    return answer(
        {
            "object": "list",
            "data": found.shown(),
            "total": found.total,
            "page": page,
            "limit": limit,
            "pages": pages,
            "complete": found.complete,
            "judged_at": found.judged_at,
            "rules": found.rules,
        }
    )


async def acknowledge(request: web.Request) -> web.Response:
    """POST /admin/alerts/{id}/acknowledge: tell the others that somebody takes care of it; the first one stays on record."""
    principal = await operator(request)
    return answer(shown(await acknowledged(request, principal, request.match_info["id"])))
