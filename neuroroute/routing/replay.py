"""
What would have been: past calls decided again under another policy, from what their usage rows keep. Pure; rows are added one by one.

    replay = Replay(policy, catalog)
    for row in rows: replay.add(row)
    replay.report()

Where the router chose, the candidates that it had are ranked again: prices, health and what was learned are those of the time. What a moved
call would cost is what it did cost, times the ratio of the two forecasts; so a call that stays costs what it cost. A conversation that kept its
model keeps it here too as long as the other is not much better; a tool loop always, and one that was escalated. A row keeps those alone that could
win if all were open, so a policy that is confined to fewer gets today's forecast of these. Calls that named their model are not touched, unless `named`
asks what `auto` would have done with them: that is forecast from the row's label, difficulty and tokens with today's catalogue.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from neuroroute.core.dataclass import dataclass, field
from neuroroute.core.types import LABELS, Classification
from neuroroute.core.value import Aim, utilities_of
from neuroroute.routing.catalog import Catalog, Policy, is_auto
from neuroroute.routing.decision import Bounds
from neuroroute.routing.strategies import VOICE, Field, Present, weigh
from neuroroute.routing.trail import Kept, Trail
from neuroroute.routing.trail import read as read_trail
from neuroroute.store.usage import UsageRecord

_ROUNDED: Final = 3e-6  # what the digits of a row leave open, as a share of each figure
_SHOWN_MOVES: Final = 50


@dataclass(slots=True)
class _Sums:
    """Over some calls. Costs in 10^-9 USD; qualities are summed over calls whose quality is known on both sides."""

    calls: int = 0
    moved: int = 0
    unpriced: int = 0
    cost: float = 0.0
    new_cost: float = 0.0
    rated: int = 0
    quality: float = 0.0
    new_quality: float = 0.0

    def shown(self) -> dict[str, Any]:
        rated = self.rated or 1
        return {
            "calls": self.calls,
            "moved": self.moved,
            "cost_usd": _usd(self.cost),
            "new_cost_usd": _usd(self.new_cost),
            "quality": round(self.quality / rated, 4) if self.rated else None,
            "new_quality": round(self.new_quality / rated, 4) if self.rated else None,
        }


@dataclass(frozen=True, slots=True)
class Choice:
    """One call decided again. cost and new_cost in 10^-9 USD, None where a price is not known."""

    was: str
    now: str
    cost: float | None
    new_cost: float | None
    quality: float | None
    new_quality: float | None


@dataclass(slots=True)
class Replay:
    """
    policy: the one to try; its own allow and deny lists hold too. named: try it on calls that named their model as well.

    present: what forecasts need beside the catalogue; without it there are none.
    """

    policy: Policy
    catalog: Catalog
    present: Present | None = None
    named: bool = False
    _all: _Sums = field(default_factory=_Sums)
    _by_label: dict[str, _Sums] = field(default_factory=dict)
    _moves: dict[tuple[str, str], _Sums] = field(default_factory=dict)
    _untouched: dict[str, int] = field(default_factory=dict)
    _baseline: float = 0.0
    _saved: float = 0.0
    _new_saved: float = 0.0

    def add(self, row: UsageRecord) -> Choice | None:
        """Decide one call again; None where it stays as it was whatever the policy."""
        trail = read_trail(row.decision)
        reason = self._out_of_reach(row, trail)
        choice = None if reason or trail is None else self._again(row, trail)
        if choice is None:
            reason = reason or "no model left"
            self._untouched[reason] = self._untouched.get(reason, 0) + 1
            cost = float(row.cost_nanousd or 0)
            self._count(row, Choice("", "", cost, cost, None, None), moved=False)
            return None
        self._count(row, choice, moved=choice.was != choice.now)
        return choice

    def report(self) -> dict[str, Any]:
        """All that was added so far, ready for JSON: money in USD, qualities as means over the calls that the policy was asked about."""
        sums = self._all
        moves = sorted(self._moves.items(), key=lambda move: (-abs(move[1].new_cost - move[1].cost), move[0]))
        decided = sums.calls - sum(self._untouched.values())
        return {
            "policy": self.policy.name,
            "calls": sums.calls,
            "decided": decided,
            "moved": sums.moved,
            "untouched": dict(sorted(self._untouched.items())),
            "unpriced": sums.unpriced,
            "cost_usd": _usd(sums.cost),
            "new_cost_usd": _usd(sums.new_cost),
            "difference_usd": _usd(sums.new_cost - sums.cost),
            "baseline_usd": _usd(self._baseline),
            "saved_usd": _usd(self._saved),
            "new_saved_usd": _usd(self._new_saved),
            "quality": round(sums.quality / sums.rated, 4) if sums.rated else None,
            "new_quality": round(sums.new_quality / sums.rated, 4) if sums.rated else None,
            "labels": {label: one.shown() for label, one in sorted(self._by_label.items())},
            "moves": [{"from": was, "to": now, **one.shown()} for (was, now), one in moves[:_SHOWN_MOVES]],
        }

    def _out_of_reach(self, row: UsageRecord, trail: Trail | None) -> str:
        """Why no policy would have changed this call; empty where one could."""
        if row.cache in ("hit", "joined"):
            return "cache hit"
        if row.status == "error" or row.model is None:
            return "error"
        if row.policy is None and not (self.named and row.label and not is_auto(row.requested_model)):
            return "named model"
        if row.dialect in ("embeddings", "pass"):
            return "no chat"
        return "not on record" if trail is None or (row.policy is not None and not trail.candidates) else ""

    def _again(self, row: UsageRecord, trail: Trail) -> Choice | None:
        candidates = trail.candidates
        if not candidates or not all(self._allowed(one.name) for one in candidates):
            candidates = self._forecast(row, trail) or candidates
        if not candidates:
            return None
        was = candidates[0]
        place = 0 if self._stays(row, trail) else self._choose(candidates, trail)
        if place is None:
            return None
        now = candidates[place]
        cost = None if row.cost_nanousd is None else float(row.cost_nanousd)
        if cost is None or now is was:
            new_cost = cost
        elif now.cost_nanousd is None:
            new_cost = None
        else:
            new_cost = cost * now.cost_nanousd / was.cost_nanousd if was.cost_nanousd else now.cost_nanousd
        return Choice(was.name, now.name, cost, new_cost, was.quality, now.quality)

    def _stays(self, row: UsageRecord, trail: Trail) -> bool:
        """A tool loop, a conversation that was escalated; and what was not the ranking's choice stays under its own policy."""
        aside = trail.kept == "aside" or trail.explored is not None
        return trail.kept in ("tool_loop", "raised") or (aside and row.policy == self.policy.name)

    def _choose(self, candidates: Sequence[Kept], trail: Trail) -> int | None:
        """The place of the policy's choice; the choice of the time wins what the row's digits can not tell."""
        policy = self.policy
        open_to = [place for place, one in enumerate(candidates) if self._allowed(one.name)]
        if not open_to:
            return None
        field = [candidates[place] for place in open_to]
        utilities, least = utilities_of([one.quality for one in field], _costs(field), [one.latency_ms for one in field], policy.aim)
        ranks = [(one.quality >= least, utility, -place) for place, (one, utility) in enumerate(zip(field, utilities, strict=True))]
        best = max(range(len(field)), key=ranks.__getitem__)
        if open_to[0] == 0:
            lag = utilities[best] - utilities[0]
            margin = _rounding(field, policy.aim)
            if trail.kept == "thread":
                margin += VOICE * (policy.aim.quality_weight + policy.aim.cost_weight + policy.aim.latency_weight)
            admitted = field[0].quality >= least * (1.0 - _ROUNDED)
            if (admitted or not ranks[best][0]) and lag <= margin:
                return 0
        return open_to[best]

    def _allowed(self, name: str) -> bool:
        policy = self.policy
        if policy.allow and name not in self.catalog.matching(policy.allow):
            return False
        return not policy.deny or name not in self.catalog.matching(policy.deny)

    def _forecast(self, row: UsageRecord, trail: Trail) -> tuple[Kept, ...]:
        """What `auto` would have for this call by today's catalogue, the model that answered first. Empty where it is not in the catalogue any more."""
        own = self.catalog.entry(f"{row.provider}/{row.model}")
        if own is None or self.present is None or row.label not in LABELS:
            return ()
        posterior = tuple(float(label == row.label) for label in LABELS)
        difficulty = 0.0 if row.difficulty is None else row.difficulty
        seen = Classification(row.label, 1.0, difficulty, row.language or "und", trail.needs, row.prompt_tokens, posterior, trail.unsure)
        entries = [own, *(entry for entry in self.catalog.candidates() if entry is not own)]
        weighed = weigh(entries, Field(seen, Bounds(), max_output_tokens=trail.most), self.present)
        return tuple(Kept(one.name, one.quality, one.cost_nanousd, one.latency_ms) for one in weighed if one.entry is own or not one.closed)

    def _count(self, row: UsageRecord, choice: Choice, *, moved: bool) -> None:
        sums = [self._all, self._by_label.setdefault(row.label or "not read", _Sums())]
        if moved:
            sums.append(self._moves.setdefault((choice.was, choice.now), _Sums()))
        for one in sums:
            one.calls += 1
            one.moved += moved
            if choice.cost is None or choice.new_cost is None:
                one.unpriced += 1
            else:
                one.cost += choice.cost
                one.new_cost += choice.new_cost
            if choice.quality is not None and choice.new_quality is not None:
                one.rated += 1
                one.quality += choice.quality
                one.new_quality += choice.new_quality
        if row.baseline_cost_nanousd is not None and choice.cost is not None and choice.new_cost is not None:
            self._baseline += row.baseline_cost_nanousd
            self._saved += row.baseline_cost_nanousd - choice.cost
            self._new_saved += row.baseline_cost_nanousd - choice.new_cost


