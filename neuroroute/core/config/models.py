"""The shape of the configuration: what may be said, in which unit, and what silence means. A field's description is part of the JSON schema."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from neuroroute.core.config.alerts import AlertConfig, AlertWebhookConfig
from neuroroute.core.config.learning import LearningConfig
from neuroroute.core.money import Budget, Period
from neuroroute.core.types import Dialect, Limits, Price, Protocol, Timeouts

Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(gt=0, le=86400)]
Usd = Annotated[float, Field(ge=0, le=1_000_000)]
Count = Annotated[int, Field(ge=0)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
WebAddress = Annotated[
    str, Field(pattern=r"^https?://[^/\s]+(/\S*)?$"), BeforeValidator(lambda url: url.rstrip("/") if isinstance(url, str) else url)
]
Ability = Literal["tools", "vision", "audio", "files", "json_schema", "reasoning"]
Task = Literal[
    "default", "code", "math", "reasoning", "writing", "roleplay", "rewriting", "summarization",
    "extraction", "classification", "translation", "factual_qa", "advice", "chat",
]  # fmt: skip
Kind = Literal["chat", "embedding", "completion", "image", "audio", "moderation"]
Condition = Annotated[bool | int | float | str | tuple[str | int | float, ...], Field(union_mode="smart")]

BASE_URLS: Final[Mapping[Protocol, str]] = {
    Protocol.OPENAI: "https://api.openai.com/v1",
    Protocol.ANTHROPIC: "https://api.anthropic.com",
    Protocol.DEMO: "demo:",
}


def _one_or_many(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _nothing_if_empty(value: object) -> object:
    return None if value == "" else value


Names = Annotated[tuple[Name, ...], BeforeValidator(_one_or_many), Field(min_length=1)]


class _Part(BaseModel):
    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)


class TimeoutsConfig(_Part):
    """Seconds; what is left out comes from the next wider place: the provider, then the settings."""

    connect_s: Seconds | None = Field(default=None, description="to connect")
    first_byte_s: Seconds | None = Field(default=None, description="from the request sent to the first byte of the answer")
    idle_s: Seconds | None = Field(default=None, description="silence inside an answer")
    total_s: Seconds | None = Field(default=None, description="a whole attempt")

    def over(self, base: Timeouts) -> Timeouts:
        """These, and `base` where nothing is said."""
        return Timeouts(
            base.connect_s if self.connect_s is None else self.connect_s,
            base.first_byte_s if self.first_byte_s is None else self.first_byte_s,
            base.idle_s if self.idle_s is None else self.idle_s,
            base.total_s if self.total_s is None else self.total_s,
        )


class LimitsConfig(_Part):
    """Per minute, or at once. None = no limit of its own, 0 = unlimited."""

    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    concurrency: Count | None = None

    def limits(self) -> Limits:
        return Limits(self.requests_per_minute, self.tokens_per_minute, self.concurrency)


class ProviderConfig(_Part):
    """Where models are served: an address, how it is spoken to, and the credentials."""

    protocol: Protocol = Field(default=Protocol.OPENAI, description="what it speaks")
    base_url: WebAddress | None = Field(
        None, description="with /v1 for openai, without for anthropic; default: the address of OpenAI or Anthropic"
    )
    api_key: Annotated[str | None, BeforeValidator(_nothing_if_empty)] = Field(default=None, repr=False, description="best as ${VARIABLE}")
    api_key_file: str | None = Field(default=None, description="a file that holds the key, such as a mounted secret")
    headers: dict[Name, str] = Field(default_factory=dict, repr=False, description="sent with every request")
    discover: bool = Field(default=False, description="ask it for its models; they join the catalogue")
    enabled: bool = True
    speaks: tuple[Dialect, ...] | None = Field(
        default=None, description="dialects passed on untranslated; default: by protocol and address"
    )
    prompt_cache: bool = Field(
        default=True, description="mark long beginnings for the prompt cache (anthropic, translated requests without marks of their own)"
    )
    timeouts: TimeoutsConfig = TimeoutsConfig()
    limits: LimitsConfig = LimitsConfig()

    @property
    def address(self) -> str:
        """The base URL, the protocol's own if none is given."""
        return self.base_url or BASE_URLS[self.protocol]


