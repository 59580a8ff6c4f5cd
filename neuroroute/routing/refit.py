"""
New quality priors from what was observed, and whether they are better than those in force. Pure.

A cell is (model, label). Its quality is the one that fits best: the observations with their difficulty, and the prior in force, worth
PRIOR_WEIGHT observations at the label's mean difficulty. The gate holds back the newest part of the observations, fits on the rest, and asks of
the calls held back: how much value does the policy lose against the best choice, by what these calls themselves say of the models? New priors
are promoted only if that regret falls and they foretell the observations held back no worse.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from neuroroute.core.dataclass import dataclass
from neuroroute.core.value import Aim, utilities_of
from neuroroute.routing.catalog import Catalog
from neuroroute.routing.forecast import MEAN_DIFFICULTY, STEEPNESS
from neuroroute.routing.posteriors import PRIOR_WEIGHT, place_of
from neuroroute.routing.trail import Kept

Priors = Mapping[str, Mapping[str, float]]
"""{provider/model: {label: quality}}"""

HELD_OUT: Final = 0.3
LEAST_HELD_OUT: Final = 20.0
"""Weight of the observations held back below which the gate can not tell better from worse."""
LEAST_WEIGHT: Final = 5.0  # of a cell's observations: below it the prior stays
MOST_OF_A_USER: Final = 25.0
"""What one user's opinions and complaints weigh in a cell at most: nobody steers a model for all."""
_EDGE: Final = 0.02
_STEPS: Final = 30


@dataclass(frozen=True, slots=True)
class Observation:
    """
    One answer and what was said of it. good: the weight of what speaks for it; bad: against it.

    candidates, cost of each: what the policy had to choose from, as the row kept it; empty where the model was named.
    """

    at_s: float
    user_id: str
    model: str
    label: str
    difficulty: float
    good: float
    bad: float
    candidates: tuple[Kept, ...] = ()

    @property
    def weight(self) -> float:
        return self.good + self.bad


@dataclass(frozen=True, slots=True)
class Fit:
    """priors: what to put in force, where promoted. report: the figures, ready for JSON."""

    promoted: bool
    priors: dict[str, dict[str, float]]
    report: dict[str, Any]


def refit(observations: Iterable[Observation], before: Priors, catalog: Catalog, aim: Aim, means: Mapping[str, float]) -> Fit:
    """
    before: the priors in force over the catalogue's. aim: of the policy whose regret counts. means: mean difficulty per label.

    What is promoted is fitted on all observations; what the gate judged was fitted without those held back.
    """
    known = [one for one in observations if one.weight > 0.0 and catalog.of_name(one.model) is not None]
    seen = _capped(sorted(known, key=lambda one: one.at_s))
    base = _Qualities(catalog, before, means)
    split = _split(seen)
    train, held = seen[:split], seen[split:]
    trial = base.over(_fitted(train, base))
    truth = base.over(_fitted(held, base, least=0.0))
    chosen = [one for one in held if one.candidates]
    old, new = _regret(chosen, base, truth, aim), _regret(chosen, trial, truth, aim)
    old_loss, new_loss = _loss(held, base), _loss(held, trial)
    weight = sum(one.weight for one in held)
    reason = _verdict(weight, len(chosen), old, new, old_loss, new_loss)
    fitted = _fitted(seen, base)
    merged = {model: dict(priors) for model, priors in before.items()}
    for (model, label), quality in fitted.items():
        merged.setdefault(model, {})[label] = round(quality, 4)
    report = {
        "promoted": reason == "",
        "reason": reason or "the regret on calls held back falls",
        "observations": len(seen),
        "weight": round(sum(one.weight for one in seen), 2),
        "held_out": len(held),
        "held_out_weight": round(weight, 2),
        "regret_before": round(old, 6),
        "regret_after": round(new, 6),
        "log_loss_before": round(old_loss, 6),
        "log_loss_after": round(new_loss, 6),
        "cells": [
            {
                "model": model,
                "label": label,
                "before": round(base.of(model, label), 4),
                "after": round(quality, 4),
                "weight": round(count, 2),
            }
            for ((model, label), quality), count in zip(fitted.items(), _weights(seen, fitted), strict=True)
        ],
    }
    return Fit(reason == "", merged, report)


def _verdict(weight: float, chosen: int, old: float, new: float, old_loss: float, new_loss: float) -> str:
    """Why new priors are not put in force; empty where they are."""
    if weight < LEAST_HELD_OUT or not chosen:
        return f"too little to judge by: the observations held back weigh {weight:.1f}, {LEAST_HELD_OUT:.0f} are needed"
    if new >= old - 1e-9:
        return "the regret on calls held back does not fall"
    return "the observations held back are foretold worse" if new_loss > old_loss + 1e-9 else ""


