"""Plain data passed between floors. No behaviour beyond arithmetic, no I/O."""

from collections.abc import AsyncIterable, Callable, Mapping
from enum import StrEnum
from typing import Any

from neuroroute.core.dataclass import dataclass, field
from neuroroute.core.gate import Gate
from neuroroute.core.money import Budget

LABELS = (
    "code", "math", "reasoning", "writing", "roleplay", "rewriting", "summarization",
    "extraction", "classification", "translation", "factual_qa", "advice", "chat",
)  # fmt: skip
"""The task labels, in the order of every posterior."""

ABILITIES = ("tools", "vision", "audio", "files", "json_schema", "reasoning")
"""What a request may need and a model may have."""


class Dialect(StrEnum):
    """What a client speaks, by endpoint."""

    CHAT = "chat"  # /v1/chat/completions
    RESPONSES = "responses"  # /v1/responses
    MESSAGES = "messages"  # /v1/messages
    COMPLETIONS = "completions"  # /v1/completions
    EMBEDDINGS = "embeddings"  # /v1/embeddings
    PASS = "pass"  # any other /v1 path: bytes pass to the provider


class Protocol(StrEnum):
    """What a provider speaks."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    DEMO = "demo"


class Role(StrEnum):
    ADMIN = "admin"
    USER = "user"
    VIEWER = "viewer"


@dataclass(frozen=True, slots=True)
class Price:
    """
    USD per million tokens, held as integers of 10^-9 USD so that sums are exact. None = not known (never 0).

    image, minute, characters: of what is not sold by tokens: one image, a minute of sound, a million characters to be spoken.
    """

    input_nanousd: int
    output_nanousd: int
    cached_input_nanousd: int | None = None  # None: cached tokens cost as much as others
    cache_write_nanousd: int | None = None
    image_nanousd: int | None = None
    minute_nanousd: int | None = None
    characters_nanousd: int | None = None

    @classmethod
    def of(
        cls, input: float, output: float, cached_input: float | None = None, cache_write: float | None = None, **units: float | None
    ) -> "Price":
        """Price.of(0.15, 0.60, 0.075): USD per million tokens, as price lists give them. units: image, minute, characters."""
        nano = [None if usd is None else round(usd * 1e9) for usd in (cached_input, cache_write)]
        by_unit = {f"{unit}_nanousd": None if usd is None else round(usd * 1e9) for unit, usd in units.items()}
        return cls(round(input * 1e9), round(output * 1e9), nano[0], nano[1], **by_unit)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. first_byte_s: from the request sent to the first byte of the answer; idle_s: silence inside an answer."""

    connect_s: float = 5.0
    first_byte_s: float = 60.0
    idle_s: float = 60.0
    total_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Provider:
    """Where a model is served: base URL + credentials. `base_url` ends without a slash; for openai it includes /v1, for anthropic not."""

    name: str
    protocol: Protocol
    base_url: str
    api_key: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeouts: Timeouts = field(default_factory=Timeouts)
    speaks: frozenset[Dialect] = frozenset({Dialect.CHAT, Dialect.EMBEDDINGS, Dialect.COMPLETIONS, Dialect.PASS})
    discover: bool = False
    prompt_cache: bool = True  # whether translated requests get marks for its prompt cache


@dataclass(frozen=True, slots=True)
class Model:
    """A public model of the catalogue. `quality` is 0..1 per task label with the key `default`; empty = unknown."""

    name: str
    provider: str
    upstream_model: str
    kind: str = "chat"  # chat, embedding, completion, image, audio, moderation
    price: Price | None = None
    context_window_tokens: int | None = None
    max_output_tokens: int | None = None
    abilities: frozenset[str] = frozenset()
    quality: Mapping[str, float] = field(default_factory=dict)
    created: int = 0  # Unix seconds
    timeouts: Timeouts | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """One upstream model at one provider: what an attempt is made against."""

    provider: Provider
    model: Model
    name: str = field(init=False, compare=False)
    """provider/model, as breakers, metrics and explanations name it."""
    origin: str = field(init=False, compare=False, repr=False)
    """Where and what it really is: what may change under its name."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", f"{self.provider.name}/{self.model.name}")
        object.__setattr__(self, "origin", f"{self.provider.protocol} {self.provider.base_url} {self.model.upstream_model}")

    @property
    def timeouts(self) -> Timeouts:
        return self.model.timeouts or self.provider.timeouts


@dataclass(slots=True)
class Usage:
    """
    Tokens of one attempt.

    prompt_tokens counts all input, the cached and the newly cached tokens included; completion_tokens all output, reasoning included.
    source: provider (reported), counted (by us, exactly), estimated (by us, roughly), corrected (by us: the report could not be), none (nothing
    was used); absurd: a report that could not be, before it is corrected.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    source: str = "none"


@dataclass(slots=True)  # not frozen, like all that is made once per call: that would make it four times as dear
class ClientRequest:
    """What a translator may know of a call. `headers` are lower-case and already reduced to those that may travel on."""

    dialect: Dialect
    raw: bytes  # the client's body, never altered
    body: dict[str, Any]  # raw, parsed; empty where the body is not JSON
    stream: bool = False
    method: str = "POST"
    path: str = "/chat/completions"  # below /v1
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    chunks: AsyncIterable[bytes] | None = None  # a large or non-JSON body, passed on as it comes; then raw is empty
    request_id: str = ""


@dataclass(slots=True)
class UpstreamRequest:
    url: str
    headers: dict[str, str] = field(repr=False)
    body: bytes | AsyncIterable[bytes] = field(repr=False)
    method: str = "POST"
    stream: bool = False


@dataclass(slots=True)
class Reply:
    """A whole answer, already in the client's dialect."""

    body: bytes
    usage: Usage = field(default_factory=Usage)
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)  # e.g. the content type of audio
    finish_reason: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """Per minute, or at once; None = the default applies, 0 = unlimited."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls: one API key and its user, as the access snapshot has them."""

    key_id: str
    user_id: str
    role: Role
    allowed_models: frozenset[str] | None = None  # None = all
    limits: Limits = Limits()
    user_limits: Limits = Limits()
    expires_at_s: float | None = None  # Unix seconds
    tags: Mapping[str, str] = field(default_factory=dict)
    on_disconnect: str = "cancel"  # what a cut line does to a stream: cancel, finish, detach
    budgets: tuple[Budget, ...] = ()  # the key's own, the user's
    semantic_cache: bool | None = None  # None: as its policy or the configuration says
    store_prompts: bool = True  # False: no text of its calls is kept
    gate: Gate | None = None  # None: may be used everywhere and from everywhere


def _no_reasons() -> tuple[str, ...]:
    return ()


@dataclass(slots=True)
class Classification:
    """
    What a request asks for.

    difficulty: 0..1, the calibrated probability that a weak model fails.
    posterior: P(label) in the order of LABELS.
    language: ISO 639-1, or "und".
    prompt_tokens: estimated tokens of the whole input.
    reasons: tells what in the prompt spoke for the label.
    """

    label: str
    confidence: float
    difficulty: float
    language: str
    abilities: frozenset[str]
    prompt_tokens: int
    posterior: tuple[float, ...] = ()
    abstained: bool = False
    reasons: Callable[[], tuple[str, ...]] = _no_reasons
