"""
Which of many models: gates first, then a forecast for each, then the policy's order. Pure and deterministic.

    gates (facts) -> forecast (quality, tokens, cost, time) -> rank under an aim -> the conversation's own model, if it is near enough

STRATEGIES says what each policy maximises; the arithmetic is `core.value.rank`. Ties go to the first by name.
"""

import math
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Final

from neuroroute.core.dataclass import dataclass, field
from neuroroute.core.types import Classification, Dialect
from neuroroute.core.value import AIMS, Aim, utilities_of
from neuroroute.routing.catalog import Entry
from neuroroute.routing.decision import NO_BOUNDS, Bounds, Candidate, Gate, Thread
from neuroroute.routing.forecast import Lengths, shares_of
from neuroroute.routing.health import Health
from neuroroute.routing.posteriors import Taught, cell_of, place_of

STRATEGIES: Final[Mapping[str, tuple[Aim, str]]] = {
    "cheap": (AIMS["cheap"], "least cost above the quality floor"),
    "balanced": (AIMS["balanced"], "most quality for its price"),
    "best": (AIMS["best"], "most quality"),
    "fast": (AIMS["fast"], "fastest above the quality floor"),
}
"""The policies that are always there, and in a few words what each looks for."""

VOICE: Final = 0.03
"""What a change of model in the middle of a conversation costs, as a share of the aim's weights: a change of voice is a risk. Guess."""
_RANK: Final = attrgetter("admitted", "score")
_SOFT: Final = frozenset({"tools", "json_schema", "reasoning"})
"""Abilities that a model of which nothing is known is given the benefit of the doubt for; it can be seen in its answer."""


@dataclass(slots=True)  # not frozen, as all that is made once per call: that would make it four times as dear
class Present:
    """
    What changes from call to call without anybody's doing: health, lengths, the clock, what the classifier takes as mean difficulty, and what
    was learned, by `Target.name`.
    """

    health: Health
    lengths: Lengths
    now_s: float
    mean_difficulty: Mapping[str, float] = field(default_factory=dict)
    learned: Mapping[str, Taught] = field(default_factory=dict)


@dataclass(slots=True)
class Field:
    """
    What narrows the choice.

    access, confined, allow, deny: names of targets; None = all. confined: what the policy itself leaves. spoken: a dialect that the provider itself must speak, since nobody
    translates it.
    """

    seen: Classification
    bounds: Bounds
    kind: str = "chat"
    spoken: Dialect | None = None
    max_output_tokens: int | None = None
    access: frozenset[str] | None = None
    allow: frozenset[str] | None = None
    deny: frozenset[str] = frozenset()
    cached_target: str = ""
    cached_tokens: int = 0
    confined: frozenset[str] | None = None

    @property
    def is_bounded(self) -> bool:
        """Whether somebody wants less than what a model can do: then every gate is looked at."""
        bounds = self.bounds
        return (
            self.spoken is not None
            or self.access is not None
            or self.confined is not None
            or self.allow is not None
            or bool(self.deny)
            or (bounds is not NO_BOUNDS and (bounds.quality_floor, bounds.max_cost_usd, bounds.max_latency_ms) != (None, None, None))
        )


def weigh(entries: Sequence[Entry], what: Field, present: Present) -> list[Candidate]:
    """Every model with its forecast and the gates that close it, in the order given. Scores are still zero."""
    seen, asked, cached, health, learned = what.seen, what.max_output_tokens, what.cached_target, present.health, present.learned
    tokens, needs, kind, shut, latencies = seen.prompt_tokens, seen.abilities, what.kind, health.shut, health.latencies
    shares, usual_tokens, ratios = shares_of(seen, present.mean_difficulty), present.lengths.of_label(seen.label), present.lengths.by_target
    asked_tokens, bounded, tercile, label = math.inf if asked is None else asked, what.is_bounded, 0, 0
    if learned:
        cell = cell_of("", seen, present.mean_difficulty)
        tercile, label = cell.tercile, place_of(cell.label)
    weighed: list[Candidate] = []
    for entry in entries:
        key, of_kind, against, abilities, window, most, rates, reasoning, ttft_ms, pace = entry.card
        taught = learned.get(key) if learned else None
        if taught is not None:
            against = taught.against[tercile]
        quality = 0.0
        for place, share, shift in shares:
            quality += share / (1.0 + shift * against[place])
        ratio = ratios.get(key)
        output = usual_tokens * (reasoning if ratio is None else ratio[0])
        if output > asked_tokens or output > most:
            output = min(asked_tokens, most)
        cost = None if rates is None else tokens * rates[0] + output * rates[1]
        live = latencies.get(key)
        if live is not None:
            ttft_ms, pace = live.ttft_ms or ttft_ms, live.tokens_per_s or pace
        candidate = Candidate(entry, quality, output, cost, ttft_ms + 1000.0 * output / pace)
        if taught is not None:
            candidate.learned, candidate.refit = taught.seen[tercile][label], taught.refit[label]
        if key == cached and rates is not None and cost is not None:
            candidate.cost_nanousd = cost - min(what.cached_tokens, tokens) * (rates[0] - rates[2])
        if (
            bounded
            or of_kind != kind
            or (needs and not needs <= abilities)
            or tokens + (output if asked is None else asked) > window
            or (asked is not None and asked > most)
            or key in shut
        ):
            candidate.closed = _gates(candidate, what, present)
        weighed.append(candidate)
    return weighed


