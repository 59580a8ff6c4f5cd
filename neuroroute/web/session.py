"""
Who is signed in to the pages.

A session begins with a key, under a random token that only the browser's cookie holds. It ends at sign-out, after SESSION, and with the key: each
request asks the keyring whether the key that opened it still opens anything. Forms carry a token that is made of the session's, so no other site
can send them; the sign-in form carries one that is made of a cookie of its own.
"""

import contextlib
import hashlib
import hmac
import secrets
from datetime import timedelta
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from aiohttp import web

from neuroroute.access.keys import Actor, note
from neuroroute.chain.auth import identify
from neuroroute.chain.rate_limit import refusal
from neuroroute.core.dataclass import dataclass, field
from neuroroute.core.errors import BadRequest, Forbidden, NeuroRouteError, Unauthenticated
from neuroroute.core.types import Principal
from neuroroute.limits.rate import Check
from neuroroute.store.sessions import Sessions
from neuroroute.web.errors import request_id_of
from neuroroute.web.identity import admit, at_gate, bearer, caller
from neuroroute.web.peers import address, speaks_for_others
from neuroroute.web.sink import HttpSource
from neuroroute.web.state import DATABASE, SERVICES

COOKIE: Final = "nr_session"
FORM_COOKIE: Final = "nr_form"
PATH: Final = "/dashboard"
HOME: Final = PATH
SESSION: Final = timedelta(hours=12)
_FORM_BYTES: Final = 64 * 1024
_TOKEN_CHARS: Final = 43  # 32 random bytes in base64
_PER_ADDRESS: Final = 20  # sign-ins in a minute: an office behind one address still gets in
_PER_KEY: Final = 5
_NOTED_PER_MINUTE: Final = 30


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who is signed in. csrf: what their forms must carry."""

    principal: Principal
    token: str = field(repr=False)

    @property
    def csrf(self) -> str:
        return _seal(self.token, "form")


async def visitor(request: web.Request) -> Visitor | None:
    """Who is signed in; None for nobody, or where the key of the session is no longer good. Raises Unavailable, Forbidden."""
    token = request.cookies.get(COOKIE, "")
    if len(token) != _TOKEN_CHARS:
        return None
    sessions = Sessions(request.app[DATABASE])
    session = await sessions.get(token)
    if session is None:
        return None
    try:
        principal = await request.app[SERVICES].keyring.of_digest(session.key_digest)
    except Unauthenticated:
        await sessions.delete(token)
        return None
    return Visitor(at_gate(request, principal), token)


async def reader(request: web.Request) -> Principal:
    """Who asks for figures: a program by its key, or a page by its session. Raises Unauthenticated, RateLimited."""
    if not bearer(request.headers) and (found := await visitor(request)) is not None:
        await admit(request, found.principal, "admin")
        return found.principal
    return await caller(request, "admin")


def new_form_token() -> str:
    return secrets.token_urlsafe(32)


def sign_in_seal(form_token: str) -> str:
    """What the sign-in form carries, made of its cookie."""
    return _seal(form_token, "sign-in")


async def sign_in(request: web.Request, key: str) -> str:
    """
    Begin a session with a key; the one that the browser had before ends. Returns the new token.

    Raises: Unauthenticated, RateLimited after too many tries from one address or with one key, Unavailable
    """
    s, database = request.app[SERVICES], request.app[DATABASE]
    tried = hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()[:24]
    checks = (Check("sign-in address", address(request) or "unknown", _PER_ADDRESS), Check("sign-in key", tried, _PER_KEY))
    verdict = s.limiter.try_admit(checks) or await s.limiter.admit(checks)
    if not verdict.admitted:
        raise refusal(verdict)
    try:
        principal = at_gate(request, await identify(key, s.keyring))
    except (Unauthenticated, Forbidden):
        await _note_refused(request)
        raise
    token = new_form_token()
    digest = await s.keyring.digest(key)
    async with database.transaction() as change:
        sessions = Sessions(change)
        await sessions.delete(request.cookies.get(COOKIE, ""))
        await sessions.create(token, key_id=principal.key_id, key_digest=digest, lasts=SESSION)
        await note(change, Actor(principal.key_id, principal.user_id, address(request)), "session.create", principal.key_id)
    return token


async def _note_refused(request: web.Request) -> None:
    """A sign-in that failed, for the audit log: of a flood of them so many that they are seen, and no more. Never raises."""
    s, checks = request.app[SERVICES], (Check("refused sign-ins", "all", _NOTED_PER_MINUTE),)
    verdict = s.limiter.try_admit(checks) or await s.limiter.admit(checks)
    if verdict.admitted:
        with contextlib.suppress(NeuroRouteError):
            who = Actor(address=address(request), request_id=request_id_of(request))
            await note(request.app[DATABASE], who, "session.refuse", "sign-in")


async def renew(request: web.Request, found: Visitor, key: str) -> str:
    """A session with the new secret of the key that the present one was opened with. Returns the new token."""
    digest = await request.app[SERVICES].keyring.digest(key)
    token = new_form_token()
    async with request.app[DATABASE].transaction() as change:
        await Sessions(change).delete(found.token)
        await Sessions(change).create(token, key_id=found.principal.key_id, key_digest=digest, lasts=SESSION)
    return token


async def sign_out(request: web.Request, found: Visitor) -> None:
    await Sessions(request.app[DATABASE]).delete(found.token)


def give(request: web.Request, response: web.StreamResponse, name: str, value: str) -> None:
    """Put a token into the browser."""
    response.set_cookie(
        name, value, path=PATH, max_age=int(SESSION.total_seconds()), httponly=True, samesite="Lax", secure=is_secure(request)
    )


def take(request: web.Request, response: web.StreamResponse, name: str) -> None:
    """Take a token out of the browser."""
    response.del_cookie(name, path=PATH, httponly=True, samesite="Lax", secure=is_secure(request))


async def form(request: web.Request, seal: str) -> dict[str, str]:
    """
    The fields of a form that one of our own pages sent, each by its last value.

    Raises: Forbidden where it is not from there; BadRequest
    """
    _same_site(request)
    if request.content_type != "application/x-www-form-urlencoded":
        raise BadRequest("A form is expected.")
    raw = await HttpSource(request, _FORM_BYTES, request.app[SERVICES].settings.body_timeout_s).read()
    try:
        fields = dict(parse_qsl(raw.decode(), keep_blank_values=True, strict_parsing=False, max_num_fields=100))
    except ValueError:
        raise BadRequest("This form can not be read.") from None
    if not hmac.compare_digest(fields.pop("csrf", "").encode(), seal.encode()):
        raise _foreign()
    return fields


def ours(request: web.Request, found: Visitor) -> None:
    """That a request of a page's script is from our own page. Raises Forbidden."""
    _same_site(request)
    if not hmac.compare_digest(request.headers.get("x-csrf-token", "").encode("utf-8", "replace"), found.csrf.encode()):
        raise _foreign()


