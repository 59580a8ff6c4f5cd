"""The one root middleware: every failure outside a call's own life becomes an answer in the caller's dialect, without a trace of its insides."""

import logging
import math
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from neuroroute.core import jsonbytes
from neuroroute.core.errors import InternalError, MethodNotAllowed, NeuroRouteError, NotFound, TooLarge, Unauthenticated, WrongMediaType
from neuroroute.core.ids import new_id
from neuroroute.web.whole import Whole

_REQUEST_ID: Final = web.RequestKey("request_id", str)
_log = logging.getLogger("neuroroute.web")


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answers NeuroRouteError as it says; aiohttp's own refusals in the same shape; a bug as 500 with an id that is also in the log."""
    try:
        response = await handler(request)
        if not isinstance(response, Whole) and "x-request-id" not in response.headers and not response.prepared:
            response.headers["x-request-id"] = request_id_of(request)
        return response
    except NeuroRouteError as error:
        return answer(request, error)
    except web.HTTPException as refusal:
        if refusal.status < 400:
            raise
        return refused(request, refusal)
    except ConnectionError:
        raise
    except Exception as bug:  # noqa: BLE001 - the edge: whatever no handler foresaw
        return failed(request, bug)


def failed(request: web.BaseRequest, bug: Exception) -> web.Response:
    """The answer to a bug: an id that is also in the log. A client that left is none: raises ConnectionError on."""
    if isinstance(bug, ConnectionError):
        raise bug
    request_id = request_id_of(request)
    _log.error("bug while answering %s %s (%s)", request.method, request.rel_url.path[:200], request_id, exc_info=bug)
    return answer(request, InternalError.known_as(request_id), request_id)


def request_id_of(request: web.BaseRequest) -> str:
    """The id under which a request that is no call is known: in its answer, in the log, in the audit log."""
    if _REQUEST_ID not in request:
        request[_REQUEST_ID] = new_id("req")
    return request[_REQUEST_ID]


def answer(request: web.BaseRequest, error: NeuroRouteError, request_id: str | None = None, *, path: str | None = None) -> web.Response:
    """The error as JSON: Anthropic's shape below /v1/messages, OpenAI's everywhere else. path: where the request itself does not tell."""
    request_id = request_id or request_id_of(request)
    anthropic = (path or request.rel_url.path).startswith("/v1/messages")
    body = jsonbytes.dumps(error.anthropic(request_id) if anthropic else error.openai())
    headers = {"content-type": "application/json", "x-request-id": request_id}
    if anthropic:
        headers["request-id"] = request_id
    if error.retry_after_s is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
    if error.should_retry is not None:
        headers["x-should-retry"] = "true" if error.should_retry else "false"
    if isinstance(error, Unauthenticated):
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, _Allowing):
        headers["allow"] = error.allow
    return web.Response(status=error.status, body=body, headers=headers)


def refused(request: web.BaseRequest, refusal: web.HTTPException) -> web.Response:
    """aiohttp's own refusal in our shape."""
    return answer(request, _ours(request, refusal))


class _Allowing(MethodNotAllowed):
    """405 with the methods that are allowed."""

    def __init__(self, message: str, allow: str) -> None:
        super().__init__(message)
        self.allow = allow


def _ours(request: web.BaseRequest, refusal: web.HTTPException) -> NeuroRouteError:
    path = request.rel_url.path[:200]
    if refusal.status == 404:
        return NotFound(f"Invalid URL ({request.method} {path})")
    if isinstance(refusal, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(refusal.allowed_methods))
        return _Allowing(f"Not allowed to {request.method} on {path}: expected {allowed}.", allowed)
    if refusal.status == 413:
        return TooLarge("The body of your request is larger than this gateway accepts.")
    if refusal.status == 415:
        return WrongMediaType("The content type of your request is not accepted here.")
    error = NeuroRouteError(refusal.reason or "The request was refused.")
    error.status, error.type = refusal.status, "invalid_request_error" if refusal.status < 500 else "server_error"
    return error
