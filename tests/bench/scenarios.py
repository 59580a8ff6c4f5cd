"""The loads. All prompts but those of `cache_hit` carry a number of their own, so no cache can answer them."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.bench.load import Bench, Figures, Load, Side

NAN = float("nan")
SYSTEM = {"role": "system", "content": "You are a helpful assistant."}
VARIED = [
    "hi there", "What is the capital of Australia?", "Translate 'good morning' into Japanese.",
    "Summarise the causes of the First World War in three sentences.",
    "Write a Python function that merges two sorted lists without using sort().",
    "Why does this SQL run slowly: SELECT * FROM orders o JOIN users u ON u.id = o.user_id WHERE u.email LIKE '%x%'?",
    "Prove that the square root of 2 is irrational, step by step.",
    "A train leaves at 9:40 at 80 km/h, another at 10:10 at 110 km/h. When does the second catch the first?",
    "Write a haiku about autumn rain.", "Draft a polite email declining a meeting.",
    "Refactor this code to remove duplication and explain each step: def a(x): return x*2+1\ndef b(x): return x*2+2",
    "Compare Raft and Paxos and say which you would choose for a two-datacentre deployment, and why.",
    "Extract all dates from: 'We met on 3 May 2021, then again on 2022-07-11.' Reply in JSON.",
    "What are the side effects of ibuprofen?", "Plan a three-day trip to Lisbon on a small budget.",
    "Design a schema for a multi-tenant billing system with usage-based pricing and explain the trade-offs.",
]  # fmt: skip


@dataclass(frozen=True)
class Options:
    """rate: requests a second of the moderate fixed rate; stream_rate: streams a second. A rate above capacity measures a queue."""

    seconds: float = 4.0
    rate: float = 100.0
    stream_rate: float = 10.0
    soak_s: float = 60.0


def chat(text: str, **more: Any) -> dict[str, Any]:
    return {"messages": [SYSTEM, {"role": "user", "content": text}], "temperature": 0.7, "max_tokens": 256, **more}


def small() -> dict[str, Any]:
    return chat("Question {{seq}}: what is the capital of France, and why is it there?")


def ten_kb() -> dict[str, Any]:
    paragraph = "The committee considered the report and asked for more detail on each of its findings. "
    return chat("Summarise, run {{seq}}: " + paragraph * (10_000 // len(paragraph)))


def streamed(chunks: int, delay_us: int, **more: Any) -> dict[str, Any]:
    text = f"[[mock chunks={chunks} delay_us={delay_us}]] Question {{{{seq}}}}: tell me a long story."
    return chat(text, stream=True, stream_options={"include_usage": True}, **more)


def _whole(bench: Bench, side: Side, direct: Side, bodies: list[dict[str, Any]], o: Options) -> Figures:
    """Flat out, then at a moderate fixed rate beside the mock alone."""
    peak = bench.run(side, Load(bodies, conns=32, seconds=o.seconds))
    steady = bench.run(side, Load(bodies, conns=64, seconds=o.seconds, rate=o.rate))
    base = bench.run(direct, Load([small()], conns=64, seconds=min(o.seconds, 2), rate=o.rate))
    out = {name: value for name, value in peak.items() if name.startswith(("rps", "cpu"))}
    out["errors"] = peak["errors"] + steady["errors"]
    out["cpu_us_per_request_at_rate"] = steady["cpu_us_per_request"]
    for quantile in ("p50", "p99"):
        out[f"latency_{quantile}_us"] = steady.get(f"latency_{quantile}_us", NAN)
        out[f"added_{quantile}_us"] = out[f"latency_{quantile}_us"] - base[f"latency_{quantile}_us"]
    return out


def nonstream_small(bench: Bench, side: Side, direct: Side, o: Options) -> Figures:
    """200-byte prompts, all different."""
    return _whole(bench, side, direct, [small()], o)


def nonstream_10KB(bench: Bench, side: Side, direct: Side, o: Options) -> Figures:
    """The cost of the body's size."""
    return _whole(bench, side, direct, [ten_kb()], o)


def cache_hit(bench: Bench, side: Side, direct: Side, o: Options) -> Figures:
    """The same prompt every time."""
    body = chat("What is the capital of France?", temperature=0)
    bench.run(side, Load([body], conns=1, requests=3))
    return _whole(bench, side, direct, [body], o)


def auto_route(bench: Bench, side: Side, direct: Side, o: Options) -> Figures:
    """Varied prompts with model=auto: the cost of classifying and routing."""
    return _whole(bench, side, direct, [chat(f"{text} (case {{{{seq}}}})", model="auto") for text in VARIED], o)