def _same_site(request: web.Request) -> None:
    """
    What the browser itself says of where a request comes from, if it does. Sec-Fetch-Site first: a proxy before us may have changed the Host that
    an Origin is compared with.
    """
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    strange = site not in ("same-origin", "none") if site is not None else origin is not None and urlsplit(origin).netloc != request.host
    if strange:
        raise _foreign()


def _foreign() -> Forbidden:
    return Forbidden("This form is out of date or from another place: open the page again and send it from there.", param="csrf")


def is_secure(request: web.Request) -> bool:
    """Whether the browser speaks https: to us, or to a proxy that we trust."""
    if request.secure:
        return True
    return speaks_for_others(request) and request.headers.get("X-Forwarded-Proto", "").split(",")[0].strip().lower() == "https"


def safe_next(wanted: str | None) -> str:
    """Where to go after sign-in: a page of ours, never another site."""
    path = wanted or ""
    plain = path.isascii() and path.isprintable() and "\\" not in path and len(path) <= 2000
    return path if plain and (path == PATH or path.startswith((PATH + "/", PATH + "?"))) and "//" not in path.partition("?")[0] else HOME


def _seal(token: str, purpose: str) -> str:
    return hmac.digest(token.encode(), purpose.encode(), hashlib.sha256).hex()
