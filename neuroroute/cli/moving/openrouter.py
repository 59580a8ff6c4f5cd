"""
OpenRouter's model list and request preferences -> ours.

Input: the JSON of /api/v1/models (`{"data": [{"id", "context_length", "pricing", ...}]}`), or a list of names; and, in a file of preferences,
what requests to OpenRouter carry: `models` (fallbacks in order), `provider` (order, only, sort, max_price ...), `presets` (name -> the same).
Source: openrouter.ai/docs, the pages on the models API, model fallbacks and provider routing, read 2026-11.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final

from neuroroute.cli.moving.draft import Draft, mappings, number, plain, whole

PROVIDER: Final = "openrouter"
CHAIN: Final = "preferred"
"""The alias of the top list of `models`."""
_ABILITIES: Final = {"tools": "tools", "structured_outputs": "json_schema", "reasoning": "reasoning"}
_INPUTS: Final = {"image": "vision", "audio": "audio", "file": "files"}
_PRICES: Final = {"input": "prompt", "output": "completion", "cached_input": "input_cache_read", "cache_write": "input_cache_write"}
_SORTS: Final = {"price": "cheap", "latency": "fast", "throughput": "fast"}
_WHY: Final = {
    "order": "OpenRouter chooses the host of a model; send `provider` in the body of a call, which passes through",
    "only": "OpenRouter chooses the host of a model; send `provider` in the body of a call, which passes through",
    "ignore": "OpenRouter chooses the host of a model; send `provider` in the body of a call, which passes through",
    "allow_fallbacks": "between hosts of one model OpenRouter decides; send `provider` in the body of a call, which passes through",
    "max_price": "send neuroroute.max_cost_usd with a call, or use a policy",
    "data_collection": "send `provider` in the body of a call, which passes through",
}


def translate(listed: Any, preferences: Mapping[str, Any], only: Sequence[str]) -> Draft:
    """Our draft. only: patterns; empty = all models, or, where preferences name models, those."""
    draft = Draft()
    key = draft.variable("OPENROUTER_API_KEY", "your key of OpenRouter")
    provider = draft.provider(PROVIDER, {"protocol": "openai", "base_url": "https://openrouter.ai/api/v1", "api_key": key})
    chains = dict(_chains(preferences))
    wanted = list(only) or [name for chain in chains.values() for name in chain]
    rows = listed.get("data") if isinstance(listed, Mapping) else listed
    for row in rows if isinstance(rows, list) else []:
        entry = row if isinstance(row, Mapping) else {"id": row}
        name = str(entry.get("id") or "")
        if name == "openrouter/auto":
            draft.note(name, "`auto` chooses here")
        elif name and (not wanted or any(fnmatchcase(name, pattern) for pattern in wanted)):
            draft.models[name] = {"provider": provider, **_facts(draft, name, entry)}
    for alias, chain in chains.items():
        there = [name for name in chain if name in draft.models]
        for name in chain:
            if name not in draft.models:
                draft.lose(alias, f"{name} is not in the list of models")
        if there:
            draft.aliases[alias] = there
    _preferences(draft, "", preferences)
    for name, preset in _presets(preferences):
        _preferences(draft, f"presets.{name}.", preset)
    return draft


def _presets(preferences: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    presets = preferences.get("presets")
    found = presets.items() if isinstance(presets, Mapping) else ()
    return [(str(name), preset) for name, preset in found if isinstance(preset, Mapping)]


def _chains(preferences: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Lists of models by the alias that they become; a preset keeps OpenRouter's way of naming it."""
    found = [(CHAIN, preferences), *((f"@preset/{name}", preset) for name, preset in _presets(preferences))]
    chains = []
    for alias, part in found:
        names = [part.get("model"), *(part.get("models") or [])]
        chain = list(dict.fromkeys(str(name) for name in names if name))
        if chain:
            chains.append((alias, chain))
    return chains


def _facts(draft: Draft, name: str, row: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    pricing = next(mappings(row.get("pricing")), {})
    price = {ours: round(usd * 1e6, 9) for ours, theirs in _PRICES.items() if (usd := number(pricing.get(theirs), -1e-18)) is not None}
    if "input" in price and "output" in price:
        found["price"] = price
    for extra in ("request", "image", "web_search"):
        if number(pricing.get(extra)):
            draft.lose(f"{name}.pricing.{extra}", "prices are by token; what else is charged is not on the books")
    if window := whole(row.get("context_length")):
        found["context_window_tokens"] = window
    top = next(mappings(row.get("top_provider")), {})
    if most := whole(top.get("max_completion_tokens")):
        found["max_output_tokens"] = most
    inputs = next(mappings(row.get("architecture")), {}).get("input_modalities") or []
    supported = row.get("supported_parameters")
    abilities = {_INPUTS[str(kind)] for kind in inputs if str(kind) in _INPUTS}
    abilities |= {_ABILITIES[str(parameter)] for parameter in supported or [] if str(parameter) in _ABILITIES}
    if supported is not None or inputs:
        found["abilities"] = sorted(abilities)
    return found


def _preferences(draft: Draft, where: str, part: Mapping[str, Any]) -> None:
    for name, value in next(mappings(part.get("provider")), {}).items():
        if name == "sort" and str(value) in _SORTS and not where:
            draft.routing["policy"] = _SORTS[str(value)]
            draft.note(f"{where}provider.sort", f"{value} became the default policy {_SORTS[str(value)]}, which is between models")
        else:
            draft.lose(f"{where}provider.{name}", _WHY.get(str(name), "send it in the body of a call, which passes through"))
    for name in part:
        if name not in ("provider", "models", "model", "presets"):
            draft.lose(f"{where}{plain(str(name))}", "a field of requests: clients send it themselves")
