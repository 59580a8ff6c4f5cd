"""What routing is asked and what it answers: plain data, shared by strategies, router and explain."""

from collections.abc import Mapping
from enum import StrEnum

from neuroroute.core.dataclass import dataclass, field
from neuroroute.core.types import Classification, Dialect, Principal, Target
from neuroroute.core.value import Aim
from neuroroute.routing.catalog import Entry


class Gate(StrEnum):
    """Facts that close a model for a call."""

    KIND = "kind"  # not made for this endpoint
    ENDPOINT = "endpoint"  # its provider does not serve this endpoint, and nobody translates it
    ACCESS = "access"  # the key may not use it
    POLICY = "policy"  # the policy is confined to others
    ALLOW = "allow"  # not in the caller's allow list
    DENY = "deny"  # in the caller's deny list
    TOOLS = "tools"
    VISION = "vision"
    AUDIO = "audio"
    FILES = "files"
    JSON_SCHEMA = "json_schema"
    REASONING = "reasoning"
    CONTEXT = "context_window"  # prompt + output do not fit
    OUTPUT = "max_output"  # it can not write that much
    PRICE = "price_unknown"  # a money bound is set and the price is not known
    COST = "max_cost_usd"
    LATENCY = "max_latency_ms"
    QUALITY = "quality_floor"
    HEALTH = "health"  # its breaker is open
    STALLED = "stalled"  # it stalled in this conversation: a better one is due


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the caller set for this one call; None and empty = not set. `allow` and `deny` hold model names, `provider/*` and globs."""

    policy: str | None = None
    quality_floor: float | None = None
    max_cost_usd: float | None = None
    max_latency_ms: float | None = None
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()


NO_BOUNDS = Bounds()


@dataclass(frozen=True, slots=True)
class Thread:
    """
    What is known of the conversation that a call continues.

    target: who answered last (`Target.name`). cached_prefix_tokens: how much of this prompt its provider holds in its cache.
    tool_loop: the call brings tool results back. stalled: the last answer repeated itself, refused, broke its schema, or the user objects
    to it. raised: who answered last is there because another stalled.
    """

    target: str = ""
    cached_prefix_tokens: int = 0
    tool_loop: bool = False
    stalled: bool = False
    raised: bool = False


NEW_THREAD = Thread()


@dataclass(slots=True)
class Question:
    """
    A call, as far as routing looks at it. model: as the client wrote it, empty = auto. headers are lower-case.

    instead: a policy in place of all that name, rules, bounds and the conversation would choose, as a budget is spent.
    """

    model: str
    principal: Principal
    dialect: Dialect = Dialect.CHAT
    stream: bool = False
    max_output_tokens: int | None = None
    bounds: Bounds = NO_BOUNDS
    thread: Thread = NEW_THREAD
    tags: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    instead: str = ""


@dataclass(slots=True)
class Candidate:
    """
    One model's place in a decision.

    closed: the gates that closed it; empty = it passed all. score: its utility under the policy; admitted: within the policy's floors.
    cost_nanousd is None where the price is not known. Figures of closed candidates are those of the same forecast. learned: how many
    observations count beside the prior in `quality`; refit: the version whose refit the prior is of, 0 = the catalogue's.
    """

    entry: Entry
    quality: float
    output_tokens: float
    cost_nanousd: float | None
    latency_ms: float
    closed: tuple[Gate, ...] = ()
    score: float = 0.0
    admitted: bool = False
    learned: float = 0.0
    refit: int = 0

    @property
    def target(self) -> Target:
        return self.entry.target

    @property
    def name(self) -> str:
        return self.entry.key


@dataclass(slots=True)
class Decision:
    """
    Who answers a call, and why.

    targets: in the order in which they are to be tried, never empty. policy, aim: empty where a model was named. reason: one short sentence.
    candidates: the open ones by rank, then the closed ones; of an alias its chain, not ranked; empty where a model was named.
    baseline: what savings are counted against. explored: the probability with which a call that tries another than the best chose this one,
    among such calls; None = it does not. learned_version: of what was learned, 0 = nothing but counts on the catalogue's own priors.
    """

    requested: str
    targets: tuple[Target, ...]
    policy: str
    reason: str
    aim: Aim | None = None
    candidates: tuple[Candidate, ...] = ()
    baseline: Target | None = None
    rule: str = ""
    kept: bool = False  # the conversation kept its model against the ranking
    classification: Classification | None = None
    catalog_version: str = ""
    max_output_tokens: int | None = None
    thread: Thread = NEW_THREAD
    explored: float | None = None
    learned_version: int = 0
    escalated: bool = False  # the conversation moved to a better model than the one that stalled

    @property
    def chosen(self) -> Target:
        return self.targets[0]
