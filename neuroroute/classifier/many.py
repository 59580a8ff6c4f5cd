"""
Choosing among many models: what routing by the classifier gives on measured answers of 29 and of 9 models, at real prices.

For each prompt every model makes an offer: P(good answer) from its quality per label, known from other prompts, and from the prompt's
difficulty as read by heads that never saw the prompt's field or task. The choice is that of `core.value`, as in the router.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from neuroroute.classifier.data import Example
from neuroroute.classifier.fit import Floats
from neuroroute.classifier.labels import LABELS
from neuroroute.classifier.success import success
from neuroroute.core.dataclass import dataclass
from neuroroute.core.value import BALANCED, DIAL_MAX, Aim, Offer, aim_of_dial, best_of, rank

TOKENS_OUT: Final = {"mmlu_pro": 350, "llmrouter": 250}
"""Tokens of an answer (a guess: step-by-step answers of a paragraph or two); a token in is taken as four characters."""

PRICES: Final[dict[str, tuple[float, float]]] = {
    "Llama-2-7b-hf": (0.20, 0.20), "Llama-2-13b-hf": (0.225, 0.225), "Llama-2-70b-hf": (0.90, 0.90), "Meta-Llama-3-8B": (0.20, 0.20),
    "Meta-Llama-3-70B": (0.90, 0.90), "Meta-Llama-3_1-8B": (0.18, 0.18), "Meta-Llama-3_1-8B-Instruct": (0.18, 0.18), "Meta-Llama-3_1-70B": (0.88, 0.88),
    "Meta-Llama-3_1-70B-Instruct": (0.88, 0.88), "Mistral-7B-Instruct-v0.1": (0.20, 0.20), "Mistral-7B-Instruct-v0.2": (0.20, 0.20),
    "Mistral-7B-v0.1": (0.20, 0.20), "Mistral-7B-v0.2-hf": (0.20, 0.20), "Mixtral-8x7B-Instruct-v0.1": (0.60, 0.60), "Mixtral-8x7B-v0.1": (0.60, 0.60),
    "Phi-3-mini-4k-instruct": (0.13, 0.52), "Qwen1.5-110B": (1.80, 1.80), "Qwen1.5-72B-Chat": (0.90, 0.90), "Qwen1.5-7B-Chat": (0.20, 0.20),
    "Yi-34B": (0.80, 0.80), "Yi-6B": (0.20, 0.20), "Yi-6b-Chat": (0.20, 0.20), "c4ai-command-r-v01": (0.50, 1.50), "gemma-7b": (0.20, 0.20),
    "jamba-1.5-large": (2.00, 8.00), "mathstral-7B": (0.25, 0.25), "DeepSeek-Coder-V2": (0.14, 0.28), "gemini-1.5-flash-002": (0.075, 0.30),
    "gemini-1.5-pro-002": (1.25, 5.00),
    "qwen2.5-7b-instruct": (0.30, 0.30), "gemma-2-9b-it": (0.30, 0.30), "llama-3.1-8b-instruct": (0.18, 0.18), "mistral-7b-instruct-v0.3": (0.20, 0.20),
    "codegemma-7b": (0.20, 0.20), "llama-3.1-nemotron-51b-instruct": (0.90, 0.90), "llama3-chatqa-1.5-8b": (0.20, 0.20),
    "llama3-chatqa-1.5-70b": (0.90, 0.90), "llama-3.3-nemotron-super-49b-v1": (0.90, 0.90),
}  # fmt: skip
"""USD per million tokens in and out: list prices of late 2024, of the maker where it sells the model, else the size tiers of a hosting provider."""


@dataclass(frozen=True, slots=True)
class Stream:
    """Measured answers: `quality` and `cost_usd` by prompt and model, `offered` the success probabilities that the router believed in."""

    name: str
    models: tuple[str, ...]
    quality: Floats
    cost_usd: Floats
    offered: Floats


def stream_of(
    name: str,
    examples: Sequence[Example],
    posterior: Floats,
    difficulty: Floats,
    slope: float,
    means: dict[str, float],
    *,
    whole: bool = False,
) -> Stream:
    """
    Every priced model that answered any prompt (with `whole`: that answered all); quality is NaN where a model was not asked, and then it
    makes no offer.

    The qualities per label that the even prompts are routed by come from the odd ones, and the other way round: what a catalogue knows from
    benchmarks of the same kind, never from the prompt itself.
    """
    enough = all if whole else any
    models = tuple(sorted(model for model in PRICES if enough((example.quality or {}).get(model) is not None for example in examples)))
    quality = np.array([[_answer(example, model) for model in models] for example in examples])
    cost = np.array([[(len(e.prompt) / 4 * PRICES[m][0] + TOKENS_OUT[name] * PRICES[m][1]) / 1e6 for m in models] for e in examples])
    offered = np.zeros_like(quality)
    halves = np.arange(len(examples)) % 2
    for half in (0, 1):
        priors = [_quality_by_label(examples, quality[:, at], halves != half) for at in range(len(models))]
        for row in map(int, np.flatnonzero(halves == half)):
            shares = tuple(posterior[row])
            offered[row] = [success(prior, shares, float(difficulty[row]), mean_difficulty=means, slope=slope) for prior in priors]
    return Stream(name, models, quality, cost, offered)


def _answer(example: Example, model: str) -> float:
    value = (example.quality or {}).get(model)
    return float("nan") if value is None else float(value)


def _quality_by_label(examples: Sequence[Example], quality: Floats, known: Floats) -> dict[str, float]:
    """Mean quality per label over the known rows, shrunk towards the mean of all by 30 prompts' worth."""
    known = known & ~np.isnan(quality)
    if not known.any():
        return {}
    overall = float(quality[known].mean())
    found = {"default": overall}
    labels = np.array([example.label for example in examples])
    for label in LABELS:
        rows = known & (labels == label)
        if rows.any():
            found[label] = float((quality[rows].sum() + 30.0 * overall) / (rows.sum() + 30.0))
    return found


