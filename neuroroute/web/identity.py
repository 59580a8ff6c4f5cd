"""Who asks, for the endpoints that are no call of a model: the key, its role, and the limits of operating."""

from collections.abc import Mapping

from aiohttp import web

from neuroroute.access.keys import Actor
from neuroroute.chain.auth import identify, pass_gate
from neuroroute.chain.rate_limit import refusal
from neuroroute.core.errors import Forbidden
from neuroroute.core.types import Principal, Role
from neuroroute.web.errors import request_id_of
from neuroroute.web.peers import address
from neuroroute.web.state import SERVICES


def bearer(headers: Mapping[str, str]) -> str:
    """The key of a request; x-api-key wins over Authorization, as at Anthropic. The query string is never asked."""
    key = headers.get("x-api-key")
    if key:
        return key
    value = headers.get("Authorization", "")
    return value[7:].strip() if value[:7].lower() == "bearer " else ""


async def caller(request: web.Request, group: str | None = None) -> Principal:
    """Who asks. `group`: the endpoint group whose limits count. Raises Unauthenticated, Unavailable, RateLimited, Forbidden."""
    principal = at_gate(request, await identify(bearer(request.headers), request.app[SERVICES].keyring))
    if group is not None:
        await admit(request, principal, group)
    return principal


def at_gate(request: web.Request, principal: Principal) -> Principal:
    """Who asks, if their key may be used here and from where they are. Raises Forbidden."""
    if principal.gate is not None:
        pass_gate(principal.gate, request.path, lambda: address(request))
    return principal


async def admit(request: web.Request, principal: Principal, group: str) -> None:
    """Count this request against the limits of `group`. Raises RateLimited."""
    s = request.app[SERVICES]
    checks = s.limit_rules.of(principal, group).checks
    verdict = s.limiter.try_admit(checks) or await s.limiter.admit(checks)
    if not verdict.admitted:
        raise refusal(verdict)


def actor(request: web.Request, principal: Principal) -> Actor:
    """Who makes a change, for the audit log."""
    return Actor(principal.key_id, principal.user_id, address(request), request_id_of(request))


async def operator(request: web.Request) -> Principal:
    """Who operates the gateway: admins may do everything, viewers may read. Raises Forbidden for the others."""
    principal = await caller(request, "admin")
    if principal.role is Role.ADMIN or (principal.role is Role.VIEWER and request.method in ("GET", "HEAD")):
        return principal
    raise Forbidden("This needs the key of an admin.")
