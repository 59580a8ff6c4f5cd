"""
A catalogue from its three sources: what the operator declared, what hosted providers are known to offer, what servers were found to serve.

In that order, field by field: the operator's word counts before the server's, the server's before the facts.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence

from neuroroute.core.dataclass import dataclass, field
from neuroroute.core.jsonbytes import dumps_sorted
from neuroroute.core.types import Dialect, Model, Price, Protocol, Provider, Target, Timeouts
from neuroroute.core.value import AIMS, Aim, aim_of_dial
from neuroroute.routing.catalog import Card, Catalog, Entry, Policy, is_auto
from neuroroute.routing.facts import Fact, KnownModels, facts
from neuroroute.routing.forecast import REASONING_FACTOR, odds_against, prior_speed
from neuroroute.routing.rules import Rule


@dataclass(frozen=True, slots=True)
class DeclaredModel:
    """A model as the operator wrote it; None and empty = not said, so the facts or the server's word count."""

    name: str
    provider: str
    upstream_model: str | None = None
    kind: str | None = None
    price: Price | None = None
    context_window_tokens: int | None = None
    max_output_tokens: int | None = None
    abilities: frozenset[str] | None = None
    quality: Mapping[str, float] = field(default_factory=dict)
    timeouts: Timeouts | None = None
    fallbacks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DeclaredPolicy:
    """
    A policy of the operator's own: weights `quality` (default 1), `cost`, `latency` over what reaches the floor; or a dial 0..10.

    quality_slack: share below the best expected quality that is still admitted; None = any. allow, deny: model names, provider/*, globs.
    """

    quality_floor: float = 0.0
    weights: Mapping[str, float] = field(default_factory=dict)
    dial: float | None = None
    quality_slack: float | None = None
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()

    def aim(self) -> Aim:
        """Raises: ValueError on a weight that is not known, a negative one, or a floor outside 0..1."""
        if unknown := set(self.weights) - {"quality", "cost", "latency"}:
            raise ValueError(f"weight {min(unknown)}: allowed are quality, cost, latency")
        if not 0.0 <= self.quality_floor <= 1.0 or any(weight < 0 for weight in self.weights.values()):
            raise ValueError("quality_floor lies in 0..1 and no weight is below 0")
        if self.dial is not None:
            dial = aim_of_dial(self.dial)
            return Aim(dial.quality_weight, dial.cost_weight, dial.latency_weight, self.quality_floor, self.quality_slack)
        weight = self.weights.get
        return Aim(weight("quality", 1.0), weight("cost", 0.0), weight("latency", 0.0), self.quality_floor, self.quality_slack)


def build_catalog(
    providers: Mapping[str, Provider],
    declared: Sequence[DeclaredModel] = (),
    *,
    aliases: Mapping[str, Sequence[str]] | None = None,
    policies: Mapping[str, DeclaredPolicy] | None = None,
    rules: Sequence[Rule] = (),
    default_policy: str = "balanced",
    baseline_model: str | None = None,
    discovered: Mapping[str, Sequence[Model]] | None = None,
    known: KnownModels | None = None,
) -> Catalog:
    """
    A snapshot.

    discovered: per provider what its server says it serves; for a hosted provider this replaces what it is known to offer.
    Raises: ValueError naming the model, alias or policy whose provider, name or policy is not there.
    """
    entries, by_key = _entries(providers, declared, discovered or {}, known or facts())
    warnings: list[str] = []
    chains: dict[str, tuple[Target, ...]] = {}
    for alias, members in (aliases or {}).items():
        if is_auto(alias):
            raise ValueError(f"alias {alias}: the name is taken by the router")
        chains[alias] = tuple(target for name in members for target in _refer(name, entries, by_key, chains, f"alias {alias}", warnings))
    fallbacks = {
        f"{spec.provider}/{spec.name}": tuple(
            target for name in spec.fallbacks for target in _refer(name, entries, by_key, chains, f"model {spec.name}", warnings)
        )
        for spec in declared
        if spec.fallbacks
    }
    aims = {name: Policy(name, aim) for name, aim in AIMS.items()}
    aims |= {name: _policy(name, policy) for name, policy in (policies or {}).items()}
    for place, rule in enumerate(rules, 1):
        if rule.policy and rule.policy not in aims:
            raise ValueError(f"rule {place}: policy {rule.policy} is not known; known are {', '.join(aims)}")
        if rule.use and not is_auto(rule.use):
            _refer(rule.use, entries, by_key, chains, f"rule {place}", warnings)
    if default_policy not in aims:
        raise ValueError(f"routing.policy: {default_policy} is not known; known are {', '.join(aims)}")
    named = _refer(baseline_model, entries, by_key, chains, "routing.baseline_model", warnings) if baseline_model else ()
    by_kind = _by_kind(by_key.values())
    return Catalog(
        providers=dict(providers),
        entries=entries,
        aliases=chains,
        fallbacks=fallbacks,
        policies=aims,
        rules=tuple(rules),
        default_policy=default_policy,
        baseline=named[0] if named else _best(by_kind.get("chat", ())),
        default_provider=_default_provider(providers),
        version=_version(entries, {**chains, **fallbacks}, aims, rules, default_policy, baseline_model),
        warnings=tuple(warnings),
        _by_key=by_key,
        _by_kind=by_kind,
    )


