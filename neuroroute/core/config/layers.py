"""Layers over each other: the environment, the file, the database. The later ones win, mappings are merged key by key."""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from neuroroute.core.config.alerts import faults as alert_faults
from neuroroute.core.config.models import Config
from neuroroute.core.config.text import ConfigFaulty, Key, Keys, Layer, dotted
from neuroroute.core.dataclass import dataclass
from neuroroute.core.settings import MASK, Settings
from neuroroute.core.value import is_dial

BUILT_IN_POLICIES: Final = ("cheap", "balanced", "best", "fast")
LOCAL_PROVIDERS: Final = ("lmstudio", "ollama", "demo")
"""Providers that may be there without being configured."""
DATABASE: Final = "database"
ENVIRONMENT: Final = "environment"
NAMED: Final = (("providers",), ("models",), ("aliases",), ("routing", "policies"))
"""Mappings from names to entries; a later layer takes an entry away by null."""
_SECRETS: Final = frozenset({"api_key", "headers", "secret", "url"})
_SHOWN_CHARS: Final = 4

Check = Callable[[Config], Iterable[tuple[Keys, str]]]
"""A check that needs more than the shape: gives keys and what is wrong with them."""


@dataclass(frozen=True, slots=True)
class Effective:
    """One value in effect. source: `default`, `environment`, `file` or `database`; place: line and column in the file, as `gateway.yaml:12:5`."""

    key: str
    value: object
    source: str
    place: str | None = None


def from_environment(settings: Settings) -> Layer:
    """The providers that the environment names: openai, anthropic, lmstudio."""
    providers: dict[str, dict[str, Any]] = {}
    if settings.openai_api_key or settings.openai_base_url:
        providers["openai"] = {"protocol": "openai", "base_url": settings.openai_base_url, "api_key": settings.openai_api_key}
        if settings.openai_base_url:
            providers["openai"]["discover"] = True
    if settings.anthropic_api_key or settings.anthropic_base_url:
        providers["anthropic"] = {"protocol": "anthropic", "base_url": settings.anthropic_base_url, "api_key": settings.anthropic_api_key}
    if "lmstudio_api_url" in settings.model_fields_set:
        providers["lmstudio"] = {"protocol": "openai", "base_url": settings.lmstudio_api_url, "discover": True}
    named = {name: {key: value for key, value in entry.items() if value is not None} for name, entry in providers.items()}
    return Layer(ENVIRONMENT, {"providers": named} if named else {})


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `over` on it: mappings key by key, all else replaced."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def build(*layers: Layer, checks: Sequence[Check] = ()) -> Config:
    """
    The configuration of all layers together; a provider, model or alias that is null in a later layer is taken away.

    Raises: ConfigFaulty with all faults, each at the place of the last layer that says something there.
    """
    values: dict[str, Any] = {}
    for layer in layers:
        values = merge(values, layer.values)
    for keys in NAMED:
        values = _without_nulls(values, keys)
    try:
        config = Config.model_validate({key: value for key, value in values.items() if value is not None})
    except ValidationError as error:
        raise _faulty(layers, _shape_faults(error, values)) from None
    faults = list(_reference_faults(config))
    for check in checks:
        faults += check(config)
    if faults:
        raise _faulty(layers, faults)
    return config


