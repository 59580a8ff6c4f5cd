"""
The state of one client call, in the order in which `life.live` lets the stages write it.

A stage reads what stands above its own fields and writes its own; nothing else is shared between stages.
"""

from collections.abc import AsyncIterable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from neuroroute.caching.entry import Entry
from neuroroute.caching.policy import Plan as CachePlan
from neuroroute.chain.flight import Flight
from neuroroute.core.clock import monotonic_s
from neuroroute.core.dataclass import dataclass, field
from neuroroute.core.errors import InternalError, NeuroRouteError
from neuroroute.core.ids import new_id
from neuroroute.core.money import Reservation
from neuroroute.core.types import Classification, ClientRequest, Dialect, Principal, Target, Usage
from neuroroute.limits.concurrency import Slot
from neuroroute.limits.rate import Verdict
from neuroroute.routing.catalog import Catalog
from neuroroute.routing.decision import Decision
from neuroroute.telemetry.tracing import Trace

if TYPE_CHECKING:
    from neuroroute.chain.semantic import Asked


class Source(Protocol):
    """Where the client's body comes from, which is asked for at most once, in one of two ways."""

    async def read(self) -> bytes:
        """The whole body. Raises TooLarge, RequestTimeout, ClientGone."""
        ...

    def chunks(self) -> AsyncIterable[bytes]:
        """The body as it comes, for what is passed on without being read."""
        ...

    def address(self) -> str | None:
        """The client's address; None where its connection has none."""
        ...


class NoBody:
    """The source of a call that is made here, or whose body was read before."""

    async def read(self) -> bytes:
        return b""

    def chunks(self) -> AsyncIterable[bytes]:
        raise InternalError("This call has no body to come.")

    def address(self) -> None:
        return None


NO_BODY: Final = NoBody()


@dataclass(frozen=True, slots=True)
class Steering:
    """What the caller asked of the gateway for this one call. None = not asked."""

    policy: str | None = None
    quality_floor: float | None = None
    max_cost_usd: float | None = None
    max_latency_ms: float | None = None
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    session: str | None = None
    cache: str = "default"  # default, no-store, refresh, only
    cache_ttl_s: int | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    explain: bool = False
    resumable: bool = False
    store_prompts: bool = True  # False: the text of this call is not kept, where others are


NO_STEERING = Steering()
PAID_ELSEWHERE: Final = frozenset({"hit", "joined"})


@dataclass(slots=True)
class Conversation:
    """
    What a request says, whatever its dialect.

    prompt: the last user message's text, never stored; prompt_tokens: an estimate of the whole input; needs: of core.types.ABILITIES;
    max_output_tokens: the client's own bound. opening: what the conversation began with, by which it is known again; tool_loop: this call
    brings tool results back; repeats: the last two answers in it are the same.
    """

    prompt: str
    prompt_tokens: int
    needs: frozenset[str]
    turns: int
    max_output_tokens: int | None
    opening: str = ""
    tool_loop: bool = False
    repeats: bool = False


@dataclass(slots=True)
class Tried:
    """One try of one target. `outcome` is "ok" or the name of the error it ended in; span_id: 0 = no provider was told of one."""

    target: Target
    outcome: str
    took_s: float
    began_s: float  # monotonic
    span_id: int = 0


@dataclass(slots=True)
class Call:
    # the edge
    source: Source
    bearer: str
    started_s: float  # monotonic
    dialect: Dialect
    method: str = "POST"
    path: str = "/chat/completions"  # below /v1
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)  # the client's, names in any case
    group: str = "v1"  # endpoint group of the rate limits: v1 or prompt
    request_id: str = field(default_factory=lambda: new_id("req"))
    client_request_id: str | None = None
    # auth
    principal: Principal | None = None
    # parse
    client: ClientRequest | None = None
    requested_model: str = ""
    steering: Steering = NO_STEERING
    only_provider: str | None = None  # it keeps what this call continues
    conversation: Conversation | None = None  # read at the first question
    catalog: Catalog | None = None  # the one that this call sees from its first stage to its last
    # rate_limit
    verdict: Verdict | None = None
    slot: Slot | None = None
    # cache
    cache_key: bytes | None = None
    cache_state: str = "bypass"  # hit, miss, joined, bypass
    cache_plan: CachePlan | None = None
    kept_entry: Entry | None = None  # the answer that was found
    flight: Flight | None = None  # this call leads it: others may join
    semantic: "Asked | None" = None  # its question, for the semantic cache
    # classify
    classification: Classification | None = None
    # plan
    decision: Decision | None = None
    thread: bytes | None = None  # which conversation an `auto` call belongs to
    # reserve
    spent_policy: str = ""  # a budget is spent, and this policy chooses instead: planned once more by it
    reservation: Reservation | None = None
    # dispatch
    trace: Trace | None = None  # where its span stands; None: nobody was told of it
    tried: list[Tried] = field(default_factory=list)
    target: Target | None = None
    usage: Usage = field(default_factory=Usage)
    finish_reason: str = ""
    answer: bytes | Callable[[], str] | None = None  # the whole body, or what gives a stream's text; for learning, never stored
    upstream_s: float = 0.0  # spent waiting for providers, until the answer began (stream) or was there (whole)
    committed: bool = False  # the first byte is with the client: no more retries
    first_byte_s: float | None = None  # monotonic
    # settle
    status: int = 200
    error: NeuroRouteError | None = None
    cost_nanousd: int | None = None
    baseline_cost_nanousd: int | None = None
    laps: list[tuple[str, float]] = field(default_factory=list)  # each stage that is done, and when (monotonic)
    settled: bool = False

    def lap(self, stage: str) -> None:
        """A stage is done."""
        self.laps.append((stage, monotonic_s()))

    @property
    def stages(self) -> list[tuple[str, float]]:
        """Each stage that is done, and the seconds that it took."""
        before_s, took = self.started_s, []
        for stage, done_s in self.laps:
            took.append((stage, done_s - before_s))
            before_s = done_s
        return took

    @property
    def body(self) -> dict[str, Any]:
        """The parsed body; empty before `parse`."""
        return self.client.body if self.client is not None else {}

    @property
    def is_paid_elsewhere(self) -> bool:
        """Whether its answer was kept, or is another call's that it joined."""
        return self.cache_state in PAID_ELSEWHERE

    @property
    def outlives_client(self) -> bool:
        """Whether the stream goes on when the client's line is cut."""
        principal = self.principal
        return self.stream and (self.steering.resumable or (principal is not None and principal.on_disconnect != "cancel"))

    @property
    def stream(self) -> bool:
        return self.client is not None and self.client.stream
