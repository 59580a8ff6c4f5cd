"""
What a process counts, and how Prometheus reads it.

METRICS is the list of all metrics with their meaning: the README's table is made from it. `observe` takes one finished call in about 3 us: plain
numbers in plain objects, kept per model; Prometheus' own objects are made only when somebody reads, in a thread. Several workers add up their
numbers through files (`shared`).
"""

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from prometheus_client import CONTENT_TYPE_LATEST, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry
from prometheus_client.utils import floatToGoString

from neuroroute.core.dataclass import dataclass
from neuroroute.telemetry.series import CALL_BOUNDS_S, OVERHEAD_BOUNDS_S, Histogram, Labels, Snapshot
from neuroroute.telemetry.shared import EVERY_S, Shared

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric as Family

    from neuroroute.store.usage import UsageRecord


@dataclass(frozen=True, slots=True)
class Metric:
    """kind: counter, gauge or histogram. Prometheus adds _total to counters' names here, _bucket, _sum and _count to histograms'."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()


METRICS: Final = (
    Metric("neuroroute_calls", "counter", "Finished calls", ("dialect", "model", "provider", "status", "cache")),
    Metric("neuroroute_errors", "counter", "Calls that ended in an error, by its code", ("code",)),
    Metric(
        "neuroroute_failures",
        "counter",
        "Calls that failed through no fault of the client (5xx, limits of providers, cut streams)",
        ("model", "provider"),
    ),
    Metric("neuroroute_refused", "counter", "Calls without a valid key, and those shed in an overload, by error code", ("code",)),
    Metric("neuroroute_routed", "counter", "Calls by task label, policy and the model that answered", ("label", "policy", "model")),
    Metric("neuroroute_call_seconds", "histogram", "Time from the request to the end of the answer (sampled)", ("model", "provider")),
    Metric(
        "neuroroute_ttft_seconds",
        "histogram",
        "Time from the request to the first byte of a streamed answer (sampled)",
        ("model", "provider"),
    ),
    Metric("neuroroute_overhead_seconds", "histogram", "The gateway's own share of the time (sampled)"),
    Metric(
        "neuroroute_tokens", "counter", "Tokens; kind: prompt, completion, cached, cache_write, reasoning", ("model", "provider", "kind")
    ),
    Metric("neuroroute_cost_usd", "counter", "What calls cost", ("model", "provider")),
    Metric("neuroroute_saved_usd", "counter", "What calls would have cost more at the baseline model", ("model", "provider")),
    Metric("neuroroute_unpriced_calls", "counter", "Answered calls whose model has no known price", ("model", "provider")),
    Metric("neuroroute_attempts", "counter", "Tries of targets; outcome: ok or the name of the error", ("target", "outcome")),
    Metric("neuroroute_calls_running", "gauge", "Calls that are being answered"),
    Metric(
        "neuroroute_hedges", "counter", "Second attempts beside slow first ones, by which one was taken: first, second, neither", ("taken",)
    ),
    Metric("neuroroute_calls_shed", "counter", "Calls that were refused because a worker was overloaded"),
    Metric("neuroroute_loop_lag_seconds", "gauge", "How much later than asked the workers' loops turn, all added up"),
    Metric("neuroroute_target_running", "gauge", "Tries of this target that are under way", ("target",)),
    Metric(
        "neuroroute_target_bound", "gauge", "Tries at once that this target is found to bear, all workers together; none = any", ("target",)
    ),
    Metric("neuroroute_target_waiting", "gauge", "Calls that wait for a place at a target with a bound", ("target",)),
    Metric("neuroroute_target_ejected", "gauge", "Workers that ask this target last, as it does worse than its peers", ("target",)),
    Metric("neuroroute_breaker_open", "gauge", "Workers whose breaker keeps calls from this target", ("target",)),
    Metric(
        "neuroroute_discovery_failing",
        "gauge",
        "Workers that twice in a row could not read the list of models of this provider",
        ("provider",),
    ),
    Metric("neuroroute_alerts_firing", "gauge", "Alerts that fire, of the whole deployment, by rule", ("rule",)),
    Metric("neuroroute_alert_events", "counter", "Events of alerts for the webhook; state: delivered, failed", ("state",)),
    Metric("neuroroute_cache_entries", "gauge", "Answers kept in the processes"),
    Metric("neuroroute_cache_bytes", "gauge", "Memory of the answers kept in the processes"),
    Metric("neuroroute_cache_evictions", "counter", "Answers pushed out by newer ones"),
    Metric(
        "neuroroute_cache_semantic",
        "counter",
        "Look-ups by meaning; outcome: hit, miss, refused (like, but the words differ), failed",
        ("outcome",),
    ),
    Metric("neuroroute_ledger_waiting", "gauge", "Usage records that are not in the database yet"),
    Metric("neuroroute_ledger_written", "counter", "Usage records written to the database"),
    Metric("neuroroute_ledger_retries", "counter", "Batches of usage records that had to be tried again"),
    Metric("neuroroute_ledger_rejected", "counter", "Usage records set aside because the database can not hold them"),
    Metric("neuroroute_ledger_lost", "counter", "Usage records lost: must be 0"),
    Metric("neuroroute_ledger_unjournaled", "counter", "Finished calls that a kill would have lost, for want of space: must be 0"),
    Metric("neuroroute_journal_bytes", "gauge", "Disk held by the journal of usage records"),
    Metric("neuroroute_journal_full", "gauge", "Workers whose journal has no space, so that they refuse calls: must be 0"),
    Metric("neuroroute_usage_corrected", "counter", "Answers whose reported usage could not be, and was counted here instead", ("target",)),
    Metric("neuroroute_budgets", "gauge", "Budgets that workers hold money of"),
    Metric("neuroroute_budget_reserved_usd", "gauge", "Money reserved by running calls"),
    Metric("neuroroute_budget_alerts", "counter", "Times that a budget reached a percentage", ("scope", "percent")),
    Metric("neuroroute_provider_waiting", "gauge", "Calls that wait for a provider's own limits", ("provider",)),
    Metric("neuroroute_shared_places", "gauge", "Places of capped calls at once that workers hold, running or free"),
    Metric("neuroroute_limit_counters", "gauge", "Rate limit counters in use"),
    Metric("neuroroute_limit_trips", "counter", "Round trips to the common store of limits; cause: call, beat (once a second)", ("cause",)),
    Metric("neuroroute_shared_store_away", "gauge", "Workers that can not reach Redis at the moment"),
    Metric("neuroroute_shared_store_failures", "counter", "Failed commands to Redis"),
    Metric("neuroroute_db_connections", "gauge", "Database connections; state: busy, idle", ("state",)),
    Metric("neuroroute_db_waiting", "gauge", "Callers that wait for a database connection"),
    Metric("neuroroute_db_slow_queries", "counter", "Statements slower than DB_SLOW_QUERY_THRESHOLD"),
    Metric("neuroroute_task_failures", "counter", "Restarts of background tasks", ("task",)),
    Metric("process_cpu_seconds", "counter", "CPU time of all workers"),
    Metric("process_resident_memory_bytes", "gauge", "Memory of all workers"),
    Metric("process_open_fds", "gauge", "Open files of all workers"),
    Metric("neuroroute_workers", "gauge", "Workers that are alive"),
)
_BY_NAME: Final = {metric.name: metric for metric in METRICS}
_GAUGES: Final = tuple(metric.name for metric in METRICS if metric.kind == "gauge")
_MAX_SERIES: Final = 2000
_OTHER: Final = "other"
_KINDS: Final = ("prompt", "completion", "cached", "cache_write", "reasoning")

Reading = Iterable[tuple[str, Labels, float]]
"""(metric, label values, value): what a source gives when it is asked."""


class _Target:
    """All numbers of one model at one provider."""

    __slots__ = ("calls", "cost", "failures", "latency", "saved", "tokens", "ttft", "unpriced")

    def __init__(self) -> None:
        self.calls: dict[tuple[str, str, str], int] = {}
        self.tokens = [0, 0, 0, 0, 0]
        self.cost = self.saved = self.unpriced = self.failures = 0
        self.latency = Histogram(CALL_BOUNDS_S)
        self.ttft = Histogram(CALL_BOUNDS_S)


class Metrics(Collector):
    """
    sample_rate: the share of calls whose times are observed; counters always count.
    shared: where the other workers' numbers are, None = this is the only one.
    """

    CONTENT_TYPE: Final = CONTENT_TYPE_LATEST

    def __init__(self, *, sample_rate: float = 1.0, shared: Shared | None = None) -> None:
        self._sample_rate, self._shared = sample_rate, shared
        self._due = 0.0
        self._targets: dict[tuple[str | None, str | None], _Target] = {}
        self._counts: dict[tuple[str, Labels], int] = {}
        self._overhead = Histogram(OVERHEAD_BOUNDS_S)
        self._sources: list[Callable[[], Reading]] = []
        self._process = ProcessCollector(registry=None)
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        self._reading = threading.Lock()
        self.running = 0

    def observe(self, record: "UsageRecord") -> None:
        """Count one finished call."""
        place = (record.model, record.provider)
        target = self._targets.get(place) or self._open(place)
        call = (record.dialect, record.status, record.cache)
        target.calls[call] = target.calls.get(call, 0) + 1
        tokens = target.tokens
        tokens[0] += record.prompt_tokens
        tokens[1] += record.completion_tokens
        if record.cached_tokens or record.cache_write_tokens or record.reasoning_tokens:
            tokens[2] += record.cached_tokens
            tokens[3] += record.cache_write_tokens
            tokens[4] += record.reasoning_tokens
        cost = record.cost_nanousd
        if cost is not None:
            target.cost += cost
            if record.baseline_cost_nanousd is not None and record.baseline_cost_nanousd > cost:
                target.saved += record.baseline_cost_nanousd - cost
        elif record.status == "ok":
            target.unpriced += 1
        if record.error_code is not None:
            self.count("neuroroute_errors", (record.error_code,))
            if _is_failure(record):
                target.failures += 1
        if record.label is not None:
            self.count("neuroroute_routed", (record.label, record.policy or "", record.model or ""))
        self._due += self._sample_rate
        if self._due >= 1.0:
            self._due -= 1.0
            if record.latency_ms is not None:
                target.latency.observe(record.latency_ms / 1000)
            if record.ttft_ms is not None and record.stream:
                target.ttft.observe(record.ttft_ms / 1000)
            if record.overhead_ms is not None:
                self._overhead.observe(record.overhead_ms / 1000)

    def refused(self, code: str) -> None:
        """Count a call that leaves no row, such as one without a valid key."""
        self.count("neuroroute_refused", (code,))

    def count(self, name: str, labels: Labels = (), by: int = 1) -> None:
        """Add to a counter of METRICS."""
        key = (name, labels)
        if key not in self._counts and len(self._counts) >= _MAX_SERIES:
            key = (name, (_OTHER,) * len(labels))
        self._counts[key] = self._counts.get(key, 0) + by

    def source(self, read: Callable[[], Reading]) -> None:
        """Ask `read` for values whenever somebody reads the metrics; called in another thread than the event loop's."""
        self._sources.append(read)

    def _open(self, place: tuple[str | None, str | None]) -> _Target:
        if len(self._targets) >= _MAX_SERIES:
            place = (_OTHER, _OTHER)
        return self._targets.setdefault(place, _Target())

    def snapshot(self) -> Snapshot:
        """This process's numbers. Safe in any thread."""
        made = Snapshot()
        for (model, provider), target in list(self._targets.items()):
            _read_target(made, (model or "", provider or ""), target)
        for (name, labels), number in list(self._counts.items()):
            made.add(name, labels, number)
        made.spread("neuroroute_overhead_seconds", (), self._overhead)
        made.add("neuroroute_calls_running", (), self.running)
        made.add("neuroroute_workers", (), 1)
        for family in self._process.collect():
            if family.name in _BY_NAME and family.samples:
                made.add(family.name, (), family.samples[0].value)
        for read in self._sources:
            for name, labels, value in read():
                made.add(name, labels, value)
        return made

    def total(self) -> Snapshot:
        """The numbers of all workers of this machine. Blocks on files: call it in a thread."""
        made = self.snapshot()
        for other, alive in self._shared.others() if self._shared is not None else ():
            made.merge(other, without=() if alive else _GAUGES)
        return made

    def render(self) -> bytes:
        """Prometheus' text of `total`. Blocks: call it in a thread."""
        with self._reading:
            return generate_latest(self._registry)

    async def run(self) -> None:
        """Show this worker's numbers to the others, for ever. Returns at once where it is the only one."""
        while self._shared is not None:
            await self.close()
            await asyncio.sleep(EVERY_S)

    async def close(self) -> None:
        """Leave the last numbers to the other workers."""
        shared = self._shared
        if shared is not None:
            await asyncio.to_thread(lambda: shared.write(self.snapshot()))

    def collect(self) -> Iterator["Family"]:
        """For prometheus_client."""
        total = self.total()
        values: dict[str, dict[Labels, float]] = {}
        for (name, labels), value in total.values.items():
            values.setdefault(name, {})[labels] = value
        for metric in METRICS:
            if metric.kind == "histogram":
                yield _histogram(metric, total)
            else:
                yield _plain(metric, values.get(metric.name, {}))


