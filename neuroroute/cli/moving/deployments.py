"""LiteLLM's deployments: an entry of `model_list` -> a provider and a model of ours."""

import re
from collections.abc import Mapping
from typing import Any, Final

from neuroroute.cli.moving.draft import Draft, number, plain, whole
from neuroroute.cli.moving.services import SERVICES, SIGNED, Service, address, elsewhere, host_word, word_of
from neuroroute.core.dataclass import dataclass
from neuroroute.core.types import Price
from neuroroute.routing.facts import facts

_VARIABLE: Final = re.compile(r"os\.environ/([A-Za-z_][A-Za-z0-9_]*)")
_AT_MAKERS_PRICE: Final = re.compile(
    r"(openai|anthropic|azure|azure-text|azure-ai)(-\d+)?"
)  # a second key, or Azure at OpenAI's list price
_SECRET: Final = re.compile(r"auth|key|token|secret|cookie|password", re.IGNORECASE)
_KINDS: Final = {
    "chat": None, "completion": "completion", "embedding": "embedding", "image_generation": "image", "image_edit": "image",
    "audio_transcription": "audio", "audio_speech": "audio", "moderation": "moderation", "responses": None,
}  # fmt: skip
_ABILITIES: Final = {
    "supports_vision": "vision", "supports_function_calling": "tools", "supports_response_schema": "json_schema",
    "supports_reasoning": "reasoning", "supports_audio_input": "audio", "supports_pdf_input": "files",
}  # fmt: skip
_PRICES: Final = {
    "input": "input_cost_per_token", "output": "output_cost_per_token", "cached_input": "cache_read_input_token_cost",
    "cache_write": "cache_creation_input_token_cost",
}  # fmt: skip
_READ: Final = {
    "model", "model_name", "litellm_params", "model_info", "api_key", "api_base", "base_url", "custom_llm_provider", "rpm", "tpm",
    "max_parallel_requests", "timeout", "stream_timeout", "order", "organization", "extra_headers", "headers", "litellm_credential_name",
    "api_version", *_PRICES.values(),
}  # fmt: skip
_INFO_READ: Final = {
    "mode", "base_model", "max_tokens", "max_input_tokens", "max_output_tokens", *_PRICES.values(), *_ABILITIES, "id", "description",
    "created_at", "updated_at", "created_by", "updated_by", "db_model", "rpm", "tpm",
}  # fmt: skip
_SAMPLING: Final = {"temperature", "max_tokens", "top_p", "n", "stop", "seed", "presence_penalty", "frequency_penalty", "reasoning_effort"}
_WHY: Final = {
    "weight": "a chain is asked in its order; load is not spread by weight",
    "tags": "routing by LiteLLM's tags; a rule with `when: {tag.NAME: VALUE}` can choose a model by ours",
    "region_name": "regions are not known",
    "drop_params": "fields that a provider does not know pass through where the dialect is the same",
    "max_budget": "budgets belong to keys, users and tags",
    "budget_duration": "budgets belong to keys, users and tags",
    "num_retries": "retries are the same for all: UPSTREAM_MAX_RETRIES",
    "max_retries": "retries are the same for all: UPSTREAM_MAX_RETRIES",
    "input_cost_per_second": "prices are by token",
    "output_cost_per_second": "prices are by token",
    "access_groups": "a key's allowed_models takes names and patterns",
    "s3_bucket_name": "files of batches stay with their provider",
    "mock_timeout": "made answers are for tests; the provider `demo` has some",
    "mock_response": "made answers are for tests; the provider `demo` has some",
    "health_check_timeout": "health is what calls see",
    "adaptive_router_preferences": "strengths are numbers: `quality` of the model, by label",
    "team_id": "models of a team; a key's allowed_models does that",
}


@dataclass(frozen=True, slots=True)
class Deployment:
    """model: our entry; order: LiteLLM's, lower first."""

    model: dict[str, Any]
    order: float = 1e9