def _without_nulls(values: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    """`values` without the entries that are null in the mapping at `keys`."""
    first, *rest = keys
    inner = values.get(first)
    if not isinstance(inner, Mapping):
        return dict(values)
    kept = _without_nulls(inner, tuple(rest)) if rest else {name: entry for name, entry in inner.items() if entry is not None}
    return {**values, first: kept}


def _faulty(layers: Sequence[Layer], faults: Iterable[tuple[Keys, str]]) -> ConfigFaulty:
    placed = []
    for keys, message in faults:
        saying = max(layers, key=lambda layer: (_depth(layer.values, keys), layers.index(layer)), default=Layer("configuration", {}))
        at = saying.places.get(keys[: _depth(saying.values, keys)], (0, 0))
        placed.append((at, f"{saying.place(keys)}: {dotted(keys)}: {message}", (dotted(keys), message)))
    placed.sort(key=lambda one: one[0])
    return ConfigFaulty([line for _, line, _ in placed], [named for _, _, named in placed])


def _depth(values: object, keys: Keys) -> int:
    """How many of `keys` lead somewhere in `values`."""
    for depth, key in enumerate(keys):
        listed = isinstance(values, list) and isinstance(key, int) and key < len(values)
        if not listed and not (isinstance(values, Mapping) and key in values):
            return depth
        values = values[key]  # type: ignore[index]
    return len(keys)


def _shape_faults(error: ValidationError, values: Mapping[str, Any]) -> Iterator[tuple[Keys, str]]:
    told: set[Keys] = set()
    for fault in error.errors(include_url=False, include_input=False):
        location: Keys = tuple(part for part in fault["loc"] if part != "[key]")
        keys = location if fault["type"] == "missing" else location[: _depth(values, location)]
        if keys not in told:
            told.add(keys)
            union = len(keys) < len(location) and fault["type"] != "missing"
            yield keys, "a word, a number, true or false, or a list of them is expected" if union else _words(fault, location)


_WRITTEN: Final = {"tag": "name=value", "when_spent": "refuse or policy:<name>"}
"""How the fields with a pattern are written that are no URLs."""

_NOUNS: Final = {
    "bool": "true or false", "int": "a whole number", "float": "a number", "string": "a text", "dict": "a mapping",
    "model": "a mapping", "tuple": "a list", "list": "a list", "finite": "a finite number",
}  # fmt: skip


def _words(fault: ErrorDetails, keys: Keys) -> str:
    kind, limits = fault["type"], fault.get("ctx", {})
    match kind:
        case "missing":
            return "is missing"
        case "extra_forbidden":
            known = _known_keys(keys[:-1])
            near = difflib.get_close_matches(str(keys[-1]), known, n=1, cutoff=0.5)
            return f"not known{f'; did you mean {near[0]}?' if near else ''} allowed are {', '.join(known)}".replace(
                "known allowed", "known; allowed"
            )
        case "literal_error" | "enum":
            return f"one of {limits['expected']} is expected".replace("'", "").replace(" or ", ", ")
        case "greater_than_equal" | "less_than_equal" | "greater_than" | "less_than":
            words = {"ge": "at least", "le": "at most", "gt": "more than", "lt": "less than"}
            return " and ".join(f"{words[name]} {bound:.10g}" for name, bound in limits.items()) + " is expected"
        case "string_pattern_mismatch":
            return f"{_WRITTEN.get(str(keys[-1]), 'a URL that begins with http:// or https://')} is expected"
        case "string_too_short" | "too_short":
            return "must not be empty"
        case _:
            noun = _NOUNS.get(kind.split("_")[0])
            return f"{noun} is expected" if noun else fault["msg"]


def _known_keys(keys: Keys) -> list[str]:
    """The keys allowed in the mapping at `keys`."""
    shape: Any = Config
    for key in keys:
        if _is_model(shape):
            shape = shape.model_fields[str(key)].annotation
            shape = next((part for part in get_args(shape) if _is_model(part) and type(None) in get_args(shape)), shape)
        else:
            shape = next((part for part in _parts(shape) if _is_model(part)), shape)
    return sorted(shape.model_fields) if _is_model(shape) else []


def _is_model(shape: Any) -> bool:
    return isinstance(shape, type) and issubclass(shape, BaseModel)


def _parts(shape: Any) -> Iterator[Any]:
    yield shape
    for part in get_args(shape):
        yield from _parts(part)


def _reference_faults(config: Config) -> Iterator[tuple[Keys, str]]:
    providers = [*config.providers, *LOCAL_PROVIDERS]
    for name, model in config.models.items():
        if model.provider not in providers:
            yield ("models", name, "provider"), _unknown("provider", model.provider, providers)
    if (chosen := config.routing.default_provider) is not None and chosen not in providers:
        yield ("routing", "default_provider"), _unknown("provider", chosen, providers)
    policies = [*BUILT_IN_POLICIES, *config.routing.policies]
    if config.routing.policy not in policies:
        yield ("routing", "policy"), _unknown("policy", config.routing.policy, policies)
    for name in config.routing.policies:
        if is_dial(name):
            yield ("routing", "policies", name), "a name is expected; numbers from 0 to 10 are the dial"
    for index, rule in enumerate(config.routing.rules):
        at: tuple[Key, ...] = ("routing", "rules", index)
        if (rule.use is None) == (rule.policy is None):
            yield at, "either use (a model or an alias) or policy is expected"
        if rule.policy is not None and rule.policy not in policies:
            yield (*at, "policy"), _unknown("policy", rule.policy, policies)
    budgets: set[tuple[str, str]] = set()
    for index, budget in enumerate(config.budgets):
        if (budget.tag, budget.period) in budgets:
            yield ("budgets", index, "tag"), f"{budget.tag} has a budget by {budget.period} already; one is expected"
        budgets.add((budget.tag, budget.period))
        policy = budget.when_spent.removeprefix("policy:")
        if policy != "refuse" and policy not in policies:
            yield ("budgets", index, "when_spent"), _unknown("policy", policy, policies)
    yield from alert_faults(config.alerts)
    for name in config.aliases:
        if name == "auto" or name.startswith(("auto:", "neuroroute/")):
            yield ("aliases", name), "a name of its own is expected; auto is the router's"
        if (circle := _circle(config.aliases, name)) is not None:
            yield ("aliases", name), f"the chain leads back to itself: {' -> '.join(circle)}"


def _circle(aliases: Mapping[str, tuple[str, ...]], start: str) -> tuple[str, ...] | None:
    """The way from `start` back to `start`, if there is one. A chain may hold the model that has its own name."""
    waiting, seen = [(start, name) for name in aliases[start] if name != start], set[str]()
    while waiting:
        way = waiting.pop()
        for name in aliases.get(way[-1], ()):
            if name == start:
                return (*way, name)
            if name not in seen:
                seen.add(name)
                waiting.append((*way, name))  # type: ignore[arg-type]
    return None


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    names = list(dict.fromkeys(known))
    near = difflib.get_close_matches(name, names, n=1)
    return f"there is no {what} {name!r}" + (f"; did you mean {near[0]}?" if near else f"; there are {', '.join(names)}")


def mask_of(secret: str) -> str:
    """What is shown of a credential: its end, where it is long enough not to be given away by that."""
    return MASK + secret[-_SHOWN_CHARS:] if len(secret) >= 4 * _SHOWN_CHARS else MASK


def effective(config: Config, *layers: Layer) -> list[Effective]:
    """Every value in effect and the layer that it is from; credentials are masked."""
    return list(_effective(config, (), layers))


def _effective(value: object, keys: Keys, layers: Sequence[Layer]) -> Iterator[Effective]:
    secret = any(key in _SECRETS for key in keys)
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _effective(getattr(value, name), (*keys, name), layers)
    elif isinstance(value, Mapping) and value:
        for name, entry in value.items():
            yield from _effective(entry, (*keys, name), layers)
    elif isinstance(value, tuple) and any(isinstance(entry, BaseModel) for entry in value):
        for index, entry in enumerate(value):
            yield from _effective(entry, (*keys, index), layers)
    else:
        said = next((layer for layer in reversed(layers) if _depth(layer.values, keys) == len(keys)), None)
        shown = value
        if secret and isinstance(value, str) and value:  # a webhook's address ends in its secret
            shown = MASK if keys[0] == "alert_webhook" else mask_of(value)
        yield Effective(dotted(keys), shown, *_source(said, keys))


def _source(layer: Layer | None, keys: Keys) -> tuple[str, str | None]:
    if layer is None:
        return "default", None
    if layer.source in (ENVIRONMENT, DATABASE):
        return layer.source, None
    file = Path(layer.source).name  # not where it lies: that is nobody's business
    at = next((layer.places[keys[:depth]] for depth in range(len(keys), 0, -1) if keys[:depth] in layer.places), None)
    return "file", file if at is None else f"{file}:{at[0]}:{at[1]}"
