"""Operating: is it alive, is it ready, how is it, and the numbers for Prometheus."""

import asyncio
import hmac

from aiohttp import web

from neuroroute import __version__
from neuroroute.core import jsonbytes
from neuroroute.core.clock import monotonic_s
from neuroroute.core.errors import NotFound, Unauthenticated
from neuroroute.routing.health import State
from neuroroute.web.identity import bearer
from neuroroute.web.state import DATABASE, LIFECYCLE, REDIS, SERVICES


async def live(request: web.Request) -> web.Response:
    """GET /health/live: the process runs and its loop turns."""
    return _answer(200, {"status": "ok"})


async def ready(request: web.Request) -> web.Response:
    """GET /health/ready: 200 while new calls are welcome, 503 before the start is done, while it drains and while the disk has no space for its books."""
    lifecycle, has_room = request.app[LIFECYCLE], request.app[SERVICES].ledger.has_room
    welcome = lifecycle.ready and not lifecycle.draining
    status = "draining" if lifecycle.draining else "starting" if not lifecycle.ready else "ok" if has_room else "no_space"
    return _answer(200 if welcome and has_room else 503, {"status": status})


async def health(request: web.Request) -> web.Response:
    """GET /health: every part, and what they make together. Degraded still serves; only a draining or starting gateway is an error."""
    s, lifecycle, database = request.app[SERVICES], request.app[LIFECYCLE], request.app[DATABASE]
    now_s = monotonic_s()
    providers = dict.fromkeys(s.catalog.current.providers, "ok")
    for target in s.health.snapshot(now_s):
        if target.state is not State.CLOSED or target.ejected_s:
            providers[target.target.partition("/")[0]] = "degraded"
    redis = request.app[REDIS]
    checks = {
        "database": "error" if database.away else "ok",
        "redis": "off" if redis is None else "error" if redis.away else "ok",
        "journal": "ok" if s.ledger.has_room else "no_space",
        "providers": providers,
    }
    welcome = lifecycle.ready and not lifecycle.draining
    degraded = database.away or checks["redis"] == "error" or not s.ledger.has_room or "degraded" in providers.values()
    status = "error" if not welcome else "degraded" if degraded else "ok"
    body = {"status": status, "version": __version__, "uptime_s": round(lifecycle.uptime_s, 3), "checks": checks}
    if bounds := s.throttles.bounds():
        body["target_bounds"] = bounds
    return _answer(503 if status == "error" else 200, body)


async def metrics(request: web.Request) -> web.Response:
    """GET /metrics: Prometheus text of all workers. Rendered in a thread: it can take tens of milliseconds."""
    s = request.app[SERVICES]
    if not s.settings.enable_metrics:
        raise NotFound("Metrics are switched off (ENABLE_METRICS).")
    token = s.settings.metrics_token
    if token is not None:
        given = bearer({"Authorization": request.headers.get("Authorization", "")})
        if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), token.encode()):
            raise Unauthenticated("The metrics need their token: 'Authorization: Bearer <METRICS_TOKEN>'.")
    text = await asyncio.to_thread(s.metrics.render)
    return web.Response(body=text, headers={"content-type": s.metrics.CONTENT_TYPE})


def _answer(status: int, body: dict[str, object]) -> web.Response:
    return web.Response(
        status=status, body=jsonbytes.dumps(body), headers={"content-type": "application/json", "cache-control": "no-store"}
    )
