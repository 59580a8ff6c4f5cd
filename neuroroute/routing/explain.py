"""
A decision as people and programs see it: one JSON shape for `POST /v1/route`, the command line, the `explain` field and the dashboard.

Not on the hot path: only who asks for an explanation pays for it (about a millisecond, most of it for `to_win`).
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from neuroroute.core.types import LABELS, Classification, Target
from neuroroute.core.value import Aim, Offer, best_of, rank
from neuroroute.routing.decision import Candidate, Decision
from neuroroute.routing.strategies import costs_of

TOP: Final = 3  # labels shown of the posterior
_RIVALS: Final = 5  # runners-up for which `to_win` is worked out
_STEPS: Final = 24  # of bisection: exact to 1e-7 of the range


def explain(decision: Decision, router: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """
    The whole decision, ready for JSON.

    router: {version, metrics} of the classifier. Money in USD, times in ms. Figures are forecasts, null where not known. `to_win` of a
    candidate says which single change would make it the choice; null where none would.
    """
    seen = decision.classification
    candidates = [candidate for candidate in decision.candidates if not candidate.closed]
    closed = [candidate for candidate in decision.candidates if candidate.closed]
    return {
        "requested_model": decision.requested or "auto",
        "model": decision.chosen.model.name,
        "provider": decision.chosen.provider.name,
        "policy": decision.policy or None,
        "reason": decision.reason,
        "rule": decision.rule or None,
        "kept": decision.kept,
        "classification": None if seen is None else classification(seen),
        "max_output_tokens": decision.max_output_tokens,
        "fallbacks": [target.name for target in decision.targets[1:]],
        "gates": {
            "passed": [candidate.name for candidate in candidates],
            "closed": {candidate.name: [str(gate) for gate in candidate.closed] for candidate in closed},
        },
        "candidates": [_candidate(candidate, decision) for candidate in (*candidates, *closed)],
        "baseline": _name(decision.baseline),
        "catalog_version": decision.catalog_version,
        "router": dict(router or {}),
    }


def classification(seen: Classification) -> dict[str, Any]:
    """What the classifier read, with the three likeliest labels."""
    likely = sorted(zip(seen.posterior, LABELS, strict=False), reverse=True)[:TOP]
    return {
        "label": seen.label,
        "confidence": round(seen.confidence, 4),
        "posterior": {label: round(share, 4) for share, label in likely},
        "difficulty": round(seen.difficulty, 4),
        "language": seen.language,
        "abilities": sorted(seen.abilities),
        "tokens_estimated": seen.prompt_tokens,
        "abstained": seen.abstained,
        "reasons": list(seen.reasons),
    }


def _name(target: Target | None) -> str | None:
    return None if target is None else target.name


def _candidate(candidate: Candidate, decision: Decision) -> dict[str, Any]:
    return {
        "model": candidate.target.model.name,
        "provider": candidate.target.provider.name,
        "chosen": candidate.target is decision.chosen,
        "quality": round(candidate.quality, 4),
        "quality_source": candidate.entry.quality_source,
        "expected_output_tokens": round(candidate.output_tokens),
        "expected_cost_usd": None if candidate.cost_nanousd is None else round(candidate.cost_nanousd / 1e9, 9),
        "expected_latency_ms": round(candidate.latency_ms),
        "score": None if candidate.closed else round(candidate.score, 6),
        "admitted": candidate.admitted,
        "closed": [str(gate) for gate in candidate.closed],
        "to_win": to_win(candidate, decision),
    }


def to_win(candidate: Candidate, decision: Decision) -> dict[str, float] | None:
    """
    The single changes, each alone, that would make a runner-up the choice: quality_at_least, cost_usd_at_most, latency_ms_at_most.

    None for the choice itself, for closed models (their gates say it) and for those far behind.
    """
    standing = [other for other in decision.candidates if not other.closed]
    if decision.aim is None or candidate.closed or candidate.target is decision.chosen:
        return None
    place = standing.index(candidate)
    if place > _RIVALS:
        return None
    aim = decision.aim
    offers = [Offer(other.quality, cost, other.latency_ms) for other, cost in zip(standing, costs_of(standing), strict=True)]
    mine = offers[place]
    changes: dict[str, float] = {}
    quality = _edge(offers, place, aim, lambda share: replace(mine, quality=mine.quality + share * (1.0 - mine.quality)))
    if quality is not None:
        changes["quality_at_least"] = round(mine.quality + quality * (1.0 - mine.quality), 6)
    if candidate.cost_nanousd is not None and aim.cost_weight > 0.0:
        cost = candidate.cost_nanousd
        share = _edge(offers, place, aim, lambda share: replace(mine, cost_nanousd=cost * (1.0 - share)))
        if share is not None:
            changes["cost_usd_at_most"] = round(cost * (1.0 - share) / 1e9, 12)
    if aim.latency_weight > 0.0:
        latency = candidate.latency_ms
        share = _edge(offers, place, aim, lambda share: replace(mine, latency_ms=latency * (1.0 - share)))
        if share is not None:
            changes["latency_ms_at_most"] = round(latency * (1.0 - share), 3)
    return changes or None


def _edge(offers: list[Offer], place: int, aim: Aim, changed: Callable[[float], Offer]) -> float | None:
    """The least share 0..1 of a change at which the offer wins; None if even the whole does not do it."""

    def wins(share: float) -> bool:
        trial = [*offers[:place], changed(share), *offers[place + 1 :]]
        return best_of(rank(trial, aim)) == place

    if not wins(1.0):
        return None
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if wins(middle) else (middle, high)
    return high
