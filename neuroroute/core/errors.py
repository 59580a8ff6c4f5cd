"""
Every failure a call can end in.

* NeuroRouteError
  x ClientError              source=client; never tried again
    - BadRequest             400 invalid_request_error; `param` names the field
    - Unauthenticated        401 invalid_api_key
    - BudgetSpent            429 insufficient_quota; x-should-retry: false
    - Forbidden              403 permission_denied
    - NotFound               404 not_found
    - UnknownModel           404 model_not_found; the message has the nearest names
    - MethodNotAllowed       405 method_not_allowed
    - SlowBody               408 request_timeout: the body did not come in time
    - Conflict               409 conflict
    - TooLarge               413 request_too_large
    - WrongMediaType         415 unsupported_media_type
    - RateLimited            429 rate_limit_exceeded; carries retry_after_s
    - NotCached              504 cache_miss: the client asked for `only` cached answers
    - ClientGone             499, in logs and rows only; nothing is written
  x UpstreamError            source=upstream
    - ConnectFailed          502 upstream_error; nothing was sent; next target, or again
    - UpstreamTimeout        504 upstream_timeout (408 where the provider says that itself); next target
    - UpstreamLimited        429 rate_limit_exceeded: the provider's own limit; carries retry_after_s; next target
    - UpstreamBusy           503/529 service_unavailable; carries retry_after_s; next target
    - UpstreamBroken         502 upstream_error: bytes that make no sense; or the 5xx, type and code that the provider reports; next target, or again
    - UpstreamDenied         502 upstream_error: the provider refused *our* credentials; next target
    - UpstreamModelGone      404 model_not_found at the provider; next target
    - UpstreamRefused        4xx that is the request's own fault; status, message, type, code pass; never tried again
    - StreamCut              after the first byte; never tried again
  x Unavailable              503 service_unavailable: we can not serve now (no healthy target, database away); carries retry_after_s
  x InternalError            source=internal; 500; the message carries an id that is also in the log
"""

from enum import Enum
from typing import Self

_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class Retry(Enum):
    """What dispatch may do next."""

    NEVER = "never"
    SAME = "same"  # the next target, or the same one again where there is no other
    NEXT = "next"  # the next target only


class NeuroRouteError(Exception):
    """
    Base of all errors raised on purpose.

    message: shown to the client: no secret, path, or address in it.
    param: the request's field that is at fault.
    retry_after_s: when a retry may help; None = unknown.
    """

    status: int = 500
    type: str = "server_error"
    code: str | None = None
    retry: Retry = Retry.NEVER
    should_retry: bool | None = None  # becomes x-should-retry; None = the SDK decides by the status

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.message, self.param, self.retry_after_s = message, param, retry_after_s
        if code is not None:
            self.code = code

    def openai(self) -> dict[str, object]:
        """The body of an OpenAI error answer, and the event of a failed OpenAI stream."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}

    def anthropic(self, request_id: str) -> dict[str, object]:
        """The body of an Anthropic error answer, and the `error` event of a failed Anthropic stream."""
        kind = _ANTHROPIC_TYPES.get(self.status, "api_error" if self.status >= 500 else "invalid_request_error")
        return {"type": "error", "error": {"type": kind, "message": self.message}, "request_id": request_id}


class ClientError(NeuroRouteError):
    status, type = 400, "invalid_request_error"


class BadRequest(ClientError): ...


class Unauthenticated(ClientError):
    status, code = 401, "invalid_api_key"


class BudgetSpent(ClientError):
    status, type, code, should_retry = 429, "insufficient_quota", "insufficient_quota", False


class Forbidden(ClientError):
    status, type, code = 403, "permission_error", "permission_denied"


class NotFound(ClientError):
    status, code = 404, "not_found"


class UnknownModel(ClientError):
    status, code = 404, "model_not_found"


class MethodNotAllowed(ClientError):
    status, code = 405, "method_not_allowed"


class SlowBody(ClientError):
    status, type, code = 408, "timeout_error", "request_timeout"


class Conflict(ClientError):
    status, type, code, should_retry = 409, "conflict_error", "conflict", False


class TooLarge(ClientError):
    status, code = 413, "request_too_large"


class WrongMediaType(ClientError):
    status, code = 415, "unsupported_media_type"


class RateLimited(ClientError):
    status, type, code = 429, "rate_limit_error", "rate_limit_exceeded"


class NotCached(ClientError):
    status, code, should_retry = 504, "cache_miss", False


class ClientGone(ClientError):
    status, code = 499, "client_gone"


class UpstreamError(NeuroRouteError):
    status, retry = 502, Retry.NEXT
    code: str | None = "upstream_error"


class ConnectFailed(UpstreamError):
    retry = Retry.SAME


class UpstreamTimeout(UpstreamError):
    status, code = 504, "upstream_timeout"


class UpstreamLimited(UpstreamError):
    status, type, code = 429, "rate_limit_error", "rate_limit_exceeded"


class UpstreamBusy(UpstreamError):
    status, code = 503, "service_unavailable"


class UpstreamBroken(UpstreamError):
    retry = Retry.SAME


class UpstreamDenied(UpstreamError):
    should_retry = False


class UpstreamModelGone(UpstreamError):
    status, type, code, should_retry = 404, "invalid_request_error", "model_not_found", False


class UpstreamRefused(UpstreamError):
    """A 4xx answer that another try can not mend. `status`, `type`, `code`, `param` are the provider's own."""

    retry = Retry.NEVER

    def __init__(
        self, message: str, *, status: int, type: str = "invalid_request_error", code: str | None = None, param: str | None = None
    ) -> None:
        super().__init__(message, param=param)
        self.status, self.type, self.code = status, type, code


class StreamCut(UpstreamError):
    retry = Retry.NEVER


class Unavailable(NeuroRouteError):
    status, code = 503, "service_unavailable"


class InternalError(NeuroRouteError):
    """A bug of ours."""

    @classmethod
    def known_as(cls, request_id: str) -> Self:
        """All that a client is told: under which id the log has the rest."""
        return cls(f"Something went wrong here; it is on record as {request_id}.")
