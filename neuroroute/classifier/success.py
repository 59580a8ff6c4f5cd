"""The probability that a model answers well, from its quality per label and what the classifier read."""

from collections.abc import Mapping, Sequence
from math import exp, log
from typing import Final

from neuroroute.classifier.labels import LABELS

DIFFICULTY_SLOPE: Final = 4.0
"""How many logits of success a unit of difficulty costs. Not fitted: on the measured answers of 29 and 9 models 0 and 4 differ by .001 AIQ."""

MEAN_DIFFICULTY: Final = 0.35
"""The difficulty at which a model's quality per label is as the catalogue says, where the classifier gives none for the label."""

_EDGE: Final = 0.02


def logit(share: float) -> float:
    bounded = min(max(share, _EDGE), 1.0 - _EDGE)
    return log(bounded / (1.0 - bounded))


def success(
    quality_by_label: Mapping[str, float],
    posterior: Sequence[float],
    difficulty: float,
    *,
    mean_difficulty: Mapping[str, float] | None = None,
    slope: float = DIFFICULTY_SLOPE,
    trust: float = 1.0,
) -> float:
    """
    P(the model's answer is good) in 0..1.

    `quality_by_label`: 0..1 per label, `default` for those that are missing (0.5 without one). `posterior`: over LABELS, in that order.
    `mean_difficulty`: the mean per label among the prompts that the qualities were measured on. `trust` in 0..1 shrinks the prompt's
    difficulty towards that mean: 0 gives the catalogue's prior for the label.
    """
    fallback = quality_by_label.get("default", 0.5)
    means = mean_difficulty or {}
    total = 0.0
    for label, share in zip(LABELS, posterior, strict=True):
        if share < 0.005:
            continue
        shift = slope * trust * (difficulty - means.get(label, MEAN_DIFFICULTY))
        total += share / (1.0 + exp(shift - logit(quality_by_label.get(label, fallback))))
    weight = sum(share for share in posterior if share >= 0.005)
    return total / weight if weight else fallback
