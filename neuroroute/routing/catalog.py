"""
Which models there are: an immutable snapshot, built whole and swapped whole.

Built from what the operator declared, what hosted providers are known to offer (facts that come with the package) and what local servers
were found to serve. A call keeps the snapshot that it began with. Names, in the order in which they are looked up: an alias, a model's
public name, `provider/model`.
"""

import difflib
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final, NamedTuple

from neuroroute.core.dataclass import dataclass, field
from neuroroute.core.errors import UnknownModel
from neuroroute.core.types import Model, Provider, Target
from neuroroute.core.value import Aim, aim_of_dial, is_dial
from neuroroute.routing.rules import Rule

AUTO: Final = "auto"
_OWN: Final = "neuroroute/"
_SHOWN: Final = 256  # characters of an unknown name in its error
_COMPARED: Final = 64  # characters of it that are compared with known names: bounds the work
_MEMO_SIZE: Final = 512


@dataclass(frozen=True, slots=True)
class Policy:
    """What `auto:<name>` maximises, and the models that it is confined to. allow, deny: patterns; empty = all, none."""

    name: str
    aim: Aim
    allow: frozenset[str] = frozenset()
    deny: frozenset[str] = frozenset()


class Card(NamedTuple):
    """What a decision reads of a model, as one tuple that a loop unpacks at once. Rates are nano-dollars per token."""

    key: str  # Target.name
    kind: str
    against: tuple[float, ...]
    abilities: frozenset[str]
    window_tokens: float
    output_tokens: float  # at most
    rates: tuple[float, float, float] | None  # input, output, cached input
    reasoning: float  # what it writes more than others, by prior
    ttft_ms: float
    tokens_per_s: float


@dataclass(frozen=True, slots=True)
class Entry:
    """A target with what a decision needs of it ready to hand. auto: it may be chosen unasked."""

    target: Target
    name: str  # public
    auto: bool
    abilities_known: bool  # False: nobody said what it can do
    quality_source: str
    card: Card

    @property
    def key(self) -> str:
        """Target.name"""
        return self.card.key

    @property
    def model(self) -> Model:
        return self.target.model


