"""What a caller asks of the gateway for one call: headers `x-neuroroute-*`, and the body's member `neuroroute`, which wins."""

from collections.abc import Mapping
from typing import Any, Final

from neuroroute.chain.call import NO_STEERING, Steering
from neuroroute.chain.shapes import is_a
from neuroroute.core.errors import BadRequest

_NUMBER: Final = (int, float)
_MAX_CHARS: Final = 4096


def steering(headers: Mapping[str, str], body: Mapping[str, Any]) -> Steering:
    """What headers and the body's `neuroroute` member ask of us; the body wins. Raises BadRequest naming the field."""
    asked = body.get("neuroroute")
    policy, cache, tags = (
        header(headers, "x-neuroroute-policy"),
        header(headers, "x-neuroroute-cache"),
        header(headers, "x-neuroroute-tags"),
    )
    if asked is None and policy is None and cache is None and tags is None:
        return NO_STEERING
    own: Mapping[str, Any] = asked or {}
    if unknown := own.keys() - _STEERING_FIELDS:
        names = ", ".join(sorted(_STEERING_FIELDS))
        raise BadRequest(
            f"Unknown field 'neuroroute.{min(map(str, unknown))[:64]}': expected one of {names}.",
            param="neuroroute",
            code="unknown_parameter",
        )
    return Steering(
        policy=_policy(own) or policy,
        quality_floor=_bound(own, "quality_floor", 1.0),
        max_cost_usd=_bound(own, "max_cost_usd", 1e6),
        max_latency_ms=_bound(own, "max_latency_ms", 1e9),
        allow=_names(own, "allow"),
        deny=_names(own, "deny"),
        session=_text(own, "session"),
        cache=_cache(own.get("cache", cache)),
        cache_ttl_s=_ttl(own.get("cache_ttl_s")),
        tags=_tags(own.get("tags", tags)),
        explain=_flag(own, "explain", default=False),
        resumable=_flag(own, "resumable", default=False),
        store_prompts=_flag(own, "store_prompts", default=True),
    )


def header(headers: Mapping[str, str], name: str) -> str | None:
    """The text of a header; bytes in it that are no UTF-8 become question marks."""
    value = headers.get(name)
    return value if value is None or value.isascii() else value.encode("utf-8", "replace").decode()


_STEERING_FIELDS: Final = frozenset(
    {
        "policy",
        "quality_floor",
        "max_cost_usd",
        "max_latency_ms",
        "allow",
        "deny",
        "session",
        "cache",
        "cache_ttl_s",
        "tags",
        "explain",
        "resumable",
        "store_prompts",
    }
)


def _text(own: Mapping[str, Any], name: str) -> str | None:
    value = own.get(name)
    if value is not None and (not isinstance(value, str) or not 0 < len(value) <= 256):
        raise BadRequest(f"Invalid 'neuroroute.{name}': expected a string of 1 to 256 characters.", param=f"neuroroute.{name}")
    return value


def _policy(own: Mapping[str, Any]) -> str | None:
    """Its name; the dial may be a number, too."""
    value = own.get("policy")
    return f"{value:g}" if is_a(value, _NUMBER) else _text(own, "policy")


def _flag(own: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = own.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise BadRequest(f"Invalid 'neuroroute.{name}': expected true or false.", param=f"neuroroute.{name}", code="invalid_type")
    return value


def _bound(own: Mapping[str, Any], name: str, most: float) -> float | None:
    value = own.get(name)
    if value is None:
        return None
    if not is_a(value, _NUMBER) or not 0 <= value <= most:
        raise BadRequest(f"Invalid 'neuroroute.{name}': expected a number from 0 to {most:g}.", param=f"neuroroute.{name}")
    return float(value)


def _names(own: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = own.get(name)
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > 100 or not all(isinstance(v, str) for v in value):
        raise BadRequest(f"Invalid 'neuroroute.{name}': expected an array of at most 100 model names.", param=f"neuroroute.{name}")
    return tuple(value)


def _cache(value: object) -> str:
    if value is None:
        return "default"
    if value not in ("default", "no-store", "refresh", "only"):
        raise BadRequest(
            "Invalid 'neuroroute.cache': expected default, no-store, refresh or only.", param="neuroroute.cache", code="invalid_value"
        )
    return str(value)


def _ttl(value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 30 * 86400:
        raise BadRequest("Invalid 'neuroroute.cache_ttl_s': expected seconds from 1 to 2592000.", param="neuroroute.cache_ttl_s")
    return value


def _tags(value: object) -> dict[str, str]:
    """{"team": "search"} or "team=search,env=prod"."""
    if value is None:
        return {}
    fault = BadRequest(
        "Invalid 'neuroroute.tags': expected at most 16 of name=value, names to 64 and values to 256 characters.", param="neuroroute.tags"
    )
    if isinstance(value, str):
        if len(value) > _MAX_CHARS:
            raise fault
        pairs = [part.partition("=") for part in value.split(",") if part.strip()]
        found = {name.strip(): text.strip() for name, _, text in pairs}
    elif isinstance(value, dict) and all(isinstance(v, str) for v in value.values()):
        found = dict(value)
    else:
        raise fault
    if len(found) > 16 or not all(0 < len(k) <= 64 and len(v) <= 256 for k, v in found.items()):
        raise fault
    return found
