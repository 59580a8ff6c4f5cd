"""
What all pages are made with: templates, headers, the frame around a handler, and how figures are written.

Pages hold no script and no style of their own: both come from /dashboard/static, and the headers forbid all else. Templates escape every value.
"""

import functools
import math
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from aiohttp import web

from neuroroute import __version__
from neuroroute.core.clock import utcnow
from neuroroute.core.errors import NeuroRouteError, NotFound, Unauthenticated
from neuroroute.core.ids import new_id
from neuroroute.core.types import Role
from neuroroute.web.identity import admit
from neuroroute.web.session import PATH, Visitor, visitor

if TYPE_CHECKING:
    import jinja2

HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # with no-referrer browsers send forms with the origin "null"
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
    "vary": "Accept, Cookie",
}
_HERE: Final = Path(__file__).parent
_KINDS: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

Page = Callable[[web.Request, Visitor], Awaitable[web.StreamResponse]]


def wants_html(request: web.Request) -> bool:
    """Whether a person's browser asks. Programs say application/json, anything, or nothing."""
    return "text/html" in request.headers.get("Accept", "")


def page(handler: Page) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """A handler for people who are signed in: others are sent to sign in, and failures become a page."""

    @functools.wraps(handler)
    async def framed(request: web.Request) -> web.StreamResponse:
        found: Visitor | None = None
        try:
            found = await visitor(request)
            if found is None:
                return to_sign_in(request)
            await admit(request, found.principal, "admin")
            return await handler(request, found)
        except Unauthenticated:
            return to_sign_in(request)
        except NeuroRouteError as error:
            return failure(request, found, error)

    return framed


def to_sign_in(request: web.Request) -> web.Response:
    query = urlencode({"next": str(request.rel_url)}) if request.method == "GET" and request.path != PATH else ""
    return see(f"{PATH}/sign-in?{query}" if query else f"{PATH}/sign-in")


def see(place: str) -> web.Response:
    """Go on at another page of ours."""
    return web.Response(status=303, headers={**HEADERS, "location": place})


def failure(request: web.Request, found: Visitor | None, error: NeuroRouteError) -> web.Response:
    """The error as a page, with an id to ask after."""
    request_id = new_id("req")
    response = render(request, "error.html", found, {"error": error, "request_id": request_id})
    response.headers["x-request-id"] = request_id
    if error.retry_after_s is not None:
        response.headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
    return response


def render(request: web.Request, template: str, found: Visitor | None, context: Mapping[str, Any] | None = None) -> web.Response:
    """A template as a page, with the status of the context's `error` where it has one. `found`: who is looking; None: nobody who is signed in."""
    role = found.principal.role if found is not None else None
    error = (context or {}).get("error")
    status = error.status if isinstance(error, NeuroRouteError) else 200
    text = (
        environment()
        .get_template(template)
        .render(
            {
                "visitor": found,
                "csrf": found.csrf if found is not None else "",
                "role": role.value if role is not None else "",
                "is_admin": role is Role.ADMIN,
                "sees_all": role in (Role.ADMIN, Role.VIEWER),
                "path": request.path,
                "query": request.query,
                "version": __version__,
                **(context or {}),
            }
        )
    )
    return web.Response(text=text, status=status, headers={**HEADERS, "content-type": "text/html; charset=utf-8"})


@functools.cache
def environment() -> "jinja2.Environment":
    """The templates. Made at the first page: the engine would cost every start a thirtieth of a second (measured: python -X importtime)."""
    import aiohttp_jinja2
    import jinja2

    made = aiohttp_jinja2.setup(
        web.Application(),
        loader=jinja2.FileSystemLoader(_HERE / "templates"),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        default_helpers=False,
        filters=_FILTERS,
    )
    made.globals["link"] = link
    return made


async def static(request: web.Request) -> web.Response:
    """GET /dashboard/static/{name}: style and script of the pages."""
    name = request.match_info["name"]
    body, kind = _static_files().get(name, (None, ""))
    if body is None:
        raise NotFound(f"There is no {name[:64]!r} here.")
    headers = {"cache-control": "public, max-age=300", "x-content-type-options": "nosniff", "content-type": kind + "; charset=utf-8"}
    return web.Response(body=body, headers=headers)


@functools.cache
def _static_files() -> Mapping[str, tuple[bytes, str]]:
    files = sorted((_HERE / "static").iterdir())
    return {file.name: (file.read_bytes(), _KINDS[file.suffix]) for file in files if file.suffix in _KINDS}


def link(query: Mapping[str, str], **changes: object) -> str:
    """The query of a page with these parameters changed; None takes one away."""
    merged = {**dict(query), **{name: None if value is None else str(value) for name, value in changes.items()}}
    return "?" + urlencode({name: value for name, value in merged.items() if value})


def usd(value: float | None) -> str:
    """Money with as many digits as it needs, two at least: $12.30, $0.0042."""
    if value is None:
        return "unknown"
    size = abs(value)
    whole, _, cents = f"{size:,.{2 if size >= 1 or size == 0 else 4 if size >= 0.01 else 6}f}".partition(".")
    return f"{'-' if value < 0 else ''}${whole}.{cents.rstrip('0').ljust(2, '0')}"


def number(value: float | None) -> str:
    """1,234,567, or 1.2M from ten millions on."""
    if value is None:
        return "–"
    for size, mark in ((1e9, "B"), (1e6, "M")):
        if abs(value) >= 10 * size:
            return f"{value / size:,.1f}{mark}"
    return f"{value:,.0f}"


def ms(value: float | None) -> str:
    """Milliseconds, or seconds from ten on."""
    if value is None:
        return "–"
    if value >= 10_000:
        return f"{value / 1000:,.1f} s"
    return f"{value:,.0f} ms" if value >= 100 else f"{value:.1f} ms" if value >= 1 else f"{value:.2f} ms"


def percent(share: float | None) -> str:
    """0.123 -> 12.3 %"""
    return "–" if share is None else f"{share * 100:.{0 if share in (0, 1) else 1}f} %"


def moment(value: datetime | None) -> str:
    """2026-11-23 18:05:09, in UTC."""
    return "–" if value is None else value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def ago(value: datetime | None) -> str:
    """just now, 5 min ago, 3 h ago, 2 d ago; never."""
    if value is None:
        return "never"
    seconds = (utcnow() - value).total_seconds()
    for size, word in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size:.0f} {word} ago"
    return "just now"


def short(text: str | None, most: int = 40) -> str:
    """At most this many characters."""
    if text is None:
        return "–"
    return text if len(text) <= most else text[: most - 1] + "…"


_FILTERS: Final[Mapping[str, Callable[..., str]]] = {
    "usd": usd,
    "number": number,
    "ms": ms,
    "percent": percent,
    "moment": moment,
    "ago": ago,
    "short": short,
}