def _by_kind(entries: Iterable[Entry]) -> dict[str, tuple[Entry, ...]]:
    """What `auto` chooses among, by kind."""
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.auto:
            found.setdefault(entry.model.kind, []).append(entry)
    return {kind: tuple(some) for kind, some in found.items()}


def _policy(name: str, policy: DeclaredPolicy) -> Policy:
    try:
        return Policy(name, policy.aim(), frozenset(policy.allow), frozenset(policy.deny))
    except ValueError as fault:
        raise ValueError(f"policy {name}: {fault}") from fault


def _refer(
    name: str,
    entries: Mapping[str, Entry],
    by_key: Mapping[str, Entry],
    chains: Mapping[str, tuple[Target, ...]],
    who: str,
    warnings: list[str],
) -> tuple[Target, ...]:
    """The targets behind a name in the configuration; a model may be away for now (its server is down), so that is a warning."""
    if name in chains:
        return chains[name]
    entry = entries.get(name) or by_key.get(name)
    if entry is None:
        warnings.append(f"{who}: no model {name} at present")
        return ()
    return (entry.target,)


def _entries(
    providers: Mapping[str, Provider], declared: Sequence[DeclaredModel], discovered: Mapping[str, Sequence[Model]], known: KnownModels
) -> tuple[dict[str, Entry], dict[str, Entry]]:
    """(by public name, by provider/model). The first to claim a bare name keeps it; later ones are reached as provider/model."""
    by_name: dict[str, Entry] = {}
    by_key: dict[str, Entry] = {}
    claimed: set[tuple[str, str]] = set()

    def add(target: Target, fact: Fact | None, auto: bool, source: str, *, listed: bool = True) -> None:
        model = target.model
        key = target.name
        claimed.add((target.provider.name, model.upstream_model))
        if key in by_key:
            return
        name = model.name if model.name not in by_name else key
        entry = Entry(target, name, auto, fact is not None or bool(model.abilities), source, _card(target))
        by_key[key] = entry
        if listed:
            by_name[name] = entry

    for spec in declared:
        if spec.provider not in providers:
            raise ValueError(
                f"model {spec.name}: provider {spec.provider} is not configured; configured are {', '.join(providers) or 'none'}"
            )
        if is_auto(spec.name):
            raise ValueError(f"model {spec.name}: the name is taken by the router")
        fact = known.get(spec.upstream_model or spec.name)
        served = {model.upstream_model: model for model in discovered.get(spec.provider, ())}
        model = _declared(spec, served.get(spec.upstream_model or spec.name), fact, known)
        add(Target(providers[spec.provider], model), fact, True, "declared" if spec.quality else _source(fact))
    for provider in providers.values():
        found = discovered.get(provider.name)
        facts_of = {model.upstream_model: known.get(model.upstream_model) for model in found or ()}
        # A hosted provider lists much that nobody wants chosen unasked; one whose list holds nothing known is somebody else's server.
        hosted = bool(known.of_provider(provider.name)) and any(fact and fact.auto for fact in facts_of.values())
        for model in found or ():
            if (provider.name, model.upstream_model) not in claimed:
                fact = facts_of[model.upstream_model]
                auto = bool(fact and fact.auto) if hosted else True
                add(Target(provider, _served(model, provider, fact, known)), fact, auto, _source(fact))
        if provider.api_key:  # what it is known to offer; where it listed its models and these not, who names one may still be right
            for fact in known.of_provider(provider.name):
                if (provider.name, fact.model.name) not in claimed:
                    add(Target(provider, fact.model), fact, fact.auto and not found, _source(fact), listed=not found)
    return by_name, by_key


def _source(fact: Fact | None) -> str:
    return fact.quality_source if fact else "estimate"


