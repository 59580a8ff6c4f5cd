"""
What a usage row keeps of a decision: enough to decide the call again under another policy, in less than 600 bytes and without the prompt.

    {"v": 1, "candidates": [["openai/gpt-4o-mini", 0.812, 91500, 2310], ...], "kept": "thread", "explored": [0.02, 0.41], "learned": 3,
     "needs": ["tools"], "unsure": true, "most": 900, "outcome": "truncated",
     "stages": [["auth", 31], ...], "tries": [["openai/gpt-4o-mini", "ok", 420, 812000]]}

candidates: the choice first, then those that could win under some policy (none is better in quality, cost and time at once): name, expected
quality, cost in 10^-9 USD (null: not known), time in ms. Only of calls where the router chose; a call that names its model keeps what is needed
to ask what `auto` would have done: its needs and bound, beside the row's label, difficulty and tokens. Members that say nothing are left out.
stages, tries: where the time went, put there when the call is settled, all in microseconds: what each stage took, in their order; each attempt's
target, outcome ("ok" or the name of its error), beginning since the call's, and length. spared: of an answer from the cache, what it cost
whoever asked its model and how much longer that took, [10^-9 USD, ms].
"""

import math
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any, Final

from neuroroute.core.dataclass import dataclass
from neuroroute.routing.decision import Candidate, Decision

VERSION: Final = 1
MOST_BYTES: Final = 600
MOST_CANDIDATES: Final = 8
_FRAME_BYTES: Final = 190  # all other members, at their longest
_FIGURES_BYTES: Final = 36  # of a candidate's three figures and the signs around them, at their longest
DIGITS: Final = 6
"""Figures keep so many: enough that a replay tells the choice from its rivals wherever the difference is more than a millionth."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One candidate of a row."""

    name: str
    quality: float
    cost_nanousd: float | None
    latency_ms: float


@dataclass(frozen=True, slots=True)
class Trail:
    """
    A row's decision, read back. candidates: the choice first; empty where the model was named. kept: "", or why the choice was not the ranking's:
    thread, tool_loop, raised (it came in the place of one that stalled), aside (what was ranked higher had limited or refused us a moment before and is not among the candidates). explored: (share of calls that try others, propensity of this choice among them).
    """

    candidates: tuple[Kept, ...] = ()
    kept: str = ""
    explored: tuple[float, float] | None = None
    learned: int = 0
    needs: frozenset[str] = frozenset()
    unsure: bool = False
    most: int | None = None
    outcome: str = ""


@dataclass(frozen=True, slots=True)
class Try:
    """One attempt of a row. outcome: "ok" or the name of its error. Times in ms, the beginning since the call's."""

    target: str
    outcome: str
    began_ms: float
    took_ms: float


@dataclass(frozen=True, slots=True)
class Times:
    """Where a row's time went. stages: (name, ms), in their order."""

    stages: tuple[tuple[str, float], ...] = ()
    tries: tuple[Try, ...] = ()


def of(decision: Decision, *, outcome: str = "", exploration: float = 0.0) -> dict[str, Any] | None:
    """For the row's `decision` column; None where nobody read the call, so that nothing can be decided again."""
    seen = decision.classification
    if seen is None or not seen.posterior:
        return {"v": VERSION, "outcome": outcome} if outcome else None
    trail: dict[str, Any] = {"v": VERSION}
    if decision.aim is not None:
        standing, target = [candidate for candidate in decision.candidates if not candidate.closed], decision.targets[0]
        chosen = next(candidate for candidate in standing if candidate.entry.target is target)
        others = [candidate for candidate in standing if candidate is not chosen]
        if (
            not decision.kept and decision.explored is None
        ):  # without those that the ranking preferred and that were passed over all the same
            admitted, score = chosen.admitted, chosen.score
            others = [one for one in others if (one.score <= score if one.admitted == admitted else admitted)]
        trail["candidates"] = [_figures(candidate) for candidate in _with_rivals(chosen, others)]
        if decision.kept:
            trail["kept"] = "tool_loop" if decision.thread.tool_loop else "raised" if decision.thread.raised else "thread"
        elif len(others) < len(standing) - 1:
            trail["kept"] = "aside"
    if decision.explored is not None:
        trail["explored"] = [exploration, round(decision.explored, 4)]
    if decision.learned_version:
        trail["learned"] = decision.learned_version
    if seen.abilities:
        trail["needs"] = sorted(seen.abilities)
    if seen.abstained:
        trail["unsure"] = True
    if decision.max_output_tokens is not None:
        trail["most"] = decision.max_output_tokens
    if outcome:
        trail["outcome"] = outcome
    return trail


