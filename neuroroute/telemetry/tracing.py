"""
Traces for OpenTelemetry (extra `otel`): one span for a call, its attempts below it. No prompt, no answer, no credential is in them.

Spans are built from the times of a finished call, in a thread. Only what a provider must be told is there before: the ids that its
`traceparent` has. So the ids are chosen by us, and given to OpenTelemetry when it makes the spans. Headers: W3C Trace Context, level 1.
"""

import asyncio
import random
import re
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

from neuroroute import __version__
from neuroroute.core.settings import MASK, Settings, SettingsFaulty
from neuroroute.core.types import Target
from neuroroute.store.usage import UsageRecord
from neuroroute.telemetry import semconv

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span

QUEUE_MAX: Final = 10_000
"""Finished calls that wait to become spans; beyond it the oldest are dropped."""
EVERY_S: Final = 0.25
_PARENT: Final = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_STATE_CHARS: Final = 512


class Trace(NamedTuple):
    """Where a call's span stands. parent_id: the client's span, 0 = none. sampled: whether spans are kept. state: the client's tracestate."""

    trace_id: int
    span_id: int
    parent_id: int = 0
    sampled: bool = True
    state: str = ""


class Attempt(NamedTuple):
    """One try of a target. began_s: monotonic; took_s: until it failed, or its first byte came."""

    span_id: int
    target: Target
    outcome: str
    began_s: float
    took_s: float


class Finished(NamedTuple):
    """A call that is on the books. ended_s: monotonic, ended_unix_s: the same moment."""

    trace: Trace
    record: UsageRecord
    attempts: Sequence[Attempt]
    finish_reason: str
    ended_s: float
    ended_unix_s: float


class Parent(NamedTuple):
    """A client's traceparent, where it is one."""

    trace_id: int
    span_id: int
    sampled: bool


def parent_of(header: str | None) -> Parent | None:
    """None: there is none, or it makes no sense; then it is as if it had not been sent."""
    match = _PARENT.fullmatch(header) if header is not None and len(header) < 512 else None
    if match is None or (match[1] == "00" and match[5]):
        return None
    return Parent(int(match[2], 16), int(match[3], 16), bool(int(match[4], 16) & 1))


def passed_on(header: str | None, state: str | None) -> dict[str, str]:
    """A client's trace headers for a provider, where no spans of our own stand between."""
    if header is None or parent_of(header) is None:
        return {}
    return {"traceparent": header} | ({"tracestate": state} if state and len(state) <= _STATE_CHARS and state.isprintable() else {})