class _Qualities:
    """The quality of each model per label under some priors."""

    __slots__ = ("_catalog", "_priors", "means")

    def __init__(self, catalog: Catalog, priors: Priors, means: Mapping[str, float]) -> None:
        self._catalog, self._priors, self.means = catalog, priors, means

    def over(self, fitted: Mapping[tuple[str, str], float]) -> "_Qualities":
        merged = {model: dict(priors) for model, priors in self._priors.items()}
        for (model, label), quality in fitted.items():
            merged.setdefault(model, {})[label] = quality
        return _Qualities(self._catalog, merged, self.means)

    def of(self, model: str, label: str) -> float:
        """At the label's mean difficulty."""
        known = self._priors.get(model, {}).get(label)
        if known is not None:
            return known
        entry = self._catalog.of_name(model)
        return 0.5 if entry is None else 1.0 / (1.0 + entry.card.against[place_of(label)])

    def success(self, model: str, label: str, difficulty: float) -> float:
        return _sigmoid(_logit(self.of(model, label)) - self.shift(label, difficulty))

    def shift(self, label: str, difficulty: float) -> float:
        return STEEPNESS * (difficulty - self.means.get(label, MEAN_DIFFICULTY))


def _capped(observations: Sequence[Observation]) -> list[Observation]:
    """With what one user says of a cell scaled down to MOST_OF_A_USER."""
    said: dict[tuple[str, str, str], float] = {}
    for one in observations:
        place = (one.user_id, one.model, one.label)
        said[place] = said.get(place, 0.0) + one.weight
    scaled = []
    for one in observations:
        share = min(MOST_OF_A_USER / said[one.user_id, one.model, one.label], 1.0)
        scaled.append(
            Observation(one.at_s, one.user_id, one.model, one.label, one.difficulty, one.good * share, one.bad * share, one.candidates)
        )
    return scaled


def _split(observations: Sequence[Observation]) -> int:
    """Where the newest HELD_OUT of the weight begins."""
    left = HELD_OUT * sum(one.weight for one in observations)
    for place in range(len(observations) - 1, -1, -1):
        left -= observations[place].weight
        if left <= 0.0:
            return place
    return 0


def _fitted(observations: Sequence[Observation], base: _Qualities, least: float = LEAST_WEIGHT) -> dict[tuple[str, str], float]:
    """The best quality of every cell that was observed enough."""
    cells: dict[tuple[str, str], list[Observation]] = {}
    for one in observations:
        cells.setdefault((one.model, one.label), []).append(one)
    return {
        cell: _best_quality(found, base.of(*cell), base)
        for cell, found in sorted(cells.items())
        if sum(one.weight for one in found) >= least
    }


def _best_quality(observations: Sequence[Observation], prior: float, base: _Qualities) -> float:
    """The maximum of the posterior, by Newton's method on the logit: the sum is concave."""
    rows = [(base.shift(one.label, one.difficulty), one.good, one.bad) for one in observations]
    rows.append((0.0, PRIOR_WEIGHT * prior, PRIOR_WEIGHT * (1.0 - prior)))
    at = _logit(prior)
    for _ in range(_STEPS):
        slope = bend = 0.0
        for shift, good, bad in rows:
            p = _sigmoid(at - shift)
            slope += good - (good + bad) * p
            bend += (good + bad) * p * (1.0 - p)
        step = min(max(slope / max(bend, 1e-9), -1.0), 1.0)
        at += step
        if abs(step) < 1e-9:
            break
    return min(max(_sigmoid(at), _EDGE), 1.0 - _EDGE)


def _regret(calls: Sequence[Observation], believed: _Qualities, truth: _Qualities, aim: Aim) -> float:
    """What the policy loses on average, in its own utility, when it believes these qualities and those are true."""
    lost = 0.0
    for call in calls:
        costs = [one.cost_nanousd for one in call.candidates]
        latencies = [one.latency_ms for one in call.candidates]
        real = [truth.success(one.name, call.label, call.difficulty) for one in call.candidates]
        utilities, _ = utilities_of(real, costs, latencies, aim)
        taken, best = _choice(call, believed, aim), _choice(call, truth, aim)
        lost += utilities[best] - utilities[taken]
    return lost / len(calls) if calls else 0.0


def _choice(call: Observation, believed: _Qualities, aim: Aim) -> int:
    qualities = [believed.success(one.name, call.label, call.difficulty) for one in call.candidates]
    utilities, least = utilities_of(
        qualities, [one.cost_nanousd for one in call.candidates], [one.latency_ms for one in call.candidates], aim
    )
    return max(range(len(qualities)), key=lambda place: (qualities[place] >= least, utilities[place], -place))


def _loss(observations: Sequence[Observation], believed: _Qualities) -> float:
    """Mean surprise at the observations, in nats."""
    total = weight = 0.0
    for one in observations:
        p = min(max(believed.success(one.model, one.label, one.difficulty), 1e-6), 1.0 - 1e-6)
        total -= one.good * math.log(p) + one.bad * math.log(1.0 - p)
        weight += one.weight
    return total / weight if weight else 0.0


def _weights(observations: Sequence[Observation], cells: Iterable[tuple[str, str]]) -> list[float]:
    weights: dict[tuple[str, str], float] = {}
    for one in observations:
        weights[one.model, one.label] = weights.get((one.model, one.label), 0.0) + one.weight
    return [weights.get(cell, 0.0) for cell in cells]


def _logit(share: float) -> float:
    inside = min(max(share, _EDGE), 1.0 - _EDGE)
    return math.log(inside / (1.0 - inside))


def _sigmoid(at: float) -> float:
    return 1.0 / (1.0 + math.exp(-min(max(at, -30.0), 30.0)))
