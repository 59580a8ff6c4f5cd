"""
From a call to the targets that may answer it, in order.

    a rule that fits -> a named model or alias, as it is -> auto: the policy chooses among all that pass the gates

A model that the client named is never replaced by another; only an alias or a rule about that model may do so.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from random import Random
from typing import Final

from neuroroute.core import clock
from neuroroute.core.dataclass import dataclass, field
from neuroroute.core.errors import BadRequest, Forbidden, Unavailable
from neuroroute.core.types import Classification, Dialect, Target
from neuroroute.routing.catalog import AUTO, Catalog, Policy, is_auto
from neuroroute.routing.decision import NEW_THREAD, Candidate, Decision, Gate, Question
from neuroroute.routing.explore import explore
from neuroroute.routing.forecast import Lengths, shares_of
from neuroroute.routing.health import Health
from neuroroute.routing.posteriors import Posteriors, cell_of
from neuroroute.routing.rules import Facts, Rule, first_fit
from neuroroute.routing.strategies import STRATEGIES, Field, Present, escalate, order, stick, weigh

UNREAD: Final = Classification("chat", 0.0, 0.35, "und", frozenset(), 0, abstained=True)
"""Stands in where a call was not classified."""
NAMED: Final = "named"
_NAMES_KEPT: Final = 1000
_NONE_KNOWN: Final = (None, None)
_KINDS: Final = {Dialect.EMBEDDINGS: "embedding"}
_UNTRANSLATED: Final = frozenset({Dialect.COMPLETIONS, Dialect.EMBEDDINGS, Dialect.PASS})
_BOUND_GATES: Final = frozenset({Gate.ALLOW, Gate.DENY, Gate.PRICE, Gate.COST})
"""The caller's own bounds: the only gates that a named model has to pass. What it can do, its provider says best."""


