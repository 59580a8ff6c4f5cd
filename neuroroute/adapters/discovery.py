"""
What servers say of themselves: the models that providers list, and LM Studio and Ollama where they run on this machine.

It runs beside the calls and delays nothing: a server that does not answer in time is asked again a minute later. A configured provider
keeps the list that it gave last; a local server that stays silent twice is taken for stopped.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from neuroroute.adapters.transport import Transport
from neuroroute.core.errors import UpstreamError
from neuroroute.core.jsonbytes import loads
from neuroroute.core.money import costs_nothing
from neuroroute.core.types import Dialect, Model, Price, Protocol, Provider, Timeouts, UpstreamRequest

OLLAMA_URL: Final = "http://localhost:11434/v1"
EVERY_S: Final = 60.0
_LOCAL_S: Final = 1.0
_REMOTE_S: Final = 5.0
_MISSES: Final = 2  # silent rounds after which a local server counts as stopped
_MAX_MODELS: Final = 2000
_MAX_ID_CHARS: Final = 200
_ANTHROPIC_VERSION: Final = "2023-06-01"
_EMBEDDING: Final = re.compile(r"embed|(?:^|[/:_-])(?:bge|e5|gte|minilm)(?:[-_:]|$)")
_log = logging.getLogger("neuroroute.discovery")

Listed = tuple[Model, ...]


def local_servers(lmstudio_url: str, timeouts: Timeouts) -> tuple[Provider, ...]:
    """LM Studio and Ollama as they would be configured."""
    dialects = frozenset({Dialect.CHAT, Dialect.COMPLETIONS, Dialect.EMBEDDINGS, Dialect.PASS})
    return (
        Provider(
            "lmstudio",
            Protocol.OPENAI,
            lmstudio_url.rstrip("/"),
            timeouts=timeouts,
            speaks=dialects | {Dialect.RESPONSES},
            discover=True,
        ),
        Provider("ollama", Protocol.OPENAI, OLLAMA_URL, timeouts=timeouts, speaks=dialects, discover=True),
    )


async def models_of(transport: Transport, provider: Provider, within_s: float) -> Listed:
    """
    The models that a provider lists, with the facts that its list holds (context, abilities, price; what is not said stays unknown).

    Raises UpstreamError when it does not answer properly in time.
    """
    try:
        async with asyncio.timeout(within_s):
            if provider.protocol is Protocol.ANTHROPIC:
                listed = await _list(transport, provider, provider.base_url + "/v1/models?limit=1000", within_s)
            else:
                listed = await _list(transport, provider, provider.base_url + "/models", within_s)
            if provider.name == "lmstudio" or any(entry.get("owned_by") == "organization_owner" for entry in listed):
                listed = await _lmstudio_facts(transport, provider, listed, within_s)
    except TimeoutError as error:
        raise UpstreamError("the provider did not list its models in time") from error
    found: dict[str, Model] = {}
    for entry in listed[:_MAX_MODELS]:
        model = _model(entry, provider.name)
        if model is not None:
            found.setdefault(model.name, model)
    return tuple(found.values())


async def _list(transport: Transport, provider: Provider, url: str, within_s: float) -> list[dict[str, Any]]:
    headers = dict(provider.headers)
    if provider.protocol is Protocol.ANTHROPIC:
        headers["anthropic-version"] = _ANTHROPIC_VERSION
    if provider.api_key is not None:
        if provider.protocol is Protocol.ANTHROPIC:
            headers["x-api-key"] = provider.api_key
        else:
            headers["authorization"] = f"Bearer {provider.api_key}"
    limits = Timeouts(within_s, within_s, within_s, within_s)
    async with transport.open(UpstreamRequest(url, headers, b"", method="GET"), limits, costs_nothing()) as response:
        raw = await response.read()
        if response.status != 200:
            raise UpstreamError(f"the provider answered {response.status} when asked for its models")
    try:
        answer = loads(raw)
    except ValueError as error:
        raise UpstreamError("the provider's list of models is not JSON") from error
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, list):
        raise UpstreamError("the provider's list of models has no data")
    return [entry for entry in data if isinstance(entry, dict)]


async def _lmstudio_facts(transport: Transport, provider: Provider, listed: list[dict[str, Any]], within_s: float) -> list[dict[str, Any]]:
    """The same list, each entry with what LM Studio's own interface says of it. Source: LM Studio REST API v0, 2026-11."""
    url = provider.base_url.removesuffix("/v1") + "/api/v0/models"
    try:
        facts = {str(entry.get("id")): entry for entry in await _list(transport, provider, url, within_s)}
    except UpstreamError:  # an older LM Studio
        return listed
    return [{**entry, **facts.get(str(entry.get("id")), {})} for entry in listed]


def _model(entry: dict[str, Any], provider: str) -> Model | None:
    name = entry.get("id")
    if not isinstance(name, str) or not 0 < len(name) <= _MAX_ID_CHARS or not name.isprintable():
        return None
    top = entry.get("top_provider")
    return Model(
        name=name,
        provider=provider,
        upstream_model=name,
        kind=_kind(name, entry),
        price=_price(entry.get("pricing")),
        context_window_tokens=_first_count(entry, "loaded_context_length", "max_context_length", "max_model_len", "context_length"),
        max_output_tokens=_first_count(top, "max_completion_tokens") if isinstance(top, dict) else None,
        abilities=_abilities(entry),
        created=_first_count(entry, "created") or 0,
    )