def _declared(spec: DeclaredModel, served: Model | None, fact: Fact | None, known: KnownModels) -> Model:
    """What the operator said, then what the server says, then what is known."""
    upstream = spec.upstream_model or spec.name
    base = _served(served or Model(upstream, spec.provider, upstream, kind=_kind_of(upstream)), None, fact, known)
    return Model(
        name=spec.name,
        provider=spec.provider,
        upstream_model=upstream,
        kind=spec.kind or base.kind,
        price=spec.price or (fact.model.price if fact and fact.model.provider == spec.provider else None),
        context_window_tokens=spec.context_window_tokens or base.context_window_tokens,
        max_output_tokens=spec.max_output_tokens or base.max_output_tokens,
        abilities=base.abilities if spec.abilities is None else spec.abilities,
        quality={**base.quality, **spec.quality},
        created=base.created,
        timeouts=spec.timeouts,
    )


def _served(model: Model, provider: Provider | None, fact: Fact | None, known: KnownModels) -> Model:
    """What the server says, then what is known. A price belongs to the provider that asks it, never to another who hosts the same weights."""
    name = model.upstream_model
    priced = fact is not None and provider is not None and fact.model.provider == provider.name
    return Model(
        name=model.name,
        provider=provider.name if provider else model.provider,
        upstream_model=name,
        kind=fact.model.kind if fact and model.kind == "chat" else (model.kind if model.kind != "chat" else _kind_of(name)),
        price=model.price or (fact.model.price if fact and priced else None),
        context_window_tokens=model.context_window_tokens or (fact.model.context_window_tokens if fact else None),
        max_output_tokens=model.max_output_tokens or (fact.model.max_output_tokens if fact else None),
        abilities=model.abilities or (fact.model.abilities if fact else frozenset()),
        quality=model.quality or (fact.model.quality if fact else known.estimate(name)),
        created=model.created or (fact.model.created if fact else 0),
        timeouts=model.timeouts,
    )


def _kind_of(name: str) -> str:
    """By the customs of names; a server's model list says no more."""
    word = name.lower()
    for mark, kind in (
        ("embed", "embedding"),
        ("bge-", "embedding"),
        ("whisper", "audio"),
        ("tts", "audio"),
        ("moderation", "moderation"),
        ("turbo-instruct", "completion"),
        ("davinci-002", "completion"),
        ("babbage-002", "completion"),
    ):
        if mark in word:
            return kind
    return "image" if word.startswith(("dall-e", "gpt-image")) else "chat"


def _best(entries: Iterable[Entry]) -> Target | None:
    """The best model there is: the highest prior over all work, then the dearest; one whose price is known before others."""

    def rank(entry: Entry) -> tuple[bool, float, int, str]:
        price = entry.model.price
        return price is not None, -entry.card.against[-1], price.output_nanousd if price else 0, entry.key

    return max(entries, key=rank).target if entries else None


def _default_provider(providers: Mapping[str, Provider]) -> Provider | None:
    """Who gets the paths that name no model: the first that speaks OpenAI's dialect and passes any path on."""
    openai = [provider for provider in providers.values() if provider.protocol is Protocol.OPENAI and Dialect.PASS in provider.speaks]
    return next(iter([*openai, *providers.values()]), None)


def _version(
    entries: Mapping[str, Entry],
    chains: Mapping[str, tuple[Target, ...]],
    aims: Mapping[str, Policy],
    rules: Sequence[Rule],
    default_policy: str,
    baseline: str | None,
) -> str:
    """A short hash of all that can change a decision; no secret goes into it."""
    parts = [
        [[entry.name, entry.key, entry.auto, entry.target.provider.base_url, entry.model] for entry in entries.values()],
        {alias: [target.name for target in chain] for alias, chain in chains.items()},
        dict(aims),
        [rule.text for rule in rules],
        [default_policy, baseline],
    ]
    return hashlib.sha256(dumps_sorted(parts)).hexdigest()[:8]


def _card(target: Target) -> Card:
    model, price = target.model, target.model.price
    cached = None if price is None else price.input_nanousd if price.cached_input_nanousd is None else price.cached_input_nanousd
    return Card(
        target.name,
        model.kind,
        odds_against(model.quality),
        model.abilities,
        model.context_window_tokens or math.inf,
        model.max_output_tokens or math.inf,
        None if price is None or cached is None else (price.input_nanousd / 1e6, price.output_nanousd / 1e6, cached / 1e6),
        REASONING_FACTOR if "reasoning" in model.abilities else 1.0,
        *prior_speed(model),
    )