def _streams(bench: Bench, side: Side, direct: Side, o: Options, **more: Any) -> Figures:
    """50 chunks, 10 ms apart, at a fixed rate of streams; one-chunk streams give the slope; then 64 streams flat out, 2 ms apart."""
    full = bench.run(side, Load([streamed(50, 10_000, **more)], conns=500, seconds=o.seconds, rate=o.stream_rate))
    one = bench.run(side, Load([streamed(1, 0, **more)], conns=500, seconds=o.seconds, rate=max(o.stream_rate, 20)))
    base = bench.run(direct, Load([streamed(50, 10_000)], conns=500, seconds=min(o.seconds, 2), rate=o.stream_rate))
    peak = bench.run(side, Load([streamed(50, 2_000, **more)], conns=64, seconds=o.seconds))
    out = {
        "errors": full["errors"] + one["errors"] + peak["errors"],
        "cpu_us_per_stream": full["cpu_us_per_request"],
        "cpu_us_per_chunk": (full["cpu_us_per_request"] - one["cpu_us_per_request"]) / 49,
        "cpu_us_per_chunk_at_peak": peak.get("cpu_us_per_chunk_gross", NAN),
        "chunks_per_s_at_peak": peak.get("chunks_per_s", 0.0),
    }
    for name in ("ttft", "transit", "first_transit"):
        for quantile in ("p50", "p99"):
            out[f"{name}_{quantile}_us"] = full.get(f"{name}_{quantile}_us", NAN)
    for quantile in ("p50", "p99"):
        out[f"added_ttft_{quantile}_us"] = out[f"ttft_{quantile}_us"] - base[f"ttft_{quantile}_us"]
    return out


def stream_50chunks(bench: Bench, side: Side, direct: Side, o: Options) -> Figures:
    """The same dialect on both sides: bytes pass."""
    return _streams(bench, side, direct, o)


def stream_translated(bench: Bench, side: Side, direct: Side, o: Options) -> Figures:
    """An Anthropic stream told as chat chunks (the bare proxy passes chat chunks)."""
    return _streams(bench, side, direct, o, model="mock-anthropic")


def stream_1000_concurrent(bench: Bench, side: Side, direct: Side, o: Options) -> Figures:
    """1,000 streams open at once, 2 chunks a second each: memory, CPU, delays."""
    before_mb, before = side.memory(), side.cpu()
    process, bodies = bench.start(side, Load([streamed(20, 500_000)], conns=1000, requests=1000, rate=200))
    peak_mb = before_mb
    while process.poll() is None:
        time.sleep(0.5)
        peak_mb = max(peak_mb, side.memory())
    result = bench.finish(process, bodies)
    time.sleep(bench.settle_s)
    after = side.cpu()
    out = bench.figures(result, {name: after[name] - before[name] for name in before})
    keep = ("errors", "ok", "cpu_us_per_request", "ttft_p50_us", "ttft_p99_us", "transit_p50_us", "transit_p99_us")
    return {name: out.get(name, NAN) for name in keep} | {
        "in_flight_max": result["in_flight_max"],
        "memory_before_mb": before_mb,
        "memory_peak_mb": peak_mb,
        "memory_after_mb": side.memory(),
        "memory_per_stream_kb": (peak_mb - before_mb) * 1024 / max(result["in_flight_max"], 1),
    }


def soak(bench: Bench, side: Side, direct: Side, o: Options) -> Figures:
    """Mixed load; memory growth is the slope over its second half."""
    load = Load([small(), ten_kb(), streamed(20, 5_000), small()], conns=200, seconds=o.soak_s, rate=o.rate)
    process, bodies = bench.start(side, load)
    samples, began_s = [], time.monotonic()
    while process.poll() is None:
        samples.append((time.monotonic() - began_s, side.memory()))
        time.sleep(1)
    result = bench.finish(process, bodies)
    late = [sample for sample in samples if sample[0] > o.soak_s / 2]
    slope = statistics.linear_regression(*zip(*late, strict=True)).slope if len(late) > 2 else NAN
    return {
        "errors": result["failed"] + result["bad_status"] + result["incomplete"],
        "ok": result["ok"],
        "memory_start_mb": samples[0][1],
        "memory_end_mb": samples[-1][1],
        "growth_mb_per_minute": slope * 60,
    }


Scenario = Callable[[Bench, Side, Side, Options], Figures]
SCENARIOS: dict[str, Scenario] = {
    scenario.__name__: scenario
    for scenario in (
        nonstream_small,
        nonstream_10KB,
        auto_route,
        cache_hit,
        stream_50chunks,
        stream_translated,
        stream_1000_concurrent,
        soak,
    )
}
LONG = frozenset({"stream_1000_concurrent", "soak"})
"""Fewer rounds are enough: memory does not jitter."""
EVERY_DAY = ("nonstream_small", "nonstream_10KB", "auto_route", "cache_hit", "stream_50chunks", "stream_translated")
GOALS: dict[tuple[str, str], float] = {
    ("nonstream_small", "cpu_us_per_request"): 0.75,
    ("nonstream_10KB", "cpu_us_per_request"): 0.75,
    ("auto_route", "cpu_us_per_request"): 1.0,
    ("cache_hit", "cpu_us_per_request"): 0.50,
    ("stream_50chunks", "cpu_us_per_chunk_at_peak"): 0.80,
    ("stream_50chunks", "added_ttft_p99_us"): 1.0,
    ("stream_translated", "cpu_us_per_chunk_at_peak"): 1.6,
}
"""The most that this gateway may take, as a multiple of the bare proxy."""
