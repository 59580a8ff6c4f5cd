"""Whether a provider can be used: it is asked for its models, and what is wrong is said in plain words."""

from typing import Any, Final

from neuroroute.adapters.discovery import models_of
from neuroroute.adapters.transport import Transport
from neuroroute.core.clock import monotonic_s
from neuroroute.core.errors import ConnectFailed, UpstreamBroken, UpstreamError, UpstreamTimeout
from neuroroute.core.types import Protocol, Provider

WITHIN_S: Final = 5.0
SHOWN_MODELS: Final = 20


async def probe(transport: Transport, provider: Provider) -> dict[str, Any]:
    """ok, message, how many models it lists and the first of their names, milliseconds. Never raises for what the provider does."""
    if provider.protocol is Protocol.DEMO:
        return {"ok": True, "message": "It is built in and needs no network.", "models": None, "sample": [], "latency_ms": 0.0}
    began_s = monotonic_s()
    try:
        models = await models_of(transport, provider, WITHIN_S)
    except UpstreamError as error:
        return {"ok": False, "message": _why(error, provider), "models": None, "sample": [], "latency_ms": _ms(began_s)}
    message = f"It answers, and lists {len(models)} models." if models else "It answers, but lists no models: is one loaded?"
    return {
        "ok": bool(models),
        "message": message,
        "models": len(models),
        "sample": [model.name for model in models[:SHOWN_MODELS]],
        "latency_ms": _ms(began_s),
    }


def _ms(began_s: float) -> float:
    return round((monotonic_s() - began_s) * 1000, 1)


def _why(error: UpstreamError, provider: Provider) -> str:
    text = error.message
    if "in time" in text or isinstance(error, UpstreamTimeout):
        return f"It did not answer within {WITHIN_S:g} seconds: is the address right, and is it reachable from here?"
    if "private" in text:
        return "Its address leads into a private network, which the configuration file does not allow (security.private_hosts)."
    if isinstance(error, ConnectFailed):
        return "No connection: the name is not known, nobody listens there, or TLS failed. Is base_url right?"
    if isinstance(error, UpstreamBroken):
        return "It broke the connection: does it speak HTTP at this address, or HTTPS instead?"
    if "answered 401" in text or "answered 403" in text:
        return "It refuses the key: " + ("the key is wrong, or may not list models." if provider.api_key else "no api_key is set.")
    if "answered 404" in text or "answered 405" in text:
        hint = "without /v1" if provider.protocol is Protocol.ANTHROPIC else "with /v1 at its end for most servers"
        return f"It has no list of models at this address: base_url is expected {hint}, and protocol must fit."
    if "answered 429" in text:
        return "It answers that there are too many requests, or that the account has no credit."
    if "answered 3" in text:
        return "It redirects elsewhere, which is not followed: give the address that it leads to."
    if "answered 5" in text:
        return "It answers that it has trouble itself; try again later."
    if "not JSON" in text or "no data" in text:
        return "It answers, but not with a list of models: base_url leads to something else than an API."
    return f"It does not work: {text}."