def _is_failure(record: "UsageRecord") -> bool:
    """Whether an error is ours or a provider's. A 429 after an attempt is a provider's limit, one before it the client's own."""
    if record.status == "cut":
        return True
    status = record.http_status or 0
    return record.status == "error" and (status >= 500 or (status == 429 and record.attempts > 0))


def _read_target(made: Snapshot, place: tuple[str, str], target: _Target) -> None:
    for (dialect, status, cache), number in list(target.calls.items()):
        made.add("neuroroute_calls", (dialect, *place, status, cache), number)
    for kind, tokens in zip(_KINDS, target.tokens, strict=True):
        if tokens:
            made.add("neuroroute_tokens", (*place, kind), tokens)
    made.add("neuroroute_cost_usd", place, target.cost / 1e9)
    made.add("neuroroute_saved_usd", place, target.saved / 1e9)
    if target.unpriced:
        made.add("neuroroute_unpriced_calls", place, target.unpriced)
    if target.failures:
        made.add("neuroroute_failures", place, target.failures)
    made.spread("neuroroute_call_seconds", place, target.latency)
    made.spread("neuroroute_ttft_seconds", place, target.ttft)


def _plain(metric: Metric, values: Mapping[Labels, float]) -> "Family":
    make = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = make(metric.name, metric.help, labels=metric.labels)
    if not metric.labels:
        values = {(): values.get((), 0.0)}
    for labels, value in sorted(values.items()):
        family.add_metric(labels, value)
    return family


def _histogram(metric: Metric, total: Snapshot) -> "Family":
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    for (name, labels), spread in sorted(total.spreads.items()):
        if name != metric.name:
            continue
        seen, buckets = 0, []
        for bound, number in zip((*spread.bounds, float("inf")), spread.counts, strict=True):
            seen += number
            buckets.append((floatToGoString(bound), float(seen)))  # type: ignore[no-untyped-call]
        family.add_metric(labels, buckets, spread.total)
    return family