class Traces:
    """Makes spans of finished calls, and sends them. See `traces_of`."""

    def __init__(self, settings: Settings) -> None:
        """Raises: SettingsFaulty where the extra is not installed."""
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import OTELResourceDetector, Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.sdk.trace.id_generator import IdGenerator
        except ImportError as error:
            raise SettingsFaulty(
                [f"OTEL_EXPORTER_OTLP_ENDPOINT={MASK}: traces need the extra otel: pip install 'neuroroute[otel]'"]
            ) from error

        class Chosen(IdGenerator):
            """Gives OpenTelemetry the ids that were chosen before."""

            trace_id = span_id = 1

            def generate_span_id(self) -> int:
                return self.span_id

            def generate_trace_id(self) -> int:
                return self.trace_id

        resource = Resource({"service.name": "neuroroute", "service.version": __version__}).merge(OTELResourceDetector().detect())
        endpoint = settings.otel_exporter_otlp_traces_endpoint or f"{settings.otel_exporter_otlp_endpoint}/v1/traces"
        self._ids = Chosen()
        self._provider = TracerProvider(resource=resource, id_generator=self._ids, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
        self._tracer = self._provider.get_tracer("neuroroute", __version__)
        self._waiting: deque[Finished] = deque(maxlen=QUEUE_MAX)

    def begin(self, header: str | None, state: str | None) -> Trace:
        """The place of a call's span, below the client's where it has one. Whether it is kept, OTEL_TRACES_SAMPLER says."""
        parent = parent_of(header)
        trace_id = parent.trace_id if parent is not None else random.getrandbits(128) or 1
        kept = passed_on(header, state).get("tracestate", "") if parent is not None else ""
        from opentelemetry.sdk.trace.sampling import Decision

        trace = Trace(trace_id, random.getrandbits(64) or 1, parent.span_id if parent is not None else 0, True, kept)
        sampled = parent.sampled if parent is not None else False
        decision = self._provider.sampler.should_sample(_context(trace.trace_id, trace.parent_id, sampled), trace_id, "call").decision
        return trace._replace(sampled=decision is not Decision.DROP)

    def attempt(self, trace: Trace) -> tuple[int, dict[str, str]]:
        """(the id of a span below the call's, the headers that tell a provider of it)."""
        span_id = random.getrandbits(64) or 1
        headers = {"traceparent": f"00-{trace.trace_id:032x}-{span_id:016x}-{trace.sampled:02x}"}
        return span_id, headers | ({"tracestate": trace.state} if trace.state else {})

    def finish(self, finished: Finished) -> None:
        """Take a call that is over. Never waits."""
        if finished.trace.sampled:
            self._waiting.append(finished)

    async def run(self) -> None:
        """Make spans of what is finished, for ever."""
        while True:
            await asyncio.sleep(EVERY_S)
            if self._waiting:
                await asyncio.to_thread(self._build)

    async def close(self) -> None:
        """Send what is left, for a few seconds at most."""
        await asyncio.to_thread(self._build)
        await asyncio.to_thread(self._provider.force_flush, 3000)
        await asyncio.to_thread(self._provider.shutdown)

    def _build(self) -> None:
        while self._waiting:
            self._spans(self._waiting.popleft())

    def _spans(self, one: Finished) -> None:
        from opentelemetry.trace import SpanKind

        trace, record = one.trace, one.record
        began_s = one.ended_s - (record.latency_ms or 0.0) / 1000

        def unix_ns(at_s: float) -> int:
            return round((one.ended_unix_s - (one.ended_s - at_s)) * 1e9)

        operation = semconv.OPERATIONS.get(record.dialect, record.endpoint or "pass")
        span = self._start(
            f"{operation} {record.requested_model}".strip(), SpanKind.SERVER, trace.trace_id, trace.span_id,
            _context(trace.trace_id, trace.parent_id, sampled=True), unix_ns(began_s), call_facts(one, operation),
        )  # fmt: skip
        if record.status in ("error", "cut") and (record.http_status >= 500 or record.status == "cut"):
            _mark_failed(span, record.error_code)
        for place, attempt in enumerate(one.attempts):
            span_id = attempt.span_id or random.getrandbits(64) or 1
            streams_on = attempt.outcome == "ok" and place == len(one.attempts) - 1 and record.stream
            ended_s = one.ended_s if streams_on or record.status == "cut" else attempt.began_s + attempt.took_s
            child = self._start(
                f"{operation} {attempt.target.model.upstream_model}", SpanKind.CLIENT, trace.trace_id, span_id,
                _context(trace.trace_id, trace.span_id, sampled=True), unix_ns(attempt.began_s), attempt_facts(attempt, operation),
            )  # fmt: skip
            if attempt.outcome != "ok":
                _mark_failed(child, attempt.outcome)
            child.end(unix_ns(min(ended_s, one.ended_s)))
        span.end(unix_ns(one.ended_s))

    def _start(self, name: str, kind: Any, trace_id: int, span_id: int, context: "Context", at_ns: int, facts: Mapping[str, Any]) -> "Span":
        self._ids.trace_id, self._ids.span_id = trace_id, span_id
        return self._tracer.start_span(name, context, kind, attributes=facts, start_time=at_ns)


def _context(trace_id: int, parent_id: int, sampled: bool) -> "Context":
    """A context whose current span is the parent; without one it is empty."""
    from opentelemetry.context import Context
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

    if not parent_id:
        return Context()
    return set_span_in_context(NonRecordingSpan(SpanContext(trace_id, parent_id, True, TraceFlags(int(sampled)))), Context())


def _mark_failed(span: "Span", why: str | None) -> None:
    from opentelemetry.trace import Status, StatusCode

    span.set_attribute(semconv.ERROR_TYPE, why or "_OTHER")
    span.set_status(Status(StatusCode.ERROR))


def call_facts(one: Finished, operation: str) -> dict[str, Any]:
    """The attributes of a call's span."""
    record = one.record
    tokens = record.tokens_source != "none"
    facts = {
        semconv.OPERATION: operation,
        semconv.REQUEST_MODEL: record.requested_model or None,
        semconv.RESPONSE_MODEL: record.model,
        semconv.PROVIDER: record.provider if not one.attempts else provider_of(one.attempts[-1].target),
        semconv.REQUEST_STREAM: record.stream,
        semconv.FINISH_REASONS: [one.finish_reason] if one.finish_reason else None,
        semconv.FIRST_CHUNK_S: record.ttft_ms / 1000 if record.ttft_ms is not None and record.stream else None,
        semconv.INPUT_TOKENS: record.prompt_tokens if tokens else None,
        semconv.OUTPUT_TOKENS: record.completion_tokens if tokens else None,
        semconv.CACHE_READ_TOKENS: record.cached_tokens or None,
        semconv.CACHE_WRITE_TOKENS: record.cache_write_tokens or None,
        semconv.REASONING_TOKENS: record.reasoning_tokens or None,
        semconv.HTTP_ROUTE: record.endpoint,
        semconv.HTTP_STATUS: record.http_status,
        semconv.REQUEST_ID: record.request_id,
        semconv.CLIENT_REQUEST_ID: record.client_request_id,
        semconv.KEY_ID: record.key_id,
        semconv.USER_ID: record.user_id,
        semconv.LABEL: record.label,
        semconv.DIFFICULTY: record.difficulty,
        semconv.POLICY: record.policy,
        semconv.CACHE: record.cache,
        semconv.ATTEMPTS: record.attempts,
        semconv.STATUS: record.status,
        semconv.OVERHEAD_MS: record.overhead_ms,
        semconv.COST_USD: None if record.cost_nanousd is None else record.cost_nanousd / 1e9,
    }
    return {name: value for name, value in facts.items() if value is not None}


def attempt_facts(attempt: Attempt, operation: str) -> dict[str, Any]:
    """The attributes of an attempt's span."""
    target = attempt.target
    place = urlsplit(target.provider.base_url)
    facts = {
        semconv.OPERATION: operation,
        semconv.PROVIDER: provider_of(target),
        semconv.REQUEST_MODEL: target.model.upstream_model,
        semconv.TARGET: target.name,
        semconv.SERVER_ADDRESS: place.hostname,
        semconv.SERVER_PORT: place.port or {"https": 443, "http": 80}.get(place.scheme),
    }
    return {name: value for name, value in facts.items() if value is not None}


def provider_of(target: Target) -> str:
    """As the conventions call it; a provider that they do not know has its own name."""
    return semconv.PROVIDERS.get(urlsplit(target.provider.base_url).hostname or "", target.provider.name)


def traces_of(settings: Settings) -> Traces | None:
    """None: nobody wants them. Raises: SettingsFaulty where traces are wanted and the extra is not installed."""
    wanted = settings.otel_exporter_otlp_endpoint or settings.otel_exporter_otlp_traces_endpoint
    return Traces(settings) if wanted else None
