"""
A decision as people and programs see it: one JSON shape for `POST /v1/route`, the command line, the `explain` field and the dashboard.

Not on the hot path: only who asks for an explanation pays for it (one or two milliseconds, most of it for `to_win`).
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from neuroroute.core.types import LABELS, Classification, Target
from neuroroute.core.value import utilities_of
from neuroroute.routing.decision import Candidate, Decision
from neuroroute.routing.strategies import costs_of

TOP: Final = 3  # labels shown of the posterior
_RIVALS: Final = 5  # runners-up for which `to_win` is worked out
_STEPS: Final = 20  # of bisection: exact to a millionth of the range


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
        "learned_version": decision.learned_version,
        "explored": None if decision.explored is None else round(decision.explored, 4),
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
        "reasons": list(seen.reasons()),
    }


def _name(target: Target | None) -> str | None:
    return None if target is None else target.name


def _source(candidate: Candidate) -> str:
    """Where its quality is from: what was learned here before what is known from elsewhere."""
    if candidate.learned > 0.0:
        return f"learned (n={candidate.learned:.0f})" if candidate.learned >= 1.0 else "learned (n<1)"
    return f"refit (version {candidate.refit})" if candidate.refit else candidate.entry.quality_source


def _candidate(candidate: Candidate, decision: Decision) -> dict[str, Any]:
    return {
        "model": candidate.target.model.name,
        "provider": candidate.target.provider.name,
        "chosen": candidate.target is decision.chosen,
        "quality": round(candidate.quality, 4),
        "quality_source": _source(candidate),
        "expected_output_tokens": round(candidate.output_tokens),
        "expected_cost_usd": None if candidate.cost_nanousd is None else round(candidate.cost_nanousd / 1e9, 9),
        "expected_latency_ms": round(candidate.latency_ms),
        "score": None if candidate.closed or decision.aim is None else round(candidate.score, 6),
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
    aim = decision.aim
    if aim is None or candidate.closed or candidate.target is decision.chosen:
        return None
    place = standing.index(candidate)
    if place > _RIVALS:
        return None
    qualities, costs = [other.quality for other in standing], costs_of(standing)
    latencies = [other.latency_ms for other in standing]
    quality, cost, latency = candidate.quality, candidate.cost_nanousd, candidate.latency_ms

    def wins(quality: float, cost: float | None, latency: float) -> bool:
        changed = [*qualities[:place], quality, *qualities[place + 1 :]]
        utilities, least = utilities_of(
            changed, [*costs[:place], cost, *costs[place + 1 :]], [*latencies[:place], latency, *latencies[place + 1 :]], aim
        )
        return max(range(len(standing)), key=lambda other: (changed[other] >= least, utilities[other], -other)) == place

    changes: dict[str, float] = {}
    if (better := _edge(quality, 1.0, lambda value: wins(value, costs[place], latency))) is not None:
        changes["quality_at_least"] = round(better, 6)
    if cost is not None and (cheaper := _edge(cost, 0.0, lambda value: wins(quality, value, latency))) is not None:
        changes["cost_usd_at_most"] = round(cheaper / 1e9, 12)
    if (faster := _edge(latency, 0.0, lambda value: wins(quality, costs[place], value))) is not None:
        changes["latency_ms_at_most"] = round(faster, 3)
    return changes or None


def _edge(now: float, end: float, wins: Callable[[float], bool]) -> float | None:
    """The value between `now` and `end` from which on the candidate wins; None if even `end` does not do it."""
    if not wins(end):
        return None
    loses, won = now, end
    for _ in range(_STEPS):
        middle = (loses + won) / 2
        loses, won = (loses, middle) if wins(middle) else (middle, won)
    return won
