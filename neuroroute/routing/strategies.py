"""
Which of many models: gates first, then a forecast for each, then the policy's order. Pure and deterministic.

    gates (facts) -> forecast (quality, tokens, cost, time) -> rank under an aim -> the conversation's own model, if it is near enough

STRATEGIES says what each policy maximises; the arithmetic is `core.value.rank`. Ties go to the first by name.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from neuroroute.core.types import Classification, Dialect
from neuroroute.core.value import AIMS, Aim, utilities_of
from neuroroute.routing.catalog import Entry
from neuroroute.routing.decision import Bounds, Candidate, Gate, Thread
from neuroroute.routing.forecast import Lengths, prompt_of
from neuroroute.routing.health import Health, Latency
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
_SOFT: Final = frozenset({"tools", "json_schema", "reasoning"})
"""Abilities that a model of which nothing is known is given the benefit of the doubt for; it can be seen in its answer."""


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class Field:
    """
    What narrows the choice.

    access, allow, deny: names of targets; None = all (access, allow). spoken: a dialect that the provider itself must speak, since nobody
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

    @property
    def listed(self) -> frozenset[str] | None:
        """What both lists leave; None = all."""
        if self.access is None or self.allow is None:
            return self.allow if self.access is None else self.access
        return self.access & self.allow


def weigh(entries: Sequence[Entry], what: Field, present: Present) -> list[Candidate]:
    """Every model with its forecast and the gates that close it, in the order given. Scores are still zero."""
    seen, bounds, asked = what.seen, what.bounds, what.max_output_tokens
    shares, tokens, needs = prompt_of(seen, present.mean_difficulty).shares, seen.prompt_tokens, seen.abilities
    usual_tokens, ratio = present.lengths.of_label(seen.label), present.lengths.ratio
    glance, now_s, kind = present.health.glance, present.now_s, what.kind
    asked_tokens = math.inf if asked is None else asked
    listed, learned, tercile, label = what.listed, present.learned, 0, 0
    if learned:
        cell = cell_of("", seen, present.mean_difficulty)
        tercile, label = cell.tercile, place_of(cell.label)
    least_quality = -1.0 if bounds.quality_floor is None else bounds.quality_floor
    most_cost = math.inf if bounds.max_cost_usd is None else bounds.max_cost_usd * 1e9
    costly = 0.0 if bounds.max_cost_usd is None else math.inf  # what an unknown price is taken for where money is bounded
    always = what.spoken is not None or bounds.max_latency_ms is not None
    weighed: list[Candidate] = []
    for entry in entries:
        key, against, abilities, window, most, rates, reasoning, ttft_ms, pace = entry.card
        taught = learned.get(key) if learned else None
        if taught is not None:
            against = taught.against[tercile]
        quality = 0.0
        for place, share, shift in shares:
            quality += share / (1.0 + shift * against[place])
        output = usual_tokens * ratio(key, reasoning)
        if output > asked_tokens or output > most:
            output = min(asked_tokens, most)
        if rates is None:
            cost = None
        else:
            cost = tokens * rates[0] + output * rates[1]
            if key == what.cached_target:
                cost -= min(what.cached_tokens, tokens) * (rates[0] - rates[2])
        refused_s, live = glance(key, now_s)
        if live is not None:
            ttft_ms, pace = live.ttft_ms or ttft_ms, live.tokens_per_s or pace
        candidate = Candidate(entry, quality, output, cost, ttft_ms + 1000.0 * output / pace)
        if taught is not None:
            candidate.learned, candidate.refit = taught.seen[tercile][label], taught.refit[label]
        if (
            always
            or (listed is not None and key not in listed)
            or key in what.deny
            or quality < least_quality
            or (costly if cost is None else cost) > most_cost
            or (needs and not needs <= abilities)
            or tokens + (output if asked is None else asked) > window
            or (asked is not None and asked > most)
            or refused_s > 0.0
            or entry.target.model.kind != kind
        ):
            candidate.closed = _gates(entry, candidate, what, refused_s, live)
        weighed.append(candidate)
    return weighed


def _gates(entry: Entry, candidate: Candidate, what: Field, refused_s: float, live: Latency | None) -> tuple[Gate, ...]:
    """Which gates close a model; called only where one may."""
    key, card, bounds, asked = entry.key, entry.card, what.bounds, what.max_output_tokens
    closed: list[Gate] = []
    if entry.model.kind != what.kind:
        closed.append(Gate.KIND)
    if what.spoken is not None and what.spoken not in entry.target.provider.speaks:
        closed.append(Gate.ENDPOINT)
    if what.access is not None and key not in what.access:
        closed.append(Gate.ACCESS)
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
    if refused_s > 0.0:
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
    for candidate, utility, quality in zip(standing, utilities, qualities, strict=True):
        candidate.score, candidate.admitted = utility, quality >= least
    standing.sort(key=_rank, reverse=True)
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


def _rank(candidate: Candidate) -> tuple[bool, float]:
    return candidate.admitted, candidate.score


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

    Its forecast has the discount of the cached prefix already. A tool loop stays whatever the gain. Below the policy's floors nothing stays
    but a tool loop.
    """
    if not thread.target or thread.stalled:
        return 0
    for place, candidate in enumerate(ranked):
        if candidate.entry.key == thread.target and not candidate.closed:
            if thread.tool_loop:
                return place
            margin = VOICE * (aim.quality_weight + aim.cost_weight + aim.latency_weight)
            return place if candidate.admitted and ranked[0].score - candidate.score <= margin else 0
    return 0
