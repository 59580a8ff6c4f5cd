"""What the router is judged by: how much of the strong model's gain a score recovers, and how right and how honest the labels are."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from neuroroute.classifier.fit import Floats

STEPS: Final = 10
BINS: Final = 15


def recovered(score: Floats, weak: Floats, strong: Floats) -> Floats:
    """PGR at the shares 0, 10, .. 100 % of prompts that go to the strong model, highest scores first; equal scores in random order."""
    tie = np.random.default_rng(0).random(len(score))
    order = np.lexsort((tie, -score))
    gains = np.concatenate([[0.0], np.cumsum((strong - weak)[order])])
    shares = np.round(np.linspace(0.0, len(score), STEPS + 1)).astype(int)
    out: Floats = gains[shares] / gains[-1]
    return out


def apgr(score: Floats, weak: Floats, strong: Floats) -> float:
    """The area under PGR over the share of strong calls: 0.5 is random."""
    curve = recovered(score, weak, strong)
    return float((curve[1:] + curve[:-1]).sum() / 2.0 / STEPS)


def calls_for(score: Floats, weak: Floats, strong: Floats, target: float) -> float:
    """CPT: the least share of strong calls that recovers `target` of the gain, linear between the steps."""
    curve = recovered(score, weak, strong)
    for place in range(1, len(curve)):
        if curve[place] >= target:
            before = curve[place - 1]
            return float((place - 1 + (target - before) / max(curve[place] - before, 1e-12)) / STEPS)
    return 1.0


def macro_f1(truth: Sequence[str], said: Sequence[str]) -> float:
    """Over the labels that occur in `truth`."""
    total = 0.0
    present = sorted(set(truth))
    for label in present:
        hits = sum(a == label == b for a, b in zip(truth, said, strict=True))
        wrong = sum((a == label) != (b == label) for a, b in zip(truth, said, strict=True))
        total += 2 * hits / (2 * hits + wrong) if hits or wrong else 0.0
    return total / len(present)


def calibration(confidence: Floats, right: Floats) -> tuple[float, list[tuple[float, float, int]]]:
    """(expected calibration error, the plot: mean confidence, share right, count of each of BINS equal bins that is not empty)."""
    error, plot = 0.0, []
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    for at in range(BINS):
        inside = place == at
        if inside.any():
            mean, share = float(confidence[inside].mean()), float(right[inside].mean())
            error += abs(mean - share) * inside.mean()
            plot.append((round(mean, 4), round(share, 4), int(inside.sum())))
    return float(error), plot


def interval(measure: Callable[[NDArray[np.int64]], float], count: int, draws: int = 300) -> tuple[float, float]:
    """The 95 % bootstrap interval of a measure of row numbers."""
    dice = np.random.default_rng(7)
    values = [measure(dice.integers(0, count, count)) for _ in range(draws)]
    return float(np.quantile(values, 0.025)), float(np.quantile(values, 0.975))