@dataclass(frozen=True, slots=True)
class Router:
    """One per worker. mean_difficulty: per label, from the classifier. posteriors: what was learned. chance: for what tries others."""

    health: Health
    lengths: Lengths = field(default_factory=Lengths)
    mean_difficulty: dict[str, float] = field(default_factory=dict)
    posteriors: Posteriors = field(default_factory=Posteriors)
    chance: Random = field(default_factory=Random)
    now_s: Callable[[], float] = clock.monotonic_s
    utcnow: Callable[[], datetime] = clock.utcnow
    _known: dict[str, tuple[Catalog | None, Decision | None]] = field(default_factory=dict, repr=False)

    def decide(self, question: Question, seen: Classification | None, catalog: Catalog) -> Decision:
        """
        Who may answer, in order.

        Raises: UnknownModel; Forbidden where the key may not use the name, the policy, or any model that could serve the call; BadRequest
        where the gates close every model, naming them, and on an unknown policy; Unavailable with retry_after_s where only broken
        targets are left.
        """
        name, allowed = question.model, question.principal.allowed_models
        policy = catalog.auto_policy(name)
        if not catalog.may_name(name, allowed):
            if policy is None:
                catalog.find(name, allowed)  # a name that does not exist is unknown, not forbidden
            raise Forbidden(f"This key may not use the model {name or 'auto'!r}.", param="model")
        if (asked := question.bounds.policy) is not None and catalog.policy(asked) is None:
            raise _unknown_policy(asked, catalog)  # also where a model is named: whoever sends it means something
        seen_or = seen or UNREAD
        if question.instead:
            if (chosen := catalog.policy(question.instead)) is None:
                raise BadRequest(f"The policy {question.instead[:64]!r} is not known.")
            return self._auto(replace(question, thread=NEW_THREAD), seen_or, catalog, chosen, None)
        rule = self._rule(question, seen_or, catalog, named=policy is None) if catalog.rules else None
        if rule is not None and rule.use and not is_auto(rule.use):
            chain = self._chain(catalog.find(rule.use), question, seen_or, catalog, rule.text)
            return replace(chain, reason=f"rule: {_plain(rule.text)}", rule=rule.text)
        if policy is None and rule is None:
            alias = name in catalog.aliases
            granted = alias and allowed is not None and name in allowed
            return self._chain(
                catalog.find(name, allowed), question, seen_or, catalog, f"alias {name}" if alias else NAMED, granted=granted
            )
        if rule is not None:
            policy = rule.policy or catalog.auto_policy(rule.use)
        elif asked is not None:
            policy = asked
            if not catalog.may_name(f"{AUTO}:{policy}", allowed):
                raise Forbidden(f"This key may not use the policy {policy[:64]!r}.", param="neuroroute.policy")
        assert policy is not None
        chosen = catalog.policy(policy)
        if chosen is None:
            raise _unknown_policy(policy, catalog)
        return self._auto(question, seen_or, catalog, chosen, rule)

    def named(self, name: str, catalog: Catalog) -> Decision | None:
        """
        The decision of a call that names one model without fallbacks, was not read and has no bounds: made once for each state of the catalogue.

        None: it is none of them, or the model's health has a say; then `decide`.
        """
        of, known = self._known.get(name, _NONE_KNOWN)
        if of is not catalog or known is None or known.learned_version != self.posteriors.version:
            if catalog.rules or is_auto(name) or name in catalog.aliases or len(targets := catalog.find(name)) != 1:
                return None
            if len(self._known) >= _NAMES_KEPT:
                self._known.clear()
            known = self._named(name, targets, catalog)
            self._known[name] = catalog, known
        return None if self.health.refused_s(known.targets[0].name, self.now_s()) > 0.0 else known

    def _named(self, name: str, targets: tuple[Target, ...], catalog: Catalog) -> Decision:
        return Decision(
            name,
            targets,
            "",
            NAMED,
            baseline=catalog.baseline_of(name),
            classification=UNREAD,
            catalog_version=catalog.version,
            learned_version=self.posteriors.version,
        )

    def expected(self, target: Target, seen: Classification, catalog: Catalog) -> float | None:
        """The quality that is expected of a model on a prompt; None where the catalogue does not have it."""
        entry = catalog.of(target)
        if entry is None:
            return None
        against = entry.card.against
        if (taught := self.posteriors.tables(catalog).get(entry.key)) is not None:
            against = taught.against[cell_of("", seen, self.mean_difficulty).tercile]
        return sum(share / (1.0 + shift * against[place]) for place, share, shift in shares_of(seen, self.mean_difficulty))

    def _rule(self, question: Question, seen: Classification, catalog: Catalog, *, named: bool) -> Rule | None:
        facts = Facts(
            question.model or "auto",
            question.principal,
            seen,
            question.tags,
            question.headers,
            question.dialect.value,
            question.stream,
            self.utcnow(),
        )
        rules = catalog.rules
        while (rule := first_fit(rules, facts, named)) is not None:
            if not rule.use or is_auto(rule.use) or self._reachable(rule.use, question, catalog):
                return rule
            rules = rules[rules.index(rule) + 1 :]
        return None

    def _reachable(self, name: str, question: Question, catalog: Catalog) -> bool:
        """Whether a rule's model is there at present and open to this key."""
        targets = catalog.aliases.get(name) or tuple(entry.target for entry in [catalog.entry(name)] if entry)
        access = catalog.allowed(question.principal.allowed_models)
        return any(access is None or target.name in access for target in targets)

    def _field(self, question: Question, seen: Classification, catalog: Catalog, policy: Policy | None = None) -> Field:
        bounds = question.bounds
        confined = None
        if policy is not None and policy.allow:
            confined = catalog.matching(policy.allow)
        if policy is not None and policy.deny:
            confined = (catalog.keys() if confined is None else confined) - catalog.matching(policy.deny)
        return Field(
            seen,
            bounds,
            _KINDS.get(question.dialect, "chat"),
            question.dialect if question.dialect in _UNTRANSLATED else None,
            question.max_output_tokens,
            catalog.allowed(question.principal.allowed_models),
            catalog.matching(bounds.allow) if bounds.allow else None,
            catalog.matching(bounds.deny) if bounds.deny else frozenset(),
            question.thread.target,
            question.thread.cached_prefix_tokens,
            confined,
        )

    def present(self, catalog: Catalog) -> Present:
        """What decisions read beside the catalogue and the call."""
        return Present(self.health, self.lengths, self.now_s(), self.mean_difficulty, self.posteriors.tables(catalog))

    def _chain(
        self, chain: Sequence[Target], question: Question, seen: Classification, catalog: Catalog, reason: str, *, granted: bool = False
    ) -> Decision:
        """A named model, or of a chain those that can serve the call. granted: the key's list has the alias itself, so all of its chain."""
        now_s = self.now_s()
        bounds = question.bounds
        targets = tuple(chain)
        weighed: list[Candidate] = []
        if (
            len(targets) > 1
            or bounds.allow
            or bounds.deny
            or bounds.max_cost_usd is not None
            or question.principal.allowed_models is not None
        ):
            entries = [entry for target in targets if (entry := catalog.of(target)) is not None]
            weighed = weigh(entries, self._field(question, seen, catalog), self.present(catalog))
            binding = _BOUND_GATES if granted else _BOUND_GATES | {Gate.ACCESS}
            inside = [candidate for candidate in weighed if not binding.intersection(candidate.closed)]
            if not inside:
                raise _closed(weighed, question)
            able = [candidate for candidate in inside if not set(candidate.closed) - {Gate.HEALTH, Gate.ACCESS, Gate.KIND, Gate.QUALITY}]
            targets = tuple(candidate.target for candidate in able or inside)
        healthy = targets
        for target in targets:
            if self.health.refused_s(target.name, now_s) > 0.0:
                healthy = self._healthy(targets, now_s)
                break
        if len(healthy) > 1 and self.health.avoids(now_s):
            healthy = tuple(sorted(healthy, key=lambda target: self.health.avoided(target.name, now_s)))
        return Decision(
            question.model,
            healthy,
            "",
            reason if reason == NAMED else _plain(reason),
            candidates=tuple(weighed) if len(chain) > 1 else (),
            baseline=catalog.baseline_of(question.model),
            classification=seen,
            catalog_version=catalog.version,
            max_output_tokens=question.max_output_tokens,
            learned_version=self.posteriors.version,
        )

    def _healthy(self, targets: Sequence[Target], now_s: float) -> tuple[Target, ...]:
        """Those that may be asked now. Raises Unavailable where none may."""
        healthy = tuple(target for target in targets if self.health.refused_s(target.name, now_s) <= 0.0)
        if not healthy:
            wait_s = min(self.health.refused_s(target.name, now_s) for target in targets)
            raise Unavailable("No provider of this model answers at present.", retry_after_s=wait_s)
        return healthy

    def _auto(self, question: Question, seen: Classification, catalog: Catalog, policy: Policy, rule: Rule | None) -> Decision:
        present, what, aim = self.present(catalog), self._field(question, seen, catalog, policy), policy.aim
        weighed = weigh(catalog.candidates(what.kind), what, present)
        escalated = escalate(weighed, question.thread)
        ranked = order(weighed, aim, present)
        if not ranked or ranked[0].closed:
            raise _closed(ranked, question, self._soonest(ranked, present.now_s))
        place, explored = stick(ranked, question.thread, aim), None
        if self.posteriors.exploration > 0.0 and not question.thread.target and not present.health.avoids(present.now_s):
            place, explored = explore(ranked, aim, self.posteriors.exploration, self.chance)
        if place:
            ranked.insert(0, ranked.pop(place))
        kept = bool(place) and explored is None
        why = "tries another" if explored is not None and place else _why(policy, ranked[0])
        why = "escalated, the last answer stalled" if escalated else "the conversation stays" if kept else why
        label = "unsure" if seen.abstained else seen.label
        return Decision(
            question.model,
            tuple(candidate.target for candidate in ranked if not candidate.closed),
            policy.name,
            f"{_plain(policy.name)}: {label}, {why}",
            aim,
            tuple(ranked),
            catalog.baseline_of(question.model),
            rule.text if rule else "",
            kept,
            seen,
            catalog.version,
            question.max_output_tokens,
            question.thread,
            explored,
            self.posteriors.version,
            escalated,
        )

    def _soonest(self, candidates: Sequence[Candidate], now_s: float) -> float | None:
        """Seconds until one that only its breaker closes may be tried; None where no such one is."""
        waits = [self.health.refused_s(candidate.name, now_s) for candidate in candidates if candidate.closed == (Gate.HEALTH,)]
        return min(waits, default=None)