def read(stored: Mapping[str, Any] | None) -> Trail | None:
    """The trail of a row; None where it has none, or one of a version that is not known."""
    if stored is None or stored.get("v") != VERSION:
        return None
    explored = stored.get("explored")
    return Trail(
        tuple(Kept(str(name), float(quality), cost, float(latency)) for name, quality, cost, latency in stored.get("candidates", ())),
        stored.get("kept", ""),
        (float(explored[0]), float(explored[1])) if explored else None,
        stored.get("learned", 0),
        frozenset(stored.get("needs", ())),
        stored.get("unsure", False),
        stored.get("most"),
        stored.get("outcome", ""),
    )


def times(stored: Mapping[str, Any] | None) -> Times:
    """Where the time of a row went. Raises: TypeError, ValueError, AttributeError where that can not be read."""
    if stored is None or stored.get("v") != VERSION:
        return Times()
    return Times(
        tuple((str(stage), took_us / 1000) for stage, took_us in stored.get("stages", ())),
        tuple(Try(str(name), str(outcome), at_us / 1000, took_us / 1000) for name, outcome, at_us, took_us in stored.get("tries", ())),
    )


def _figures(candidate: Candidate) -> list[Any]:
    cost = candidate.cost_nanousd
    return [
        candidate.entry.key,
        round(candidate.quality * _MILLION) / _MILLION,
        cost if cost is None else _short(cost),
        _short(candidate.latency_ms),
    ]


def _short(value: float) -> float:
    """Its first DIGITS digits: a third of what it takes to write and read it."""
    if not _LEAST_SHORT < value < _MOST_SHORT:
        return float(f"{value:.{DIGITS}g}")
    places = DIGITS - 1 - math.floor(math.log10(value))
    if places >= 0:
        return round(value * _POWERS[places]) / _POWERS[places]
    return round(value / _POWERS[-places]) * _POWERS[-places]


def _with_rivals(chosen: Candidate, others: Sequence[Candidate]) -> list[Candidate]:
    """
    The choice, the best (costs are measured by it), the dearest where a price is not known (it counts as that), then those that no other beats in
    everything, the best first, as space allows.
    """
    by_quality = sorted(others, key=_QUALITY, reverse=True)
    wanted = [*by_quality[:1], *_dearest([chosen, *others])]
    cheapest = quickest = math.inf
    for candidate in by_quality:
        cost, latency_ms = candidate.cost_nanousd, candidate.latency_ms
        if latency_ms < quickest or (cost is not None and cost < cheapest):
            wanted.append(candidate)
            quickest = min(quickest, latency_ms)
            cheapest = cheapest if cost is None else min(cheapest, cost)
    kept, taken, space = [chosen], {chosen.entry.key}, MOST_BYTES - _FRAME_BYTES - _FIGURES_BYTES - len(chosen.entry.key.encode())
    for candidate in wanted:
        name = candidate.entry.key
        if name not in taken:
            space -= _FIGURES_BYTES + len(name.encode())
            if space < 0 or len(kept) == MOST_CANDIDATES:
                break
            taken.add(name)
            kept.append(candidate)
    return kept


def _dearest(standing: Sequence[Candidate]) -> list[Candidate]:
    if None not in [candidate.cost_nanousd for candidate in standing]:
        return []
    known = [candidate for candidate in standing if candidate.cost_nanousd is not None]
    return [max(known, key=_COST)] if known else []


_QUALITY: Final = attrgetter("quality")
_COST: Final = attrgetter("cost_nanousd")
_MILLION: Final = 10.0**DIGITS
_POWERS: Final = tuple(10.0**places for places in range(20))
_LEAST_SHORT, _MOST_SHORT = 1e-9, 1e15  # between them the powers are exact, and so are whole numbers