class PriceConfig(_Part):
    """USD per million tokens. None = not known, or, for cached tokens, the price of the others."""

    input: Usd | None = None
    output: Usd | None = None
    cached_input: Usd | None = None
    cache_write: Usd | None = None
    image: Usd | None = Field(default=None, description="USD for an image")
    minute: Usd | None = Field(default=None, description="USD for a minute of sound")
    characters: Usd | None = Field(default=None, description="USD for a million characters that are spoken")

    @model_validator(mode="after")
    def _is_a_price(self) -> "PriceConfig":
        by_unit = (self.image, self.minute, self.characters) != (None, None, None)
        if (self.input is None) != (self.output is None) or (self.input is None and not by_unit):
            raise ValueError("input and output are both given, or neither of them and one of image, minute, characters")
        return self

    def price(self) -> Price:
        units = {"image": self.image, "minute": self.minute, "characters": self.characters}
        return Price.of(self.input or 0.0, self.output or 0.0, self.cached_input, self.cache_write, **units)


class ModelConfig(_Part):
    """A model that clients may name. What is left out comes from the catalogue; what that does not know stays unknown."""

    provider: Name
    upstream_model: Name | None = Field(default=None, description="its name at the provider; default: the same name")
    kind: Kind | None = None
    price: PriceConfig | None = None
    context_window_tokens: Annotated[int, Field(gt=0)] | None = None
    max_output_tokens: Annotated[int, Field(gt=0)] | None = None
    abilities: tuple[Ability, ...] | None = Field(default=None, description="what it can do beyond text")
    quality: dict[Task, Share] | None = Field(default=None, description="0..1 for each task label, `default` for the others")
    fallbacks: Names | None = Field(default=None, description="models that answer when this one can not")
    timeouts: TimeoutsConfig = TimeoutsConfig()
    limits: LimitsConfig = LimitsConfig()
    enabled: bool = True


class WeightsConfig(_Part):
    """What a policy weighs; 0 = does not count."""

    quality: Annotated[float, Field(ge=0, le=1000)] | None = None
    cost: Annotated[float, Field(ge=0, le=1000)] | None = None
    latency: Annotated[float, Field(ge=0, le=1000)] | None = None


class PolicyConfig(_Part):
    """How `auto` chooses. `dial` gives weights between least cost (0) and most quality (10); `weights` override it one by one."""

    dial: Annotated[float, Field(ge=0, le=10)] | None = None
    weights: WeightsConfig = WeightsConfig()
    quality_floor: Share | None = Field(default=None, description="models below this expected quality are left out")
    quality_slack: Share | None = Field(default=None, description="share below the best expected quality that is still admitted")
    allow: Names | None = Field(default=None, description="only these models")
    deny: Names | None = Field(default=None, description="never these models")
    semantic_cache: bool | None = Field(
        default=None, description="whether answers to like questions serve; default: cache.semantic.enabled"
    )


class RuleConfig(_Part):
    """When all conditions hold, this model or chain answers, or that policy decides. The first rule that fits wins."""

    when: dict[Name, Condition] = Field(default_factory=dict, description="conditions, such as label, language, tag.<name>; see the guide")
    use: Name | None = Field(default=None, description="a model or an alias")
    policy: Name | None = None


class HedgingConfig(_Part):
    """A second attempt, beside the first, where an answer begins later than 19 of 20 do. The first to begin is taken; both are paid."""

    enabled: bool = False
    spend_share: Share = Field(default=0.05, description="what second attempts may cost, as a share of what all calls cost")
    min_wait_ms: Annotated[int, Field(ge=0, le=600_000)] = Field(default=100, description="no second attempt before this")