def run(stream: Stream, aim: Aim) -> tuple[float, float]:
    """(mean quality, mean cost in USD) of the choices under an aim."""
    total = spent = 0.0
    for believed, actual, cost in zip(stream.offered, stream.quality, stream.cost_usd, strict=True):
        asked = np.flatnonzero(~np.isnan(actual))
        offers = [Offer(float(believed[at]), float(cost[at]) * 1e9) for at in asked]
        at = asked[best_of(rank(offers, aim))]
        total += actual[at]
        spent += cost[at]
    return total / len(stream.quality), spent / len(stream.quality)


def area(points: Sequence[tuple[float, float]], low: float, high: float) -> float:
    """AIQ: the mean quality over cost from `low` to `high` of the best curve through (cost, quality) points (their upper convex hull)."""
    best: list[tuple[float, float]] = []
    for cost, quality in sorted(points):
        if best and quality <= best[-1][1]:
            continue
        while len(best) > 1 and _slope(best[-2], best[-1]) <= _slope(best[-2], (cost, quality)):
            best.pop()
        best.append((cost, quality))
    grid = np.linspace(low, high, 501)
    return float(np.interp(grid, [point[0] for point in best], [point[1] for point in best]).mean())


def _slope(a: tuple[float, float], b: tuple[float, float]) -> float:
    return (b[1] - a[1]) / max(b[0] - a[0], 1e-15)


def report(stream: Stream) -> dict[str, Any]:
    """
    Every dial setting, `balanced`, each single model that answered everything, random and oracle, with the areas under their curves.

    `above_line`: quality above the straight line between the cheapest and the best single model at the same cost.
    """
    asked = ~np.isnan(stream.quality)
    whole = [at for at in range(len(stream.models)) if asked[:, at].all()]
    singles = {stream.models[at]: (float(stream.cost_usd[:, at].mean()), float(stream.quality[:, at].mean())) for at in whole}
    best = max(singles, key=lambda model: singles[model][1])
    cheapest = min(singles, key=lambda model: (singles[model][0], -singles[model][1]))
    low, high = singles[cheapest][0], singles[best][0]
    dial: dict[str, dict[str, float]] = {}
    points = []
    for setting in range(int(DIAL_MAX) + 1):
        quality, cost = run(stream, aim_of_dial(float(setting)))
        line = float(np.interp(cost, [low, high], [singles[cheapest][1], singles[best][1]]))
        dial[str(setting)] = {"cost_usd": cost, "quality": quality, "above_line": quality - line}
        points.append((cost, quality))
    quality, cost = run(stream, BALANCED)
    worth = np.where(asked, stream.quality, -1.0) - stream.cost_usd / stream.cost_usd.max() * 1e-3
    oracle, rows = worth.argmax(axis=1), np.arange(len(worth))
    return {
        "prompts": len(stream.quality),
        "models": len(stream.models),
        "models_that_answered_all": len(whole),
        "best_single": {"model": best, "cost_usd": high, "quality": singles[best][1]},
        "cheapest_single": {"model": cheapest, "cost_usd": low, "quality": singles[cheapest][1]},
        "balanced": {"quality_share": quality / singles[best][1], "cost_share": cost / high, "quality": quality, "cost_usd": cost},
        "dial": dial,
        "oracle": {"cost_usd": float(stream.cost_usd[rows, oracle].mean()), "quality": float(stream.quality[rows, oracle].mean())},
        "random": {"cost_usd": float(stream.cost_usd[asked].mean()), "quality": float(stream.quality[asked].mean())},
        "aiq": {
            "auto": area(points, low, high),
            "line": (singles[cheapest][1] + singles[best][1]) / 2,
            "single_models_hull": area(list(singles.values()), low, high),
        },
        "singles": {model: {"cost_usd": c, "quality": q} for model, (c, q) in singles.items()},
    }
