"""
From the configuration to the catalogue: which providers and models this gateway offers.

Providers come as the configuration's layers have them; without a single one the `demo` provider stands in, so that a first start answers.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from neuroroute.core.config import Config, ModelConfig, PolicyConfig, ProviderConfig
from neuroroute.core.settings import Settings
from neuroroute.core.types import Dialect, Model, Protocol, Provider, Timeouts
from neuroroute.routing.build import DeclaredModel, DeclaredPolicy, build_catalog
from neuroroute.routing.catalog import Catalog
from neuroroute.routing.rules import rule_of

_log = logging.getLogger("neuroroute.offer")
DEMO: Final = "demo"
_OPENAI_DIALECTS: Final = frozenset({Dialect.CHAT, Dialect.COMPLETIONS, Dialect.EMBEDDINGS, Dialect.PASS})
_FULL_OPENAI: Final = ("openai", "lmstudio")
"""Providers by name that also speak the Responses API. Source: OpenAI's API reference; LM Studio's docs, openai-compat. 2026-11."""


def timeouts_of(settings: Settings) -> Timeouts:
    """What holds where neither model nor provider says otherwise."""
    return Timeouts(
        settings.upstream_connect_timeout_s,
        settings.upstream_first_byte_timeout_s,
        settings.upstream_idle_timeout_s,
        settings.upstream_total_timeout_s,
    )


def providers_of(config: Config, settings: Settings) -> dict[str, Provider]:
    """The providers that are on, by name; `demo` alone where there is none, or beside them where NEUROROUTE_DEMO asks for it."""
    base = timeouts_of(settings)
    found = {name: _provider(name, given, base) for name, given in config.providers.items() if given.enabled}
    if settings.neuroroute_demo or not found:
        found.setdefault(DEMO, Provider(DEMO, Protocol.DEMO, "demo:", speaks=_OPENAI_DIALECTS))
    return found


def provider_of(name: str, given: ProviderConfig, settings: Settings) -> Provider:
    """One provider, on or off."""
    return _provider(name, given, timeouts_of(settings))


def _provider(name: str, given: ProviderConfig, base: Timeouts) -> Provider:
    return Provider(
        name=name,
        protocol=given.protocol,
        base_url=given.address.rstrip("/"),
        api_key=given.api_key or _in_file(given.api_key_file),
        headers=given.headers,
        timeouts=given.timeouts.over(base),
        speaks=frozenset(given.speaks) if given.speaks is not None else _speaks(name, given),
        discover=given.discover,
        prompt_cache=given.prompt_cache,
    )


def _in_file(path: str | None) -> str | None:
    """The key that a file holds, such as a mounted secret; read again whenever the configuration is. One that can not be read is logged."""
    if path is None:
        return None
    try:
        return Path(path).read_text("utf-8").strip() or None
    except (OSError, ValueError):
        _log.warning("the file of a provider's key (api_key_file) can not be read")
        return None


def _speaks(name: str, given: ProviderConfig) -> frozenset[Dialect]:
    if given.protocol is Protocol.ANTHROPIC:
        return frozenset({Dialect.MESSAGES, Dialect.PASS})
    full = name in _FULL_OPENAI or given.address.startswith("https://api.openai.com")
    return _OPENAI_DIALECTS | {Dialect.RESPONSES} if full and given.protocol is Protocol.OPENAI else _OPENAI_DIALECTS


def catalog_of(config: Config, settings: Settings, discovered: Mapping[str, Sequence[Model]], local: Mapping[str, Provider]) -> Catalog:
    """
    The catalogue that configuration, environment and found servers make together.

    discovered: per provider what its server says it serves. local: servers on this machine that answered unasked; they count as providers.
    Raises: ValueError naming what refers to something that is not there.
    """
    providers = providers_of(config, settings)
    real = {name: provider for name, provider in local.items() if name not in providers}
    if real and not config.providers and not settings.neuroroute_demo:
        providers.pop(DEMO, None)
    providers |= real
    declared = [_model(name, given, providers) for name, given in config.models.items() if given.enabled and given.provider in providers]
    catalog = build_catalog(
        providers,
        declared,
        aliases=config.aliases,
        policies={name: policy_of(given) for name, given in config.routing.policies.items()},
        rules=[rule_of(given.when, given.use or "", given.policy or "") for given in config.routing.rules],
        default_policy=config.routing.policy,
        baseline_model=config.routing.baseline_model,
        discovered=discovered,
    )
    chosen = providers.get(config.routing.default_provider or "")
    return catalog if chosen is None else replace(catalog, default_provider=chosen)


def rule_faults(config: Config) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Rules whose conditions make no sense, each with its place in the configuration."""
    for place, given in enumerate(config.routing.rules):
        try:
            rule_of(given.when, given.use or "", given.policy or "")
        except ValueError as fault:
            yield ("routing", "rules", place), str(fault)


def _model(name: str, given: ModelConfig, providers: Mapping[str, Provider]) -> DeclaredModel:
    said = given.timeouts.model_fields_set
    return DeclaredModel(
        name=name,
        provider=given.provider,
        upstream_model=given.upstream_model,
        kind=given.kind,
        price=given.price.price() if given.price is not None else None,
        context_window_tokens=given.context_window_tokens,
        max_output_tokens=given.max_output_tokens,
        abilities=frozenset(given.abilities) if given.abilities is not None else None,
        quality={str(label): share for label, share in (given.quality or {}).items()},
        timeouts=given.timeouts.over(providers[given.provider].timeouts) if said else None,
        fallbacks=given.fallbacks or (),
    )


def policy_of(given: PolicyConfig) -> DeclaredPolicy:
    weights = {name: value for name, value in given.weights.model_dump().items() if value is not None}
    return DeclaredPolicy(given.quality_floor or 0.0, weights, given.dial, given.quality_slack, given.allow or (), given.deny or ())
