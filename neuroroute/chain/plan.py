"""Stage `plan`: which targets may answer, in which order? Asks the router and keeps its decision."""

from neuroroute.chain import conversation
from neuroroute.chain.call import NO_STEERING, Call
from neuroroute.chain.services import Services
from neuroroute.routing.decision import NO_BOUNDS, Bounds, Decision, Question


def plan(call: Call, s: Services) -> None:
    """Sets `decision`. Raises UnknownModel, Forbidden, BadRequest when every model is closed, Unavailable when none is healthy."""
    call.decision = decide(call, s)


def decide(call: Call, s: Services) -> Decision:
    """The decision of a parsed and classified call; asks no provider."""
    assert call.principal is not None and call.catalog is not None and call.classification is not None and call.client is not None
    asked = call.steering
    bounds = NO_BOUNDS
    if asked is not NO_STEERING:
        bounds = Bounds(asked.policy, asked.quality_floor, asked.max_cost_usd, asked.max_latency_ms, asked.allow, asked.deny)
    question = Question(
        model=call.requested_model,
        principal=call.principal,
        dialect=call.dialect,
        stream=call.stream,
        max_output_tokens=conversation.of(call).max_output_tokens,
        bounds=bounds,
        tags={**call.principal.tags, **asked.tags} if asked.tags else call.principal.tags,
        headers=call.headers,
    )
    return s.router.decide(question, call.classification, call.catalog)