def _kind(name: str, entry: dict[str, Any]) -> str:
    kind = entry.get("type")
    if kind in ("llm", "vlm"):
        return "chat"
    return "embedding" if kind in ("embeddings", "embedding") or _EMBEDDING.search(name.lower()) else "chat"


def _abilities(entry: dict[str, Any]) -> frozenset[str]:
    """As LM Studio (type, capabilities), OpenRouter (architecture, supported_parameters) and Mistral (capabilities) say it."""
    said: set[str] = set()
    given = entry.get("capabilities")
    words = (
        [str(word) for word in given] if isinstance(given, list) else [k for k, v in given.items() if v] if isinstance(given, dict) else []
    )
    parameters = entry.get("supported_parameters")
    words += [str(word) for word in parameters] if isinstance(parameters, list) else []
    architecture = entry.get("architecture")
    modalities = architecture.get("input_modalities") if isinstance(architecture, dict) else None
    words += [str(word) for word in modalities] if isinstance(modalities, list) else []
    if entry.get("type") == "vlm":
        said.add("vision")
    for word in words:
        ability = _ABILITY_WORDS.get(word)
        if ability is not None:
            said.add(ability)
    return frozenset(said)


_ABILITY_WORDS: Final = {
    "tool_use": "tools",
    "tools": "tools",
    "function_calling": "tools",
    "vision": "vision",
    "image": "vision",
    "audio": "audio",
    "file": "files",
    "structured_outputs": "json_schema",
    "reasoning": "reasoning",
}


def _price(given: Any) -> Price | None:
    """OpenRouter's prices: USD per token, as strings; negative where the price varies."""
    if not isinstance(given, dict):
        return None
    try:
        prompt, completion = float(given["prompt"]), float(given["completion"])
        cached = float(given["input_cache_read"]) if given.get("input_cache_read") else None
    except (KeyError, TypeError, ValueError):
        return None
    if not (0 <= prompt < 1 and 0 <= completion < 1 and 0 <= (cached or 0) < 1):
        return None
    return Price.of(prompt * 1e6, completion * 1e6, None if cached is None else cached * 1e6)


def _first_count(entry: dict[str, Any], *names: str) -> int | None:
    for name in names:
        value = entry.get(name)
        if type(value) is int and 0 < value < 1 << 40:
            return value
    return None


class Discovery:
    """
    Asks all servers, again and again.

    providers: those offered at present (found ones may be among them); the ones with `discover` are asked. local: servers that may run on this machine; one whose name or
    address is configured is left to the configuration. found: called with (models per provider, local servers that answer) after each change.
    """

    def __init__(
        self,
        transport: Transport,
        providers: Callable[[], Mapping[str, Provider]],
        local: Sequence[Provider],
        found: Callable[[Mapping[str, Listed], Mapping[str, Provider]], None],
        every_s: float = EVERY_S,
    ) -> None:
        self._transport, self._providers, self._local, self._found, self._every_s = transport, providers, local, found, every_s
        self._models: dict[str, Listed] = {}
        self._running: dict[str, Provider] = {}
        self._missed: dict[str, int] = {}
        self._failed: dict[str, int] = {}

    def readings(self) -> list[tuple[str, tuple[str, ...], float]]:
        """For metrics: (name, label values, value)."""
        return [("neuroroute_discovery_failing", (name,), float(rounds >= _MISSES)) for name, rounds in list(self._failed.items())]

    async def run(self) -> None:
        """For ever: at once, then every `every_s`."""
        while True:
            await self.refresh()
            await asyncio.sleep(self._every_s)

    async def refresh(self) -> None:
        """One round; each answer takes effect as it comes."""
        configured = {name: provider for name, provider in self._providers().items() if name not in self._running}
        asked = {name: provider for name, provider in configured.items() if provider.discover}
        addresses = {provider.base_url for provider in configured.values()}
        local = [provider for provider in self._local if provider.name not in configured and provider.base_url not in addresses]
        for name in [name for name in self._models if name not in asked and name not in self._running]:
            del self._models[name]  # no longer configured
        self._failed = {name: rounds for name, rounds in self._failed.items() if name in asked}
        await asyncio.gather(*(self._ask(provider) for provider in asked.values()), *(self._ask_local(provider) for provider in local))

    async def _ask(self, provider: Provider) -> None:
        try:
            models = await models_of(self._transport, provider, _REMOTE_S)
        except UpstreamError as error:
            _log.info("%s: %s", provider.name, error.message)
            self._failed[provider.name] = self._failed.get(provider.name, 0) + 1
            return
        self._failed[provider.name] = 0
        self._changed(provider, models, local=False)

    async def _ask_local(self, provider: Provider) -> None:
        try:
            models = await models_of(self._transport, provider, _LOCAL_S)
        except UpstreamError:
            models = ()
        if models:
            self._missed[provider.name] = 0
            self._changed(provider, models, local=True)
        elif provider.name in self._running:
            self._missed[provider.name] = self._missed.get(provider.name, 0) + 1
            if self._missed[provider.name] >= _MISSES:
                _log.info("%s has stopped", provider.name)
                del self._running[provider.name], self._models[provider.name]
                self._found(dict(self._models), dict(self._running))

    def _changed(self, provider: Provider, models: Listed, local: bool) -> None:
        if self._models.get(provider.name) == models and (not local or self._running.get(provider.name) == provider):
            return
        if local and provider.name not in self._running:
            _log.info("found %s with %d models at %s", provider.name, len(models), provider.base_url)
        self._models[provider.name] = models
        if local:
            self._running[provider.name] = provider
        self._found(dict(self._models), dict(self._running))
