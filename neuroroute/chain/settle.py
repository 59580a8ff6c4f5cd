"""
Stage `settle`: whatever happened, this call goes on the books, once.

A plain `def`: no cancellation can come between. It appends to the ledger's buffer and to counters; all I/O is somebody else's, later.
"""

from typing import Any, Final

from neuroroute.accounting.cost import baseline_nanousd, cost_nanousd
from neuroroute.accounting.units import units_nanousd
from neuroroute.caching.entry import Entry
from neuroroute.chain.call import Call
from neuroroute.chain.services import Services
from neuroroute.chain.trace import finish
from neuroroute.core import tokens
from neuroroute.core.clock import monotonic_s, utcnow
from neuroroute.core.errors import ClientGone, StreamCut
from neuroroute.core.types import Dialect
from neuroroute.routing import trail
from neuroroute.routing.evidence import STALLS
from neuroroute.store.usage import UsageRecord

_OWN_BASELINE: Final = frozenset({Dialect.PASS, Dialect.EMBEDDINGS})
"""Where the baseline model could not have answered: there each call is its own baseline."""


def settle(call: Call, s: Services) -> None:
    """Writes the usage record and the metrics, gives back what the limits held. A second call does nothing."""
    if call.settled:
        return
    call.settled = True
    if call.slot is not None:
        call.slot.release()
    if call.verdict is not None:
        call.verdict.correct(call.usage.prompt_tokens + call.usage.completion_tokens)
    _price(call)
    if call.reservation is not None:
        s.budgets.settle(call.reservation, call.cost_nanousd or 0, call.request_id)
    if call.principal is None:  # nobody's call: it has no row, for a stranger must not be able to fill the table
        s.metrics.refused(call.error.code if call.error is not None and call.error.code else "unknown")
        return
    record = _record(call, s)
    for tried in call.tried:
        s.metrics.count("neuroroute_attempts", (tried.target.name, tried.outcome))
    s.ledger.settle(record)
    s.metrics.observe(record)
    if s.texts is not None:
        s.texts.keep(call)
    if s.traces is not None:
        finish(call, record, s.traces)
    if call.error is None and not call.is_paid_elsewhere:
        _learn(call, s, stalled=(record.decision or {}).get("outcome") in STALLS)


def _learn(call: Call, s: Services, *, stalled: bool) -> None:
    """What a good answer teaches: how long such answers are, who answered this conversation, how the model counts."""
    if call.target is None:
        return
    if call.thread is not None and call.decision is not None:
        last = call.decision.thread
        raised = call.decision.escalated or (last.raised and last.target == call.target.name)
        s.threads.answered(call.thread, call.target.name, call.usage, monotonic_s(), stalled=stalled, raised=raised)
    if call.classification is not None and call.finish_reason in ("stop", "tool_calls"):
        s.router.lengths.observe(call.classification.label, call.target.name, call.usage.completion_tokens)
    if call.usage.source == "provider" and call.conversation is not None:
        tokens.learn(call.target.model.name, call.conversation.prompt_tokens, call.usage.prompt_tokens)


def _price(call: Call) -> None:
    """What it cost, and what it would have cost at the baseline. An answer from the cache costs nothing and saves all."""
    if call.target is None:
        return
    if call.dialect is Dialect.PASS and (call.error is None or call.committed):
        answer = call.answer if isinstance(call.answer, bytes) else b""
        by_unit = units_nanousd(call.target.model.price, call.path, call.body, answer)
        if by_unit is not None:
            call.cost_nanousd = call.baseline_cost_nanousd = by_unit
            return
    if call.usage.source == "none":
        return
    used = call.usage
    full = cost_nanousd(call.target.model.price, used)
    call.cost_nanousd = 0 if call.is_paid_elsewhere else full
    baseline = call.catalog.baseline_of(call.requested_model) if call.catalog is not None and call.dialect not in _OWN_BASELINE else None
    if baseline is None or baseline.name == call.target.name:  # what its provider had in its cache is no merit of ours
        call.baseline_cost_nanousd = full
    else:
        call.baseline_cost_nanousd = baseline_nanousd(baseline.model.price, used)


def status_of(call: Call) -> str:
    """ok, client_gone, cut (the stream broke after its first byte), error."""
    if call.error is None:
        return "ok"
    if isinstance(call.error, ClientGone):
        return "client_gone"
    return "cut" if call.committed or isinstance(call.error, StreamCut) else "error"


def _record(call: Call, s: Services) -> UsageRecord:
    principal, seen, error, target = call.principal, call.classification, call.error, call.target
    assert principal is not None
    now_s = monotonic_s()
    took_s = now_s - call.started_s
    free = call.is_paid_elsewhere
    return UsageRecord(
        request_id=call.request_id,
        client_request_id=call.client_request_id,
        created_at=utcnow(),
        key_id=principal.key_id,
        user_id=principal.user_id,
        requested_model=call.requested_model,
        model=target.model.name if target is not None else None,
        provider=target.provider.name if target is not None else None,
        label=seen.label if seen is not None else None,
        difficulty=seen.difficulty if seen is not None else None,
        language=seen.language if seen is not None else None,
        policy=call.decision.policy or None if call.decision is not None else None,
        dialect=call.dialect.value,
        endpoint="/v1" + call.path if call.group == "v1" else "/prompt",
        stream=call.stream,
        prompt_tokens=call.usage.prompt_tokens,
        completion_tokens=call.usage.completion_tokens,
        cached_tokens=call.usage.cached_tokens,
        cache_write_tokens=call.usage.cache_write_tokens,
        reasoning_tokens=call.usage.reasoning_tokens,
        tokens_source=call.usage.source,
        cost_nanousd=0 if free else call.cost_nanousd,
        baseline_cost_nanousd=call.baseline_cost_nanousd,
        cache=call.cache_state,
        attempts=len(call.tried),
        status=status_of(call),
        http_status=error.status if error is not None and not call.committed else 200,
        error_code=(error.code or error.type) if error is not None else None,
        latency_ms=took_s * 1000,
        ttft_ms=(call.first_byte_s - call.started_s) * 1000 if call.first_byte_s is not None else None,
        overhead_ms=_overhead_ms(call, took_s),
        tags=s.budget_rules.tags(principal, call.steering.tags),
        decision=_decision(call, s),
    )


def _decision(call: Call, s: Services) -> dict[str, Any]:
    """What the row keeps of how the call was decided, and where its time went."""
    kept = s.learning.settled(call, s.router) or {"v": trail.VERSION}
    began_s = call.started_s
    kept["stages"] = [(stage, int(took_s * 1e6)) for stage, took_s in call.stages]
    if call.tried:
        kept["tries"] = [(one.target.name, one.outcome, int((one.began_s - began_s) * 1e6), int(one.took_s * 1e6)) for one in call.tried]
    if call.kept_entry is not None and call.error is None:
        kept["spared"] = _spared(call, call.kept_entry)
    return kept


def _spared(call: Call, entry: Entry) -> list[float]:
    """What it cost whoever asked its model, in 10^-9 USD, and how much longer that took, in ms."""
    return [entry.cost_nanousd or 0, round(max(entry.latency_s - (monotonic_s() - call.started_s), 0.0) * 1000, 3)]


def _overhead_ms(call: Call, took_s: float) -> float:
    """The gateway's own time: until the answer's beginning less the wait for providers; the relay of a stream waits on others all the time."""
    until_s = call.first_byte_s - call.started_s if call.first_byte_s is not None and call.stream else took_s
    return max(until_s - call.upstream_s, 0.0) * 1000
