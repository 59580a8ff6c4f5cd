"""
Which of several offers is worth most: the arithmetic of routing, pure and without state.

An *offer* is what one model promises for one call: the probability that its answer is good, the expected cost of the call, the expected
time. An *aim* is what the caller wants: a floor of quality, how far below the best quality a cheaper offer may fall, and weights. `rank`
scores every offer under an aim; the router, the replay of past calls and the evaluation of the classifier all use it, so that what is
measured is what runs.

Only ratios of cost and of latency matter: they are taken relative to the offer of the highest expected quality, so a long prompt is not
routed differently from a short one merely because all its prices are higher.
"""

from collections.abc import Sequence
from typing import Final

from neuroroute.core.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Offer:
    """What one model promises: `quality` = P(good answer) in 0..1; cost and latency of this call, None where unknown."""

    quality: float
    cost_nanousd: float | None
    latency_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Aim:
    """
    What the caller wants.

    The three weights multiply quality (0..1), cost and latency (both relative to the best offer's, capped at MAX_RATIO). `quality_floor` is
    absolute; `quality_slack` is relative: 0.05 admits offers of at least 95 % of the best expected quality, None admits all. Both
    narrow the field before the weights choose; a field that nothing reaches falls back to the best quality there is.
    """

    quality_weight: float
    cost_weight: float
    latency_weight: float = 0.0
    quality_floor: float = 0.0
    quality_slack: float | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """An offer's place: `utility` under the weights, and whether the floors admit it."""

    utility: float
    admitted: bool


MAX_RATIO: Final = 100.0
UNKNOWN_RATIO: Final = 1.0
"""An offer without a known price or latency counts as dear or slow as the best one: neither punished nor preferred."""

BEST: Final = Aim(quality_weight=1.0, cost_weight=0.001)
CHEAP: Final = Aim(quality_weight=0.001, cost_weight=1.0, quality_floor=0.6)
FAST: Final = Aim(quality_weight=0.01, cost_weight=0.001, latency_weight=1.0, quality_floor=0.6)
_DIAL_MIDDLE_COST_WEIGHT: Final = 0.09
"""Measured on the answers of 29 and of 9 models: 99 and 97 % of the best single model's quality at 26 and 38 % of its cost."""
BALANCED: Final = Aim(quality_weight=1.0, cost_weight=_DIAL_MIDDLE_COST_WEIGHT)
AIMS: Final[dict[str, Aim]] = {"best": BEST, "balanced": BALANCED, "cheap": CHEAP, "fast": FAST}

DIAL_MAX: Final = 10.0
_DIAL_END_COST_WEIGHT: Final = 1000.0


def is_dial(name: str) -> bool:
    """Whether the name of a policy is a setting of the dial: a number from 0 to 10."""
    return len(name) <= 5 and name.isascii() and name.replace(".", "", 1).isdecimal() and float(name) <= DIAL_MAX


def aim_of_dial(dial: float) -> Aim:
    """
    The aim of a dial from 0 (the least cost) to 10 (the most quality).

    Between the ends the price of a point of quality falls evenly on a logarithmic scale: at 5, which is `balanced`, a call that costs as
    much as the best offer's must promise 0.09 more quality than a free one.
    """
    turn = min(max(dial, 0.0), DIAL_MAX) / DIAL_MAX
    if turn <= 0.0:
        return Aim(quality_weight=1.0 / _DIAL_END_COST_WEIGHT, cost_weight=1.0)
    if turn >= 1.0:
        return BEST
    price = _DIAL_MIDDLE_COST_WEIGHT * (1.0 - turn) ** 2 / turn**2
    return Aim(quality_weight=1.0, cost_weight=min(max(price, BEST.cost_weight), _DIAL_END_COST_WEIGHT))  # no setting is beyond the ends


def rank(offers: Sequence[Offer], aim: Aim) -> list[Score]:
    """The score of every offer, in their order. The choice is the admitted offer of the highest utility (see `best_of`)."""
    utilities, least = utilities_of(
        [offer.quality for offer in offers], [offer.cost_nanousd for offer in offers], [offer.latency_ms for offer in offers], aim
    )
    return [Score(utility, offer.quality >= least) for utility, offer in zip(utilities, offers, strict=True)]


def utilities_of(
    qualities: Sequence[float], costs: Sequence[float | None], latencies: Sequence[float | None], aim: Aim
) -> tuple[list[float], float]:
    """`rank` by columns, without an object per offer: (the utility of each, the least quality that is admitted)."""
    if not qualities:
        return [], aim.quality_floor
    most = max(qualities)
    best = qualities.index(most)
    least = aim.quality_floor
    if aim.quality_slack is not None:
        least = max(least, most * (1.0 - aim.quality_slack))
    weight = aim.quality_weight
    utilities = [weight * quality for quality in qualities]
    for column, price in ((costs, aim.cost_weight), (latencies, aim.latency_weight)):
        base = column[best]
        if price == 0.0:
            continue
        if base is None or base <= 0.0:
            utilities = [utility - price * _ratio(amount, base) for utility, amount in zip(utilities, column, strict=True)]
        else:
            step, worst = price / base, price * MAX_RATIO
            unknown = price * UNKNOWN_RATIO
            utilities = [
                utility - (unknown if amount is None else worst if (loss := amount * step) > worst else loss)
                for utility, amount in zip(utilities, column, strict=True)
            ]
    return utilities, min(least, most)


def best_of(scores: Sequence[Score]) -> int:
    """The place of the choice: the admitted offer of the highest utility, the first of equals. Raises: ValueError on none."""
    return max(range(len(scores)), key=lambda place: (scores[place].admitted, scores[place].utility, -place))


def _ratio(amount: float | None, base: float | None) -> float:
    if amount is None or base is None:
        return UNKNOWN_RATIO
    if base <= 0.0:
        return 0.0 if amount <= 0.0 else MAX_RATIO
    return min(amount / base, MAX_RATIO)
