"""
Stage `cache`: was this very question answered before, for the same caller?

`find` stands before classify and dispatch, and after auth: a key that was revoked or may not use the model finds nothing. What is kept is kept
in the form in which it went out, the books' figures beside it; a chat or completions call that wants the other form gets it made of the kept one.
"""

from collections.abc import Mapping
from typing import Any

from neuroroute.adapters.relay import asks_usage
from neuroroute.caching.entry import Entry, streamed
from neuroroute.caching.keys import FORM_FREE, cache_key, scope_of
from neuroroute.caching.policy import OFF, Directive, Plan, Strategy
from neuroroute.caching.policy import plan as cache_plan
from neuroroute.chain import conversation
from neuroroute.chain.call import Call
from neuroroute.chain.dispatch import Streaming
from neuroroute.chain.flight import ALONE_BYTES, SHARED_BYTES, Flight
from neuroroute.chain.services import Services
from neuroroute.core.clock import monotonic_s
from neuroroute.core.errors import NotCached, UpstreamBroken
from neuroroute.core.types import Dialect, Reply
from neuroroute.routing.catalog import Catalog, is_auto


async def find(call: Call, s: Services) -> Entry | None:
    """Sets `cache_key` and `cache_state`. Raises NotCached if the call wants nothing else."""
    plan = _plan(call, s)
    call.cache_plan = plan
    if plan is OFF:
        _nothing_else(call)
        return None
    call.cache_state = "miss" if plan.read else "bypass"
    call.cache_key = key = key_of(call, s, call.body)
    if plan.read and _may_name(call):
        entry = s.cache.look(key)
        if entry is None and s.cache.has_behind:
            entry = await s.cache.look_behind(key)
        if entry is not None and entry.stream != call.stream and call.dialect in FORM_FREE:
            entry = s.cache.other_form(key, entry)
        if entry is not None and is_true_still(call, entry):
            call.cache_state = "hit"
            taken(call, entry)
            return entry
    _nothing_else(call)
    return None


def _nothing_else(call: Call) -> None:
    """Raises NotCached if the call wants a kept answer or none, also where nothing is kept."""
    if call.steering.cache == Directive.ONLY:
        raise NotCached("No kept answer for this request, and 'neuroroute.cache: only' asks for nothing else.", param="neuroroute.cache")


def keep(call: Call, reply: Reply, s: Services) -> None:
    """A good whole answer is kept, if its call's plan says so, and handed to those who joined the call."""
    plan = call.cache_plan
    if call.flight is None and (plan is None or not plan.write):
        return
    entry = _made(call, reply.body, reply.headers.get("content-type", "application/json"), reply.status)
    if call.flight is not None:
        call.flight.entry = entry
        call.flight.tell()
    _keep(call, entry, s)


def may_share(call: Call) -> bool:
    """Whether calls that ask the same at the same time may share the answer."""
    return call.cache_plan is not None and call.cache_plan.read and call.cache_key is not None


def joined(call: Call, flight: Flight) -> Entry:
    """The answer that the call joined, in its own form. Raises the error that it ended in."""
    entry = flight.entry
    if entry is None:
        assert flight.error is not None
        raise flight.error.with_traceback(None)
    if entry.stream != call.stream:
        told = entry.in_form(stream=call.stream)
        if told is None:
            raise UpstreamBroken("the provider's answer can not be told in the form that was asked for")
        entry = told
    taken(call, entry)
    return entry


def wants_usage(call: Call) -> bool:
    """Whether the call's stream ends with its usage event. Streams of other dialects tell it in their own way."""
    return call.dialect not in FORM_FREE or asks_usage(call.body)


def taken(call: Call, entry: Entry) -> None:
    """The call is answered with this entry: its figures become the call's own."""
    assert call.catalog is not None
    call.kept_entry = entry
    call.finish_reason = entry.finish_reason
    call.usage = entry.usage
    found = call.catalog.entry(f"{entry.provider}/{entry.model}")
    call.target = found.target if found is not None else None
    if call.first_byte_s is None:
        call.first_byte_s = monotonic_s()


