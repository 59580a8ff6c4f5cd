"""What Prometheus reads."""

import asyncio
import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from neuroroute.accounting.journal import Journal
from neuroroute.accounting.ledger import Ledger
from neuroroute.caching.responses import ResponseCache
from neuroroute.core.clock import utcnow
from neuroroute.limits.leases import Leases
from neuroroute.limits.rate import Limiter
from neuroroute.store.kv_redis import RedisKV
from neuroroute.store.usage import UsageRecord
from neuroroute.telemetry.metrics import METRICS, Metrics
from neuroroute.telemetry.series import Histogram, Snapshot
from neuroroute.telemetry.shared import LIVE_S, Shared, empty

CALL = UsageRecord(
    "req_1", utcnow(), "key_1", "usr_1", "auto", model="gpt-4o-mini", provider="openai", label="code", policy="balanced", stream=True,
    prompt_tokens=100, completion_tokens=20, cached_tokens=40, cost_nanousd=27_000, baseline_cost_nanousd=100_000, cache="miss",
    latency_ms=800.0, ttft_ms=120.0, overhead_ms=1.5,
)  # fmt: skip


def read(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    found = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            found[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
    return found


def value(found: dict[tuple[str, tuple[tuple[str, str], ...]], float], name: str, **labels: str) -> float:
    return found[name, tuple(sorted(labels.items()))]


def test_a_call_is_counted_everywhere_it_belongs() -> None:
    metrics = Metrics()
    metrics.observe(CALL)
    metrics.observe(replace(CALL, cache="hit", cost_nanousd=0))
    metrics.observe(replace(CALL, status="error", error_code="upstream_timeout", cost_nanousd=None, baseline_cost_nanousd=None))
    found = read(metrics)
    place = {"model": "gpt-4o-mini", "provider": "openai"}
    assert value(found, "neuroroute_calls_total", dialect="chat", status="ok", cache="miss", **place) == 1
    assert value(found, "neuroroute_calls_total", dialect="chat", status="ok", cache="hit", **place) == 1
    assert value(found, "neuroroute_errors_total", code="upstream_timeout") == 1
    assert value(found, "neuroroute_tokens_total", kind="prompt", **place) == 300
    assert value(found, "neuroroute_tokens_total", kind="cached", **place) == 120
    assert value(found, "neuroroute_cost_usd_total", **place) == pytest.approx(0.000027)
    assert value(found, "neuroroute_saved_usd_total", **place) == pytest.approx(0.000173)
    assert value(found, "neuroroute_routed_total", label="code", policy="balanced", model="gpt-4o-mini") == 3
    assert value(found, "neuroroute_call_seconds_count", **place) == 3
    assert value(found, "neuroroute_call_seconds_sum", **place) == pytest.approx(2.4)
    assert value(found, "neuroroute_call_seconds_bucket", le="0.5", **place) == 0
    assert value(found, "neuroroute_call_seconds_bucket", le="1.0", **place) == 3
    assert value(found, "neuroroute_ttft_seconds_bucket", le="0.25", **place) == 3
    assert value(found, "neuroroute_overhead_seconds_bucket", le="0.002") == 3
    assert value(found, "process_resident_memory_bytes") > 10e6


def test_every_metric_is_declared_and_every_declared_one_is_shown() -> None:
    metrics = Metrics()
    shown = {family.name for family in text_string_to_metric_families(metrics.render().decode())}
    assert shown == {metric.name for metric in METRICS}
    for metric in METRICS:
        assert metric.help
        assert metric.kind in ("counter", "gauge", "histogram")


def test_counters_always_count_and_times_are_sampled() -> None:
    metrics = Metrics(sample_rate=0.25)
    for _ in range(100):
        metrics.observe(CALL)
    found = read(metrics)
    place = {"model": "gpt-4o-mini", "provider": "openai"}
    assert value(found, "neuroroute_calls_total", dialect="chat", status="ok", cache="miss", **place) == 100
    assert value(found, "neuroroute_call_seconds_count", **place) == 25


def test_failures_are_those_that_are_no_clients_fault() -> None:
    metrics = Metrics()
    for status, http_status, attempts in (
        ("ok", 200, 1), ("error", 400, 0), ("error", 401, 1), ("error", 429, 0), ("client_gone", 499, 1),
        ("error", 429, 1), ("error", 502, 2), ("error", 503, 0), ("cut", 200, 1),
    ):  # fmt: skip
        code = None if status == "ok" else "some_code"
        metrics.observe(replace(CALL, status=status, http_status=http_status, attempts=attempts, error_code=code))
    assert value(read(metrics), "neuroroute_failures_total", model="gpt-4o-mini", provider="openai") == 4


def test_sources_are_asked_when_somebody_reads() -> None:
    metrics, waiting = Metrics(), [3]
    metrics.source(lambda: [("neuroroute_ledger_waiting", (), waiting[0]), ("neuroroute_breaker_open", ("openai/m",), 1)])
    assert value(read(metrics), "neuroroute_ledger_waiting") == 3
    waiting[0] = 9
    found = read(metrics)
    assert value(found, "neuroroute_ledger_waiting") == 9
    assert value(found, "neuroroute_breaker_open", target="openai/m") == 1


async def test_the_readings_of_the_parts_are_metrics(tmp_path: Path) -> None:
    async def insert(rows: object) -> None: ...

    redis = RedisKV("redis://127.0.0.1:1")
    metrics = Metrics()
    for part in (Ledger[UsageRecord](insert), Journal(tmp_path), ResponseCache(1 << 20), Limiter(Leases(redis)), redis):
        metrics.source(part.readings)
    await redis.close()
    declared = {metric.name: len(metric.labels) for metric in METRICS}
    snapshot = metrics.snapshot()
    assert {name for name, _ in snapshot.values} >= {"neuroroute_ledger_lost", "neuroroute_journal_bytes", "neuroroute_cache_bytes"}
    assert all(declared[name] == len(labels) for name, labels in snapshot.values)
    assert value(read(metrics), "neuroroute_limit_counters") == 0


def test_the_number_of_series_is_bounded() -> None:
    metrics = Metrics()
    for i in range(5000):
        metrics.observe(replace(CALL, model=f"m{i}", label=None))
        metrics.refused(f"code{i}")
    snapshot = metrics.snapshot()
    assert sum(value for (name, _), value in snapshot.values.items() if name == "neuroroute_calls") == 5000
    assert len({labels[1] for name, labels in snapshot.values if name == "neuroroute_calls"}) <= 2001
    assert sum(value for (name, _), value in snapshot.values.items() if name == "neuroroute_refused") == 5000


async def test_workers_add_up_and_the_dead_keep_their_counters(tmp_path: Path) -> None:
    one, other = (Metrics(shared=Shared(tmp_path, name)) for name in ("w1", "w2"))
    for metrics, times in ((one, 3), (other, 4)):
        metrics.source(lambda: [("neuroroute_ledger_waiting", (), 5)])
        for _ in range(times):
            metrics.observe(CALL)
    await other.close()
    place = {"model": "gpt-4o-mini", "provider": "openai"}
    found = read(one)
    assert value(found, "neuroroute_tokens_total", kind="prompt", **place) == 700
    assert value(found, "neuroroute_call_seconds_count", **place) == 7
    assert value(found, "neuroroute_call_seconds_bucket", le="1.0", **place) == 7
    assert value(found, "neuroroute_ledger_waiting") == 10
    assert value(found, "neuroroute_workers") == 2
    old = time.time() - LIVE_S - 5
    os.utime(tmp_path / "w2.metrics", (old, old))
    found = read(one)
    assert value(found, "neuroroute_tokens_total", kind="prompt", **place) == 700
    assert value(found, "neuroroute_ledger_waiting") == 5
    assert value(found, "neuroroute_workers") == 1
    (tmp_path / "w3.metrics").write_bytes(b'{"values": [["x"]]')
    assert value(read(one), "neuroroute_workers") == 1
    empty(tmp_path)
    assert value(read(one), "neuroroute_tokens_total", kind="prompt", **place) == 300


async def test_the_task_shows_the_numbers_by_itself(tmp_path: Path) -> None:
    one, other = (Metrics(shared=Shared(tmp_path, name)) for name in ("w1", "w2"))
    one.observe(CALL)
    task = asyncio.ensure_future(one.run())
    async with asyncio.timeout(3):
        while not list(tmp_path.glob("w1.metrics")):
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert value(read(other), "neuroroute_workers") == 2


def test_reading_in_a_thread_while_calls_are_counted() -> None:
    metrics = Metrics()
    stop, faults = threading.Event(), []

    def reader() -> None:
        while not stop.is_set():
            try:
                metrics.render()
            except Exception as error:
                faults.append(error)

    thread = threading.Thread(target=reader)
    thread.start()
    for i in range(20_000):
        metrics.observe(replace(CALL, model=f"m{i % 1500}", cache=f"c{i % 7}"))
    stop.set()
    thread.join()
    assert not faults


def test_quantiles() -> None:
    spread = Histogram((1.0, 2.0, 4.0))
    assert spread.quantile(0.5) is None
    for number in (0.5, 1.5, 1.6, 3.0):
        spread.observe(number)
    assert spread.quantile(0.5) == pytest.approx(1.5, abs=0.3)
    assert spread.quantile(1.0) == pytest.approx(4.0)
    spread.observe(100)
    assert spread.quantile(0.99) == 4.0


def test_snapshots_survive_json() -> None:
    from neuroroute.core.jsonbytes import dumps, loads

    metrics = Metrics()
    metrics.observe(CALL)
    snapshot = metrics.snapshot()
    again = Snapshot.of(loads(dumps(snapshot.as_data())))
    assert again.values == snapshot.values
    assert again.spreads == snapshot.spreads
    for broken in ({}, {"values": [[1, 2, 3]], "spreads": []}, {"values": [], "spreads": [["a", ["b"], 3]]}):
        with pytest.raises((KeyError, TypeError, ValueError)):
            Snapshot.of(broken)  # type: ignore[arg-type]