def decided(report: Mapping[str, Any]) -> str:
    """A report in one sentence."""
    if not report["calls"]:
        return "There was no call in this time."
    share = 100.0 * (1.0 - report["new_cost_usd"] / report["cost_usd"]) if report["cost_usd"] else 0.0
    cheaper = f"{abs(share):.1f} % {'less' if share >= 0 else 'more'}"
    quality = "" if report["quality"] is None else f", expected quality {report['quality']:.3f} -> {report['new_quality']:.3f}"
    cost = f"{report['cost_usd']:.6g} -> {report['new_cost_usd']:.6g} USD ({cheaper})"
    return f"{report['moved']} of {report['calls']} calls would move: {cost}{quality}"


def _costs(field: Sequence[Kept]) -> list[float | None]:
    known = [one.cost_nanousd for one in field if one.cost_nanousd is not None]
    dearest = max(known, default=None)
    return [dearest if one.cost_nanousd is None else one.cost_nanousd for one in field]


def _rounding(field: Sequence[Kept], aim: Aim) -> float:
    """How far two utilities may be apart by rounding alone."""
    best = max(field, key=lambda one: one.quality)
    dearest = max((one.cost_nanousd or 0.0 for one in field), default=0.0)
    slowest = max(one.latency_ms for one in field)
    ratio = min(dearest / best.cost_nanousd, 100.0) if best.cost_nanousd else 1.0
    delay = min(slowest / best.latency_ms, 100.0) if best.latency_ms else 1.0
    return _ROUNDED * (aim.quality_weight + aim.cost_weight * max(ratio, 1.0) + aim.latency_weight * max(delay, 1.0))


def _usd(nanousd: float) -> float:
    return round(nanousd / 1e9, 9)
