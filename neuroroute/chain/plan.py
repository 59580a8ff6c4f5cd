"""Stage `plan`: which targets may answer, in which order? Asks the router and keeps its decision."""

import hashlib
from dataclasses import replace
from typing import Final

from neuroroute.chain import conversation
from neuroroute.chain.call import NO_STEERING, Call
from neuroroute.chain.services import Services
from neuroroute.core.clock import monotonic_s
from neuroroute.core.errors import BadRequest, Forbidden, NotFound
from neuroroute.core.types import Model, Target
from neuroroute.routing.catalog import AUTO, is_auto
from neuroroute.routing.decision import NEW_THREAD, NO_BOUNDS, Bounds, Decision, Question, Thread
from neuroroute.routing.evidence import objects

VOICES_PATH: Final = "/audio/voices"
"""Where "auto" is a word of OpenAI's own API."""


def plan(call: Call, s: Services) -> None:
    """Sets `decision`. Raises UnknownModel, Forbidden, BadRequest when every model is closed, Unavailable when none is healthy."""
    call.decision = decide(call, s)


def plan_pass(call: Call, s: Services) -> None:
    """
    The plan of a path that is only passed on: the provider of the named model, or the default one where none is named.

    A key that may not use all models must name one: behind a path without a model (files, batches) any model could run.
    """
    assert call.principal is not None and call.catalog is not None
    catalog, allowed = call.catalog, call.principal.allowed_models
    if call.requested_model and not (call.path == VOICES_PATH and call.requested_model == AUTO):
        if is_auto(call.requested_model):
            raise BadRequest("'auto' chooses models for chat, responses, messages and completions; name one here.", param="model")
        targets = catalog.find(call.requested_model, allowed)
        if not catalog.may_name(call.requested_model, allowed):
            raise Forbidden(f"This key may not use the model {call.requested_model[:256]!r}.", param="model")
        reason = "named"
    else:
        if allowed is not None and call.only_provider is None:
            raise Forbidden("This key may use some models only, so it can not call a path without a model.")
        provider = catalog.providers.get(call.only_provider or "") or catalog.default_provider
        if provider is None:
            raise NotFound(f"Invalid URL ({call.method} /v1{call.path[:200]})")
        targets = (Target(provider, Model("", provider.name, "", kind="none")),)
        reason = "keeps it" if call.only_provider else "default provider"
    call.decision = Decision(call.requested_model, targets, "", reason, catalog_version=catalog.version)


def _thread(call: Call, s: Services) -> Thread:
    """The conversation that this call continues: known by the session that the client names, or by how it began."""
    assert call.principal is not None
    said = conversation.of(call)
    name = call.steering.session or said.opening
    call.thread = hashlib.blake2b(f"{call.principal.key_id}\0{name}".encode("utf-8", "replace"), digest_size=16).digest()
    if said.turns < 2 and call.steering.session is None:
        return NEW_THREAD
    stalled = not said.tool_loop and (said.repeats or objects(said.prompt))
    return s.threads.find(call.thread, monotonic_s(), tool_loop=said.tool_loop, stalled=stalled)


def decide(call: Call, s: Services) -> Decision:
    """The decision of a parsed and classified call; asks no provider."""
    assert call.principal is not None and call.catalog is not None and call.client is not None
    asked = call.steering
    if call.classification is None and asked is NO_STEERING and call.only_provider is None and call.principal.allowed_models is None:
        named = s.router.named(call.requested_model, call.catalog)
        if named is not None:
            return named
    bounds = NO_BOUNDS
    if asked is not NO_STEERING:
        bounds = Bounds(asked.policy, asked.quality_floor, asked.max_cost_usd, asked.max_latency_ms, asked.allow, asked.deny)
    question = Question(
        model=call.requested_model,
        principal=call.principal,
        dialect=call.dialect,
        stream=call.stream,
        max_output_tokens=conversation.of(call).max_output_tokens if call.classification is not None else None,
        bounds=bounds,
        thread=_thread(call, s) if is_auto(call.requested_model) else NEW_THREAD,
        tags=s.budget_rules.tags(call.principal, asked.tags),
        headers=call.headers,
        instead=call.spent_policy,
    )
    decision = s.router.decide(question, call.classification, call.catalog)
    if call.only_provider is None:
        return decision
    targets = tuple(target for target in decision.targets if target.provider.name == call.only_provider)
    if not targets:
        text = f"The response that this one continues is kept by the provider {call.only_provider!r}: name one of its models."
        raise BadRequest(text, param="previous_response_id")
    return replace(decision, targets=targets)
