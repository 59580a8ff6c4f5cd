"""A call's place in a trace: what a provider is told of it, and what tracing is told when it is over."""

from dataclasses import replace

from neuroroute.chain.call import Call
from neuroroute.chain.services import Services
from neuroroute.chain.steering import header
from neuroroute.core.clock import monotonic_s, unix_s
from neuroroute.core.types import UpstreamRequest
from neuroroute.store.usage import UsageRecord
from neuroroute.telemetry.tracing import Attempt, Finished, Trace, Traces, passed_on


def marked(call: Call, request: UpstreamRequest, s: Services) -> tuple[UpstreamRequest, int]:
    """
    The request with the headers that tell its provider of the trace: of the attempt's span, or, where tracing is off, what the client said.

    With it the id of the attempt's span; 0 where there is none.
    """
    if s.traces is not None:
        call.trace = call.trace or _begin(call, s.traces)
        span_id, headers = s.traces.attempt(call.trace)
        return replace(request, headers={**request.headers, **headers}), span_id
    if (parent := header(call.headers, "traceparent")) is not None:
        request = replace(request, headers={**request.headers, **passed_on(parent, header(call.headers, "tracestate"))})
    return request, 0


def finish(call: Call, record: UsageRecord, traces: Traces) -> None:
    """The call is on the books: it becomes spans, later and elsewhere."""
    attempts = [Attempt(tried.span_id, tried.target, tried.outcome, tried.began_s, tried.took_s) for tried in call.tried]
    traces.finish(Finished(call.trace or _begin(call, traces), record, attempts, call.finish_reason, monotonic_s(), unix_s()))


def _begin(call: Call, traces: Traces) -> Trace:
    return traces.begin(header(call.headers, "traceparent"), header(call.headers, "tracestate"))