class RoutingConfig(_Part):
    policy: Name = Field(default="balanced", description="what `auto` means")
    baseline_model: Name | None = Field(default=None, description="what savings are counted against; default: the best model available")
    policies: dict[Name, PolicyConfig] = Field(
        default_factory=dict, description="own policies; cheap, balanced, best and fast are built in"
    )
    rules: tuple[RuleConfig, ...] = ()
    default_provider: Name | None = Field(default=None, description="where calls go that name no model; default: the first provider")
    hedging: HedgingConfig = HedgingConfig()
    learning: LearningConfig = Field(
        default=LearningConfig(), description="how far feedback and outcomes may change what is expected of models"
    )


class SemanticConfig(_Part):
    """Answers to requests that mean the same. Needs an embedding model."""

    enabled: bool = False
    embedding_model: Name = "text-embedding-3-small"
    threshold: Share = Field(default=0.97, description="least cosine similarity")
    never: tuple[Task, ...] = Field(default=("code", "math"), description="labels whose prompts are never answered so")
    timeout_ms: Annotated[int, Field(gt=0, le=10_000)] = Field(default=300, description="a look-up that takes longer is given up")


class BudgetConfig(_Part):
    """What all calls with a tag may cost together."""

    tag: Annotated[str, Field(pattern=r"^[^=]{1,64}=.{0,256}$")] = Field(description="name=value")
    usd: Usd
    period: Period = Field(default=Period.MONTH, description="calendar periods in UTC, or in all")
    when_spent: Annotated[str, Field(pattern=r"^(refuse|policy:.+)$")] = Field(
        default="refuse", description="`refuse`, or `policy:<name>`: `auto` goes on by that policy, calls that name a model are refused"
    )

    def budget(self) -> Budget:
        policy = "" if self.when_spent == "refuse" else self.when_spent.removeprefix("policy:")
        return Budget("tag", self.tag, round(self.usd * 1e9), self.period, policy)


class CacheConfig(_Part):
    """None = as the settings say."""

    ttl_s: Annotated[int, Field(ge=0, le=31_536_000)] | None = Field(default=None, description="default: CACHE_TTL")
    share: Literal["key", "user", "everyone"] | None = Field(default=None, description="who gets whose answers; default: by CACHE_BY_USER")
    semantic: SemanticConfig = SemanticConfig()


class SecurityConfig(_Part):
    """What admins may do by the API. Only the file says it, never the API itself."""

    allow_private_providers: bool = Field(
        default=False, description="base URLs set by the API may lead to private, loopback and link-local addresses"
    )
    private_hosts: tuple[Name, ...] = Field(default=(), description="hosts that base URLs set by the API may name wherever they lead")


class Config(_Part):
    """The whole configuration. Empty is fine: then only the environment's providers are there."""

    providers: dict[Name, ProviderConfig] = Field(default_factory=dict)
    models: dict[Name, ModelConfig] = Field(default_factory=dict)
    aliases: dict[Name, Names] = Field(default_factory=dict, description="a name and its chain: the first healthy model answers")
    routing: RoutingConfig = RoutingConfig()
    cache: CacheConfig = CacheConfig()
    limits: LimitsConfig = Field(default=LimitsConfig(), description="of the gateway as a whole")
    budgets: tuple[BudgetConfig, ...] = Field(default=(), description="of tags; those of keys and users are set by the admin API")
    alerts: tuple[AlertConfig, ...] = Field(default=(), description="beside the built-in rules; those of a kind named here replace its own")
    alert_webhook: AlertWebhookConfig = AlertWebhookConfig()
    security: SecurityConfig = SecurityConfig()


def json_schema() -> dict[str, Any]:
    """The JSON schema of the configuration file."""
    schema = Config.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "NeuroRoute configuration"}