def _why(policy: Policy, chosen: Candidate) -> str:
    floor = policy.aim.quality_floor
    if chosen.quality < floor:
        return f"best there is, none reaches {floor:.2f}"
    return STRATEGIES[policy.name][1] if policy.name in STRATEGIES else "most value"


def _unknown_policy(name: str, catalog: Catalog) -> BadRequest:
    known = ", ".join(catalog.policies)
    return BadRequest(f"The policy {name[:64]!r} is not known; known are {known}, or a number 0..10.", param="neuroroute.policy")


def _closed(candidates: Sequence[Candidate], question: Question, wait_s: float | None = None) -> BadRequest | Forbidden | Unavailable:
    """Why nothing is left, gate by gate with the models that it closed."""
    if wait_s is not None:
        return Unavailable("No model that can serve this request answers at present.", retry_after_s=wait_s)
    if not candidates:
        return BadRequest("There is no model to choose from; configure a provider.", param="model")
    by_gate: dict[Gate, list[str]] = {}
    for candidate in candidates:
        for gate in candidate.closed:
            if gate is not Gate.ACCESS:
                by_gate.setdefault(gate, []).append(candidate.target.model.name)
    if not by_gate:
        return Forbidden("This key may use none of the models that could serve this request.", param="model")
    parts = [
        f"{gate} closed {', '.join(names[:5])}{f' and {len(names) - 5} more' if len(names) > 5 else ''}" for gate, names in by_gate.items()
    ]
    return BadRequest(f"No model can serve this request: {'; '.join(parts)}.", param="model")


def _plain(text: str) -> str:
    """Fit for a header: printable ASCII, bounded."""
    if text.isascii() and text.isprintable():
        return text[:120]
    return "".join(char if " " <= char <= "~" else "?" for char in text[:120])