class Recording:
    """The bytes of a stream on their way out: for those who join the call, and to be kept when it ends well."""

    __slots__ = ("_call", "_pieces", "_s", "_size", "_stream")

    def __init__(self, call: Call, stream: Streaming, s: Services) -> None:
        self._call, self._stream, self._s, self._size = call, stream, s, 0
        plan = call.cache_plan
        self._pieces: list[bytes] | None = [] if plan is not None and plan.write else None
        if call.flight is not None:
            call.flight.begin(stream, call.target)
            self._pieces = call.flight.pieces

    def add(self, piece: bytes) -> None:
        if self._pieces is None:
            return
        self._size += len(piece)
        flight = self._call.flight
        if self._size > ALONE_BYTES and (flight is None or not flight.passengers or self._size > SHARED_BYTES):
            self._stop()
        elif flight is not None:
            flight.add(piece)
        else:
            self._pieces.append(piece)

    def keep(self, last: bytes) -> None:
        """The stream came to its proper end with these bytes."""
        if self._pieces is None:
            return
        call, size = self._call, self._size
        body, usage_at = b"".join([*self._pieces, last]), -1
        if call.dialect in FORM_FREE:
            body, usage_at = streamed(body, call.usage, self._stream.usage_event, size)
        entry = _made(call, body, "text/event-stream", usage_at=usage_at)
        if call.flight is not None:
            call.flight.entry = entry
            call.flight.tell()
        if len(body) <= ALONE_BYTES:
            _keep(call, entry, self._s)

    def _stop(self) -> None:
        """It grew too long to be held: nobody can join any more, and who did is cut off."""
        call, self._pieces = self._call, None
        if call.flight is not None and call.cache_key is not None:
            call.flight.pieces.clear()
            self._s.flights.land(call.cache_key, call.flight, None)
            call.flight = None


def _plan(call: Call, s: Services) -> Plan:
    settings = s.settings
    if not settings.enable_cache or call.client is None or call.dialect is Dialect.PASS:
        return OFF
    strategy = Strategy(settings.cache_strategy)
    return cache_plan(
        strategy,
        s.cache_rules.ttl_s,
        call.dialect,
        call.client.body,
        prompt_chars=len(conversation.of(call).prompt) if strategy is Strategy.MINIMAL else 0,
        directive=call.steering.cache,
        call_ttl_s=call.steering.cache_ttl_s,
    )


def key_of(call: Call, s: Services, body: Mapping[str, Any]) -> bytes:
    """The key of a call whose body is this."""
    principal, client, catalog, asked = call.principal, call.client, call.catalog, call.steering
    assert principal is not None and client is not None and catalog is not None
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
        scope=scope_of(principal, s.cache_rules.share),
        dialect=call.dialect,
        path=call.path,
        catalog_version=catalog.version if is_auto(call.requested_model) else None,
        model=call.requested_model,
        body=body,
        stream=client.stream,
        query=call.query,
        steering=steering or None,
        headers=client.headers,
    )


def _may_name(call: Call) -> bool:
    assert call.principal is not None and call.catalog is not None
    allowed = call.principal.allowed_models
    return allowed is None or call.catalog.may_name(call.requested_model, allowed)


def is_true_still(call: Call, entry: Entry) -> bool:
    """Whether who gave the answer would be asked today, too: the same upstream under the same name, and still one of those that the name means."""
    catalog = call.catalog
    assert catalog is not None
    found = catalog.entry(f"{entry.provider}/{entry.model}")
    if found is None or found.target.origin != entry.origin:
        return False
    name = call.requested_model
    if name not in catalog.aliases and catalog.entries.get(name) is found:
        return True
    return is_auto(name) or found.key in _meant(catalog, name)


def _meant(catalog: Catalog, name: str) -> set[str]:
    """Names of the targets that may answer a call for `name`."""
    if (chain := catalog.aliases.get(name)) is not None:
        return {target.name for target in chain}
    entry = catalog.entry(name) or catalog.entry(name.removeprefix("neuroroute/"))
    return {entry.key, *[target.name for target in catalog.fallbacks.get(entry.key, ())]} if entry is not None else set()


def _made(call: Call, body: bytes, content_type: str, status: int = 200, usage_at: int = -1) -> Entry:
    target, principal = call.target, call.principal
    assert target is not None and principal is not None
    return Entry(
        body=body,
        content_type=content_type,
        status=status,
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
            *[f"tag:{name}={value}" for name, value in {**call.steering.tags, **principal.tags}.items()],
        ),
        usage_at=usage_at,
        origin=target.origin,
    )


def _keep(call: Call, entry: Entry, s: Services) -> None:
    plan, key = call.cache_plan, call.cache_key
    if plan is not None and key is not None and plan.keeps(call.finish_reason, call.dialect):
        s.cache.keep(key, entry, plan.ttl_s)
        if call.semantic is not None:
            s.semantic.keep(call, entry, plan.ttl_s, s)
