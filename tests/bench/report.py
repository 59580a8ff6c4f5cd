"""Rounds in alternating order, medians, ratios, and tables of them."""

import statistics
import sys
from collections.abc import Iterable
from math import isnan
from typing import Any

from tests.bench.load import Bench, Figures, Side
from tests.bench.scenarios import GOALS, LONG, SCENARIOS, Options

NAN = float("nan")
PRIMARY = {
    "nonstream_small": ("cpu_us_per_request", "added_p50_us", "added_p99_us"),
    "nonstream_10KB": ("cpu_us_per_request",),
    "auto_route": ("cpu_us_per_request",),
    "cache_hit": ("cpu_us_per_request",),
    "stream_50chunks": ("cpu_us_per_chunk_at_peak", "added_ttft_p99_us", "transit_p99_us"),
    "stream_translated": ("cpu_us_per_chunk_at_peak",),
    "stream_1000_concurrent": ("memory_peak_mb", "memory_per_stream_kb", "memory_after_mb"),
    "soak": ("growth_mb_per_minute",),
}
"""What the short table shows; errors are always shown."""


def measure(name: str, bench: Bench, sides: list[Side], direct: Side, options: Options, rounds: int) -> dict[str, Any]:
    """All rounds of one scenario: A B, B A, A B, ... so that a slow drift of the machine cancels."""
    runs: dict[str, list[Figures]] = {side.name: [] for side in sides}
    for place in range(min(rounds, 2) if name in LONG else rounds):
        for side in sides if place % 2 == 0 else reversed(sides):
            print(f"{name} round {place + 1}: {side.name}", file=sys.stderr, flush=True)
            runs[side.name].append(SCENARIOS[name](bench, side, direct, options))
    medians = {side: {metric: median(run[metric] for run in of) for metric in of[0]} for side, of in runs.items()}
    result: dict[str, Any] = {"rounds": runs, "medians": medians}
    if len(sides) == 2:
        ours, theirs = (runs[side.name] for side in sides)
        result["ratios"] = {
            metric: median(a[metric] / b[metric] for a, b in zip(ours, theirs, strict=True) if b[metric])
            for metric in ours[0]
            if metric in theirs[0]
        }
    return result


def median(values: Iterable[float]) -> float:
    known = [value for value in values if not isnan(value)]
    return statistics.median(known) if known else NAN


def number(value: float) -> str:
    if isnan(value):
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(results: dict[str, Any], sides: list[Side], everything: bool = False, goals: bool = True) -> str:
    """Markdown; the last columns are ours / theirs and the goal."""
    names = [side.name for side in sides]
    both = len(names) == 2
    lines = [f"| scenario | figure | {' | '.join(names)} |" + (" ratio | goal |" if both else "")]
    lines.append("|---|---|" + "--:|" * (len(names) + 2 * both))
    for scenario, result in results.items():
        for metric, ours in result["medians"][names[0]].items():
            if not everything and metric not in PRIMARY[scenario] and not (metric == "errors" and ours):
                continue
            cells = [number(result["medians"][name].get(metric, NAN)) for name in names]
            if both:
                ratio, goal = result["ratios"].get(metric, NAN), GOALS.get((scenario, metric)) if goals else None
                mark = "" if goal is None or isnan(ratio) else f"{goal:.2f}" + (" ✓" if ratio <= goal else " ✗")
                cells += ["-" if isnan(ratio) else f"{ratio:.2f}", mark]
            lines.append(f"| {scenario} | {metric} | {' | '.join(cells)} |")
    return "\n".join(lines)


def line(results: dict[str, Any]) -> str:
    """One row for the table of figures in README.md: the ratios with a goal, in their order."""
    cells = []
    for scenario, metric in GOALS:
        ratio = results.get(scenario, {}).get("ratios", {}).get(metric, NAN)
        cells.append("-" if isnan(ratio) else f"{ratio:.2f}")
    return " | ".join(cells)