@dataclass(frozen=True, slots=True)
class Catalog:
    """
    One state of the catalogue.

    entries: by public name, in the order of the configuration. warnings: references to models that are not there at present.
    """

    providers: Mapping[str, Provider]
    entries: Mapping[str, Entry]
    aliases: Mapping[str, tuple[Target, ...]]
    fallbacks: Mapping[str, tuple[Target, ...]]  # by Target.name: who answers when this one can not
    policies: Mapping[str, Policy]
    rules: tuple[Rule, ...]
    default_policy: str
    baseline: Target | None
    default_provider: Provider | None
    version: str
    warnings: tuple[str, ...] = ()
    _by_key: Mapping[str, Entry] = field(default_factory=dict, repr=False)
    _by_kind: Mapping[str, tuple[Entry, ...]] = field(default_factory=dict, repr=False)
    _memo: dict[frozenset[str], frozenset[str]] = field(default_factory=dict, repr=False, compare=False)

    def find(self, name: str, allowed_models: frozenset[str] | None = None) -> tuple[Target, ...]:
        """
        The targets of an explicit name in order: a model with its fallbacks, or the chain of an alias.

        Raises: UnknownModel with the nearest of the names that `allowed_models` leaves.
        """
        if (chain := self.aliases.get(name)) is not None:
            if chain:
                return chain
            raise UnknownModel(f"None of the models of the alias {name!r} is available at present.", param="model")
        entry = self.entry(name)
        if entry is None and name.startswith(_OWN):
            entry = self.entry(name[len(_OWN) :])
        if entry is not None:
            return (entry.target, *self.fallbacks.get(entry.key, ()))
        raise self._unknown(name, allowed_models)

    def entry(self, name: str) -> Entry | None:
        """A model by its public name or as provider/model; also one that its provider is known for and did not list."""
        found = self.entries.get(name) or self._by_key.get(name)
        if found is None and "/" not in name:
            found = next((entry for provider in self.providers if (entry := self._by_key.get(f"{provider}/{name}"))), None)
        return found

    def of_name(self, name: str) -> Entry | None:
        """By `Target.name` alone."""
        return self._by_key.get(name)

    def of(self, target: Target) -> Entry | None:
        return self._by_key.get(target.name)

    def keys(self) -> frozenset[str]:
        """`Target.name` of all models, also of those that their provider is known for and did not list."""
        return frozenset(self._by_key)

    def candidates(self, kind: str = "chat") -> tuple[Entry, ...]:
        """What `auto` chooses among."""
        return self._by_kind.get(kind, ())

    def auto_policy(self, name: str) -> str | None:
        """
        The policy that an `auto` name means ("" and "auto": the default one); None where the name is no auto name.

        Raises: UnknownModel where the policy is not known.
        """
        word = name.removeprefix(_OWN)
        if word in ("", AUTO):
            return self.default_policy
        if not word.startswith(AUTO + ":"):
            return None
        policy = word[len(AUTO) + 1 :]
        if self.policy(policy) is None:
            raise self._unknown(name, frozenset({AUTO}))
        return policy

    def policy(self, name: str) -> Policy | None:
        """A policy by its name, or by a number 0..10: the dial from cheap to best."""
        known = self.policies.get(name)
        if known is None and is_dial(name):
            return Policy(name, aim_of_dial(float(name)))
        return known

    def baseline_of(self, name: str) -> Target | None:
        """
        What a call that asks for `name` would have cost without this gateway: the model itself where it is named, the baseline model where
        the choice is ours (`auto`, an alias). None where no model's price can be held against it.
        """
        if is_auto(name) or name in self.aliases:
            return self.baseline
        entry = self.entry(name) or self.entry(name.removeprefix(_OWN))
        return self.baseline if entry is None else entry.target

    def auto_names(self) -> tuple[str, ...]:
        return (AUTO, *(f"{AUTO}:{policy}" for policy in self.policies))

    def matching(self, patterns: Iterable[str]) -> frozenset[str]:
        """Names of the targets (`Target.name`) that the patterns cover: public names, provider/model, provider/*, globs, aliases."""
        wanted = patterns if isinstance(patterns, frozenset) else frozenset(patterns)
        found = self._memo.get(wanted)
        if found is None:
            if len(self._memo) >= _MEMO_SIZE:
                self._memo.clear()
            found = self._memo[wanted] = self._match(wanted)
        return found

    def _match(self, patterns: frozenset[str]) -> frozenset[str]:
        globs = [pattern for pattern in patterns if any(mark in pattern for mark in "*?[")]
        found = {target.name for name in patterns & self.aliases.keys() for target in self.aliases[name]}
        for entry in self._by_key.values():
            names = (entry.name, entry.key)
            if not patterns.isdisjoint(names) or any(fnmatchcase(name, glob) for glob in globs for name in names):
                found.add(entry.key)
        return frozenset(found)

    def allowed(self, allowed_models: frozenset[str] | None) -> frozenset[str] | None:
        """
        Names of the targets that a key's allow-list leaves; None = all.

        A list that holds nothing but `auto` names leaves all models to the router; as soon as it names a model, only those named.
        """
        if allowed_models is None:
            return None
        models = frozenset(name for name in allowed_models if not is_auto(name))
        return self.matching(models) if models or not allowed_models else None

    def may_name(self, name: str, allowed_models: frozenset[str] | None) -> bool:
        """Whether a key may send this model name. `auto` names need a list that has them, or one that names models to choose among."""
        if allowed_models is None or name in allowed_models:
            return True
        autos = {auto.removeprefix(_OWN) for auto in allowed_models if is_auto(auto)}
        if is_auto(name):
            return not autos or AUTO in autos or (name.removeprefix(_OWN) or AUTO) in autos
        models = frozenset(pattern for pattern in allowed_models if not is_auto(pattern))
        if name not in self.aliases and self.entry(name) is None:
            name = name.removeprefix(_OWN)
        targets = self.aliases.get(name) or tuple(entry.target for entry in [self.entry(name)] if entry)
        return bool(targets) and {target.name for target in targets} <= self.matching(models)

    def listing(self, allowed_models: frozenset[str] | None = None) -> tuple[str, ...]:
        """Every name a key may send: the auto names, the aliases, the models."""
        names = (*self.auto_names(), *self.aliases, *self.entries)
        return tuple(name for name in names if self.may_name(name, allowed_models))

    def _unknown(self, name: str, allowed_models: frozenset[str] | None) -> UnknownModel:
        near = difflib.get_close_matches(name[:_COMPARED], self.listing(allowed_models), n=3, cutoff=0.5)
        hint = f" The nearest names are: {', '.join(near)}." if near else ""
        return UnknownModel(f"The model {name[:_SHOWN]!r} does not exist, or you have no access to it.{hint}", param="model")


class CatalogHolder:
    """Where the present snapshot stands. Swapped by one assignment."""

    __slots__ = ("current",)

    def __init__(self, catalog: Catalog) -> None:
        self.current = catalog

    def swap(self, catalog: Catalog) -> None:
        self.current = catalog


@lru_cache(maxsize=1024)
def is_auto(name: str) -> bool:
    """Whether the name leaves the choice to the router."""
    word = name.removeprefix(_OWN)
    return word in ("", AUTO) or word.startswith(AUTO + ":")