def _gates(candidate: Candidate, what: Field, present: Present) -> tuple[Gate, ...]:
    """Which gates close a model; called only where one may."""
    entry = candidate.entry
    key, card, bounds, asked = entry.key, entry.card, what.bounds, what.max_output_tokens
    live = present.health.latencies.get(key)
    closed: list[Gate] = []
    if card.kind != what.kind:
        closed.append(Gate.KIND)
    if what.spoken is not None and what.spoken not in entry.target.provider.speaks:
        closed.append(Gate.ENDPOINT)
    if what.access is not None and key not in what.access:
        closed.append(Gate.ACCESS)
    if what.confined is not None and key not in what.confined:
        closed.append(Gate.POLICY)
    if what.allow is not None and key not in what.allow:
        closed.append(Gate.ALLOW)
    if key in what.deny:
        closed.append(Gate.DENY)
    lacking = what.seen.abilities - card.abilities
    if not entry.abilities_known:
        lacking -= _SOFT
    closed += [Gate(need) for need in sorted(lacking)]
    if what.seen.prompt_tokens + (candidate.output_tokens if asked is None else asked) > card.window_tokens:
        closed.append(Gate.CONTEXT)
    if asked is not None and asked > card.output_tokens:
        closed.append(Gate.OUTPUT)
    if bounds.max_cost_usd is not None:
        if candidate.cost_nanousd is None:
            closed.append(Gate.PRICE)
        elif candidate.cost_nanousd > bounds.max_cost_usd * 1e9:
            closed.append(Gate.COST)
    slow_ms = max(live.ttft_p95_ms - live.ttft_ms, 0.0) if live is not None else 0.0  # a bound has to hold on bad days too
    if bounds.max_latency_ms is not None and candidate.latency_ms + slow_ms > bounds.max_latency_ms:
        closed.append(Gate.LATENCY)
    if bounds.quality_floor is not None and candidate.quality < bounds.quality_floor:
        closed.append(Gate.QUALITY)
    if present.health.refused_s(key, present.now_s) > 0.0:
        closed.append(Gate.HEALTH)
    return tuple(closed)


def order(weighed: Sequence[Candidate], aim: Aim, present: Present) -> list[Candidate]:
    """
    The open candidates by rank, then the closed ones.

    An unknown price counts as the dearest known one. Models that limited or refused us a moment ago come after all others.
    """
    standing = [candidate for candidate in weighed if not candidate.closed]
    qualities = [candidate.quality for candidate in standing]
    utilities, least = utilities_of(qualities, costs_of(standing), [candidate.latency_ms for candidate in standing], aim)
    for candidate, utility in zip(standing, utilities, strict=False):
        candidate.score, candidate.admitted = utility, candidate.quality >= least
    standing.sort(key=_RANK, reverse=True)
    if present.health.avoids(present.now_s):
        standing.sort(key=lambda candidate: present.health.avoided(candidate.entry.key, present.now_s))
    return standing + [candidate for candidate in weighed if candidate.closed] if len(standing) < len(weighed) else standing


def costs_of(standing: Sequence[Candidate]) -> Sequence[float | None]:
    """What open candidates would cost; an unknown price counts as the dearest known one. None where no price is known."""
    costs = [candidate.cost_nanousd for candidate in standing]
    if None not in costs:
        return costs
    dearest = max((cost for cost in costs if cost is not None), default=None)
    return [dearest if cost is None else cost for cost in costs]


def escalate(weighed: Sequence[Candidate], thread: Thread) -> bool:
    """
    Close the model that stalled and all that promise no more than it; True if that was done.

    Where it is the best already, nothing is closed: asking the best one again is what is left.
    """
    if not thread.stalled:
        return False
    stalled = next((candidate for candidate in weighed if candidate.entry.key == thread.target), None)
    if stalled is None:
        return False
    if not any(candidate.quality > stalled.quality for candidate in weighed if not candidate.closed):
        return False
    for candidate in weighed:
        if candidate.quality <= stalled.quality:
            candidate.closed = (*candidate.closed, Gate.STALLED)
    return True


def stick(ranked: Sequence[Candidate], thread: Thread, aim: Aim) -> int:
    """
    The place of the candidate to take: the conversation's own model while a better one is not much better, else 0.

    Its forecast has the discount of the cached prefix already. A tool loop stays whatever the gain, and so does a model that came in the
    place of one that stalled: the conversation does not go back to that. Below the policy's floors nothing else stays.
    """
    if not thread.target or (thread.stalled and not thread.raised):
        return 0
    for place, candidate in enumerate(ranked):
        if candidate.entry.key == thread.target and not candidate.closed:
            if thread.tool_loop or thread.raised:
                return place
            margin = VOICE * (aim.quality_weight + aim.cost_weight + aim.latency_weight)
            return place if candidate.admitted and ranked[0].score - candidate.score <= margin else 0
    return 0