class Deployments:
    """credentials: LiteLLM's credential_list by name."""

    def __init__(self, draft: Draft, credentials: Mapping[str, Mapping[str, Any]]) -> None:
        self._draft, self._credentials = draft, credentials
        self._secrets: dict[str, str] = {}  # in clear -> our reference, so that equal ones share a variable

    def read(self, where: str, params: Mapping[str, Any], info: Mapping[str, Any]) -> Deployment | None:
        """None, and a line in the draft, where there is no counterpart."""
        word, upstream = word_of(str(params.get("model") or ""), _text(params.get("custom_llm_provider")))
        mode = _text(info.get("mode"))
        if word in SERVICES and not upstream:
            self._draft.lose(where, "names no model at its provider")
            return None
        if mode is None and upstream.startswith("rerank-"):
            mode = "rerank"
        if mode is not None and mode not in _KINDS:
            self._draft.lose(where, f"models of the mode {mode} have no counterpart")
            return None
        provider = self.provider(where, word, params, None)
        if provider is None:
            return None
        assert word is not None
        model: dict[str, Any] = {"provider": provider}
        if upstream != params.get("model_name"):
            model["upstream_model"] = plain(upstream)
        if (kind := _KINDS.get(mode or "") or (SERVICES[word].kind if word in SERVICES else None)) is not None:
            model["kind"] = kind
        self._facts(where, model, provider, upstream, params, info)
        self._limits(model, params, info)
        self._timeouts(where, model, params)
        self._rest(where, params, info)
        return Deployment(model, number(params.get("order"), -1.0) or 1e9)

    def provider(self, where: str, word: str | None, params: Mapping[str, Any], name: str | None) -> str | None:
        """The provider of a deployment. name: what it shall be called; None = by its word, or by its host where that is not the usual one."""
        params = {**self._credential(where, params), **params}
        service = SERVICES.get(word or "") or elsewhere(word, bool(_text(params.get("api_base")) or _text(params.get("base_url"))))
        if word is None or service is None:
            why = (
                f"wants {SIGNED[word]}"
                if word in SIGNED
                else "is no provider known here, or speaks neither OpenAI's nor Anthropic's dialect"
            )
            self._draft.lose(where, f"{word or params.get('model') or 'no model'} {why}")
            return None
        base = self._base(where, service, params)
        if base is None:
            return None
        if word not in SERVICES:
            self._draft.note(where, f"{word} is no provider known here: by its api_base it is asked in OpenAI's dialect")
        usual = base == service.base_url
        own = name or (word if usual or service.base_url is None else "")
        own = own or (host_word(base) if not base.startswith("${") else word)
        entry: dict[str, Any] = {"protocol": service.protocol, **({} if usual and word in ("openai", "anthropic") else {"base_url": base})}
        if (key := self._key(where, service, params, own)) is not None:
            entry["api_key"] = key
        if headers := self._headers(where, params, own):
            entry["headers"] = headers
        return self._draft.provider(own.removesuffix("_chat"), entry)

    def _credential(self, where: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        name = _text(params.get("litellm_credential_name"))
        if name is None:
            return {}
        values = self._credentials.get(name, {}).get("credential_values")
        if not isinstance(values, Mapping):
            self._draft.lose(f"{where}.litellm_credential_name", "is not in the credential_list: it is in LiteLLM's database")
            return {}
        return values

    def _base(self, where: str, service: Service, params: Mapping[str, Any]) -> str | None:
        given = _text(params.get("api_base")) or _text(params.get("base_url"))
        if given is None:
            if service.base_url is None and service.base_variable is not None:
                return address(service, self._draft.variable(service.base_variable, "address of the provider, as LiteLLM reads it"))
            if service.base_url is None:
                self._draft.lose(where, "has no api_base")
            return service.base_url
        variable = _VARIABLE.fullmatch(given)
        if variable is not None:
            return address(service, self._draft.variable(variable[1], "address of the provider, as LiteLLM reads it"))
        if not re.fullmatch(r"https?://[^/\s]+(/\S*)?", given):
            self._draft.lose(f"{where}.api_base", "is no address that begins with http:// or https://")
            return None
        return plain(address(service, given))

    def _key(self, where: str, service: Service, params: Mapping[str, Any], own: str) -> str | None:
        given = _text(params.get("api_key"))
        if given is None:
            return None if service.variable is None else self._draft.variable(service.variable, "key of the provider, as LiteLLM reads it")
        return self.secret(given, f"{own}_api_key", f"the api_key at {where}")

    def secret(self, given: str, name: str, what: str) -> str:
        """A reference to the variable that LiteLLM reads, or, for a secret in clear, to one that the operator is asked to set."""
        variable = _VARIABLE.fullmatch(given)
        if variable is not None:
            return self._draft.variable(variable[1], "as LiteLLM reads it")
        same = self._secrets.get(given)
        if same is None:
            same = self._secrets[given] = self._draft.secret(name, what)
        return same

    def _headers(self, where: str, params: Mapping[str, Any], own: str) -> dict[str, str]:
        found: dict[str, str] = {}
        for part in ("headers", "extra_headers"):
            given = params.get(part)
            for name, value in given.items() if isinstance(given, Mapping) else ():
                text = str(value)
                hidden = _VARIABLE.fullmatch(text) or _SECRET.search(str(name))
                found[str(name)] = self.secret(text, f"{own}_{name}", f"the header {name} at {where}") if hidden else plain(text)
        if (organization := _text(params.get("organization"))) is not None:
            hidden = _VARIABLE.fullmatch(organization)
            found["OpenAI-Organization"] = self.secret(organization, "", "") if hidden else plain(organization)
        return found

    def _facts(
        self, where: str, model: dict[str, Any], provider: str, upstream: str, params: Mapping[str, Any], info: Mapping[str, Any]
    ) -> None:
        """What the file says of the model; its price also from our catalogue, where the same model is known at its maker."""
        said = {**info, **{name: value for name, value in params.items() if name in _PRICES.values()}}
        price = {ours: round(cost * 1e6, 9) for ours, name in _PRICES.items() if (cost := number(said.get(name), -1e-18)) is not None}
        base = _text(info.get("base_model"))
        known = facts().by_name.get((base or upstream).rpartition("/")[2]) or facts().get(base or upstream)
        if "input" in price and "output" in price:
            model["price"] = price
        elif (
            known is not None
            and known.model.price is not None
            and known.model.provider != provider
            and _AT_MAKERS_PRICE.fullmatch(provider)
        ):
            model["price"] = _usd(known.model.price)
            self._draft.note(where, f"the price is that of {known.model.name} at {known.model.provider}")
        window = whole(info.get("max_input_tokens")) or whole(info.get("max_tokens"))
        if window:
            model["context_window_tokens"] = window
        if most := whole(info.get("max_output_tokens")):
            model["max_output_tokens"] = most
        told = {ability: bool(info[name]) for name, ability in _ABILITIES.items() if info.get(name) is not None}
        if told:
            has = set() if known is None else set(known.model.abilities)
            has = (has | {ability for ability, true in told.items() if true}) - {ability for ability, true in told.items() if not true}
            model["abilities"] = sorted(has)

    def _limits(self, model: dict[str, Any], params: Mapping[str, Any], info: Mapping[str, Any]) -> None:
        limits = {
            "requests_per_minute": whole(params.get("rpm")) or whole(info.get("rpm")),
            "tokens_per_minute": whole(params.get("tpm")) or whole(info.get("tpm")),
            "concurrency": whole(params.get("max_parallel_requests")),
        }
        if found := {name: value for name, value in limits.items() if value}:
            model["limits"] = found

    def _timeouts(self, where: str, model: dict[str, Any], params: Mapping[str, Any]) -> None:
        """LiteLLM's timeout is silence on a whole call, which says nothing before its end: our first byte and our total."""
        found: dict[str, float] = {}
        if (total_s := number(params.get("timeout"))) is not None:
            found |= {"first_byte_s": min(total_s, 86400.0), "total_s": min(total_s, 86400.0)}
        if (idle_s := number(params.get("stream_timeout"))) is not None:
            found["idle_s"] = min(idle_s, 86400.0)
        if found:
            model["timeouts"] = found

    def _rest(self, where: str, params: Mapping[str, Any], info: Mapping[str, Any]) -> None:
        for name in params:
            if name in _SAMPLING:
                self._draft.lose(f"{where}.{name}", "a default for a field of the request: clients send it themselves")
            elif name not in _READ:
                self._draft.lose(f"{where}.{name}", _WHY.get(str(name), "has no counterpart"))
        for name in info:
            if name not in _INFO_READ:
                self._draft.lose(f"{where}.model_info.{name}", _WHY.get(str(name), "has no counterpart"))


def _text(value: object) -> str | None:
    return str(value).strip() or None if isinstance(value, (str, int, float)) and not isinstance(value, bool) else None


def _usd(price: Price) -> dict[str, float]:
    rates = {"input": price.input_nanousd, "output": price.output_nanousd, "cached_input": price.cached_input_nanousd}
    return {name: nanousd / 1e9 for name, nanousd in rates.items() if nanousd is not None}
