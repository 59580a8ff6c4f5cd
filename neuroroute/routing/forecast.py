"""
What a model would do with a call: the probability of a good answer, the tokens, the money and the time.

Success: the mean, over the labels that the prompt may have, of sigmoid(logit(prior quality for the label) - STEEPNESS * (difficulty -
the label's mean difficulty)). Where the classifier abstained, the prior over all work counts, and a prompt a little harder than usual, so
that doubt goes to the safer model.
Length: a table per label, replaced by what models really write (`Lengths`).
"""

import math
from collections.abc import Mapping
from typing import Final

from neuroroute.core.dataclass import dataclass, field
from neuroroute.core.types import LABELS, Classification, Model

STEEPNESS: Final = 4.0
MEAN_DIFFICULTY: Final = 0.35
"""The difficulty at which a prior quality holds as it stands, for labels whose mean is not known."""
DOUBT: Final = 0.1
"""What an abstaining classifier adds to the mean difficulty."""
UNKNOWN_QUALITY: Final = 0.5
"""The prior of a model of which nothing is known, not even its size. Guess."""
_LEAST_SHARE: Final = 0.08  # labels below this posterior are left out: they move P by less than 0.01 and cost time
_EDGE: Final = 0.02  # no prior is surer than this
_ALL: Final = len(LABELS)  # the place of `default` behind the labels
UNSURE: Final = "default"
"""Stands in the place of a label where the classifier was not sure of one."""
_NAMES: Final = (*LABELS, UNSURE)

OUTPUT_TOKENS: Final[Mapping[str, int]] = {
    "code": 700, "math": 600, "reasoning": 700, "writing": 800, "roleplay": 350, "rewriting": 350, "summarization": 300,
    "extraction": 200, "classification": 40, "translation": 300, "factual_qa": 250, "advice": 600, "chat": 120,
}  # fmt: skip
"""Expected tokens of an answer by label. Source: guess from common chat traffic; `Lengths` replaces it by live averages."""
REASONING_FACTOR: Final = 1.6
"""How much more a model that reasons writes, reasoning tokens included, until its own figure is known. Guess."""
ANY_OUTPUT_TOKENS: Final = 400


def odds_against(quality: Mapping[str, float]) -> tuple[float, ...]:
    """(1 - q) / q of a model's prior per label in the order of LABELS, and of `default` behind them: the form in which `success` is cheap."""
    default = quality.get("default")
    if default is None:
        default = sum(quality.values()) / len(quality) if quality else UNKNOWN_QUALITY
    return tuple(odds_of(quality.get(label, default)) for label in _NAMES)


def odds_of(quality: float) -> float:
    """The odds against a success of this probability."""
    inside = min(max(quality, _EDGE), 1.0 - _EDGE)
    return (1.0 - inside) / inside


def shares_of(seen: Classification, mean_difficulty: Mapping[str, float]) -> list[tuple[int, float, float]]:
    """
    A classification, folded into what the success of a model needs: (place of a label, its share, exp(its shift)) of the labels that matter.
    Once per call; then each model costs no exponential.

    mean_difficulty: per label, where the classifier knows it.
    """
    difficulty, mean_of = seen.difficulty, mean_difficulty.get
    if seen.abstained:
        return [(_ALL, 1.0, math.exp(STEEPNESS * max(difficulty - MEAN_DIFFICULTY, DOUBT)))]
    kept = [(place, share) for place, share in enumerate(seen.posterior) if share >= _LEAST_SHARE]
    if not kept:
        kept = [(LABELS.index(seen.label) if seen.label in LABELS else _ALL, 1.0)]
    total = sum([share for _, share in kept])
    return [(place, share / total, math.exp(STEEPNESS * (difficulty - mean_of(_NAMES[place], MEAN_DIFFICULTY)))) for place, share in kept]


def prior_speed(model: Model) -> tuple[float, float]:
    """
    (TTFT in ms, tokens per second) of a model that was never called here.

    Guess: dear models are large and slow; a model without a price runs on somebody's own machine. Live figures replace it after one call.
    """
    if model.price is None:
        return 800.0, 30.0
    output_usd = model.price.output_nanousd / 1e9
    return 400.0 + 40.0 * min(output_usd, 50.0), max(40.0, 160.0 / (1.0 + output_usd / 12.0))


@dataclass(slots=True)
class Lengths:
    """
    Live averages of what models write, O(1) per answer.

    One average per label, and one ratio per model of its answers to the average; both start from the table and move by at most a
    hundredth per answer once they have seen fifty. by_target: (the ratio, how many answers it was seen in) of those that wrote something here.
    """

    _by_label: dict[str, tuple[float, int]] = field(default_factory=dict)
    by_target: dict[str, tuple[float, int]] = field(default_factory=dict)

    def observe(self, label: str, target: str, output_tokens: int) -> None:
        """An answer that ended by itself (not cut, not at its limit)."""
        if output_tokens <= 0:
            return
        usual = self.of_label(label)
        ratio, seen = self.by_target.get(target, (1.0, 0))
        step = 1.0 / min(seen + 4, 100)
        self.by_target[target] = (ratio + step * (min(output_tokens / usual, 20.0) - ratio), seen + 1)
        average, seen = self._by_label.get(label, (usual, 0))
        step = 1.0 / min(seen + 50, 100)
        self._by_label[label] = (average + step * (min(output_tokens, 20.0 * average) - average), seen + 1)

    def of_label(self, label: str) -> float:
        known = self._by_label.get(label)
        return known[0] if known else float(OUTPUT_TOKENS.get(label, ANY_OUTPUT_TOKENS))

    def ratio(self, target: str, prior: float = 1.0) -> float:
        """How much more than the average a model writes; `prior` until it wrote something here."""
        known = self.by_target.get(target)
        return prior if known is None else known[0]
