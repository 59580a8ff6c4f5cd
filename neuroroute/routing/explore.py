"""
Trying others than the best, to learn of them: Thompson sampling on a small share of the calls, never below the policy's quality floor.

A model's quality is drawn from Beta(strength * quality, strength * (1 - quality)), where strength is what the prior and the evidence count
together: what is well known is hardly ever drawn high by chance. DRAWS times a whole field is drawn and the policy's choice among it noted;
one of these choices is taken. So the propensity of each model is exact for the draws that were made: its share of the choices.
"""

from collections.abc import Sequence
from random import Random
from typing import Final

from neuroroute.core.value import Aim, utilities_of
from neuroroute.routing.decision import Candidate
from neuroroute.routing.posteriors import PRIOR_WEIGHT
from neuroroute.routing.strategies import costs_of

DRAWS: Final = 24
MOST: Final = 8
"""Models that take part, the best of the ranking: bounds the work to a third of a millisecond on the few calls that explore."""
FLOOR: Final = 0.5
"""Where the policy has no floor of its own, what promises less than this, or less than nine tenths of the best, is not tried. Guess."""
SLACK: Final = 0.1


def explore(ranked: Sequence[Candidate], aim: Aim, share: float, chance: Random) -> tuple[int, float | None]:
    """
    (the place to take, its propensity among exploring calls), or (0, None) where this call does not explore.

    ranked: by rank, the open candidates first. share: of the calls.
    """
    if chance.random() >= share:
        return 0, None
    field = _field(ranked, aim)
    if len(field) < 2:
        return 0, None
    costs, latencies = costs_of(field), [candidate.latency_ms for candidate in field]
    choices = [0] * len(field)
    for _ in range(DRAWS):
        qualities = [_drawn(candidate, chance) for candidate in field]
        utilities, least = utilities_of(qualities, costs, latencies, aim)
        choices[max(range(len(field)), key=lambda place: (qualities[place] >= least, utilities[place], -place))] += 1
    taken = chance.choices(range(len(field)), choices)[0]
    return ranked.index(field[taken]), choices[taken] / DRAWS


def _field(ranked: Sequence[Candidate], aim: Aim) -> list[Candidate]:
    """Who may be tried: above the floors by what is expected of them, the choice of the ranking always."""
    standing = [candidate for candidate in ranked if not candidate.closed]
    best = max(candidate.quality for candidate in standing)
    least = aim.quality_floor or max(FLOOR, best * (1.0 - SLACK))
    return [candidate for place, candidate in enumerate(standing) if place == 0 or candidate.quality >= least][:MOST]


def _drawn(candidate: Candidate, chance: Random) -> float:
    strength = PRIOR_WEIGHT + candidate.learned
    quality = min(max(candidate.quality, 0.01), 0.99)
    return chance.betavariate(strength * quality, strength * (1.0 - quality))
