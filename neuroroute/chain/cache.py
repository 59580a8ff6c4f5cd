"""
Stage `cache`: was this very question answered before, for the same caller?

`find` stands before classify and dispatch, and after auth: a key that was revoked or may not use the model finds nothing. What is kept is kept
in the form in which it went out, the books' figures beside it.
"""

from typing import Final

from neuroroute.caching.keys import Share, cache_key, scope_of
from neuroroute.caching.policy import OFF, Directive, Plan, Strategy
from neuroroute.caching.policy import plan as cache_plan
from neuroroute.caching.responses import Entry
from neuroroute.chain import conversation
from neuroroute.chain.call import Call
from neuroroute.chain.services import Services
from neuroroute.core.clock import monotonic_s
from neuroroute.core.errors import NotCached
from neuroroute.core.types import Dialect, Reply, Usage

MAX_RECORDED_BYTES: Final = 4 << 20
"""A longer stream is not kept: one answer must not push out thousands."""


async def find(call: Call, s: Services) -> Entry | None:
    """Sets `cache_key` and `cache_state`. Raises NotCached if the call wants nothing else."""
    plan = _plan(call, s)
    call.cache_plan = plan
    if plan is OFF:
        return None
    call.cache_state = "miss" if plan.read else "bypass"
    call.cache_key = key = _key(call, s)
    if plan.read and _may_name(call):
        entry = s.cache.look(key)
        if entry is None and s.cache.has_behind:
            entry = await s.cache.look_behind(key)
        if entry is not None:
            _hit(call, entry)
            return entry
    if call.steering.cache == Directive.ONLY:
        raise NotCached("No kept answer for this request, and 'neuroroute.cache: only' asks for nothing else.", param="neuroroute.cache")
    return None


def keep(call: Call, reply: Reply, s: Services) -> None:
    """A good whole answer is kept, if its call's plan says so."""
    _keep(call, reply.body, reply.headers.get("content-type", "application/json"), s)


class Recording:
    """The bytes of a stream on their way out, to be kept when it ends well."""

    __slots__ = ("_call", "_pieces", "_s", "_size")

    def __init__(self, call: Call, s: Services) -> None:
        self._call, self._s, self._size = call, s, 0
        plan = call.cache_plan
        self._pieces: list[bytes] | None = [] if plan is not None and plan.write else None

    def add(self, piece: bytes) -> None:
        if self._pieces is not None:
            self._pieces.append(piece)
            self._size += len(piece)
            if self._size > MAX_RECORDED_BYTES:
                self._pieces = None

    def keep(self, last: bytes) -> None:
        """The stream came to its proper end with these bytes."""
        if self._pieces is not None:
            _keep(self._call, b"".join([*self._pieces, last]), "text/event-stream", self._s)


def _plan(call: Call, s: Services) -> Plan:
    settings = s.settings
    if not settings.enable_cache or call.client is None or call.dialect is Dialect.PASS:
        return OFF
    strategy = Strategy(settings.cache_strategy)
    return cache_plan(
        strategy,
        settings.cache_ttl,
        call.dialect,
        call.client.body,
        prompt_chars=len(conversation.of(call).prompt) if strategy is Strategy.MINIMAL else 0,
        directive=call.steering.cache,
        call_ttl_s=call.steering.cache_ttl_s,
    )


def _key(call: Call, s: Services) -> bytes:
    principal, client, catalog, asked = call.principal, call.client, call.catalog, call.steering
    assert principal is not None and client is not None and catalog is not None
    share = Share.EVERYONE if s.cache_shared_by_all else Share.KEY if s.settings.cache_by_user else Share.USER
    steering: dict[str, object] = {}
    if asked.policy or asked.quality_floor or asked.max_cost_usd or asked.max_latency_ms or asked.allow or asked.deny:
        steering = {
            "policy": asked.policy,
            "floor": asked.quality_floor,
            "cost": asked.max_cost_usd,
            "latency": asked.max_latency_ms,
            "allow": asked.allow,
            "deny": asked.deny,
        }
    if principal.allowed_models is not None:
        steering["allowed_models"] = sorted(principal.allowed_models)
    return cache_key(
        scope=scope_of(principal, share),
        dialect=call.dialect,
        path=call.path,
        catalog_version=catalog.version,
        model=call.requested_model,
        body=client.body,
        stream=client.stream,
        query=call.query,
        steering=steering or None,
        headers=client.headers,
    )


def _may_name(call: Call) -> bool:
    assert call.principal is not None and call.catalog is not None
    allowed = call.principal.allowed_models
    return allowed is None or call.catalog.may_name(call.requested_model, allowed)


def _hit(call: Call, entry: Entry) -> None:
    assert call.catalog is not None
    call.cache_state = "hit"
    call.kept_entry = entry
    call.finish_reason = entry.finish_reason
    used = entry.usage
    call.usage = Usage(
        used.prompt_tokens, used.completion_tokens, used.cached_tokens, used.cache_write_tokens, used.reasoning_tokens, used.source
    )
    found = call.catalog.entry(f"{entry.provider}/{entry.model}")
    call.target = found.target if found is not None else None
    call.first_byte_s = monotonic_s()


def _keep(call: Call, body: bytes, content_type: str, s: Services) -> None:
    plan, key, target, principal = call.cache_plan, call.cache_key, call.target, call.principal
    if plan is None or key is None or target is None or principal is None or not plan.keeps(call.finish_reason, call.dialect):
        return
    entry = Entry(
        body=body,
        content_type=content_type,
        stream=call.stream,
        model=target.model.name,
        provider=target.provider.name,
        finish_reason=call.finish_reason,
        usage=call.usage,
        cost_nanousd=call.cost_nanousd,
        latency_s=monotonic_s() - call.started_s,
        tags=(
            f"model:{target.model.name}",
            f"key:{principal.key_id}",
            f"user:{principal.user_id}",
            *(f"tag:{k}={v}" for k, v in call.steering.tags.items()),
        ),
    )
    s.cache.keep(key, entry, plan.ttl_s)
