"""The bodies of the admin API: what may be sent, with its bounds. Their JSON schema stands in /openapi.json."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from neuroroute.core.gate import network, route, written
from neuroroute.core.types import Limits, Role
from neuroroute.store.columns import Budget


def _aware(moment: datetime) -> datetime:
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("must lie between the years 1 and 9999 in UTC") from None


def _printable(text: str) -> str:
    if not text.strip() or any(ord(char) < 32 for char in text):
        raise ValueError("must hold visible text without control characters")
    return text.strip()


Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]
Email = Annotated[str, Field(max_length=254, pattern=r"^[^@\s\x00-\x1f]+@[^@\s\x00-\x1f]+$")]
Moment = Annotated[datetime, AfterValidator(_aware)]
ModelNames = Annotated[list[Annotated[str, Field(min_length=1, max_length=256)]], Field(max_length=500)]
Routes = Annotated[list[Annotated[str, AfterValidator(route)]], Field(min_length=1, max_length=100)]
Networks = Annotated[list[Annotated[str, AfterValidator(lambda text: written(network(text)))]], Field(min_length=1, max_length=200)]
Tags = Annotated[dict[Annotated[str, Field(min_length=1, max_length=64)], Annotated[str, Field(max_length=256)]], Field(max_length=16)]


class _Body(BaseModel):
    model_config = ConfigDict(defer_build=True, extra="forbid", hide_input_in_errors=True)


class LimitsBody(_Body):
    """Per minute, or at once. null: the default applies; 0: unlimited."""

    requests_per_minute: Annotated[int, Field(ge=0, le=10**9)] | None = None
    tokens_per_minute: Annotated[int, Field(ge=0, le=10**12)] | None = None
    concurrency: Annotated[int, Field(ge=0, le=10**6)] | None = None

    def limits(self) -> Limits:
        return Limits(self.requests_per_minute, self.tokens_per_minute, self.concurrency)


class BudgetBody(_Body):
    """Money that may be spent per calendar period (UTC), or in all. when_spent: `refuse`, or `policy:<name>`: `auto` goes on by that policy."""

    usd: Annotated[float, Field(ge=0, le=1e9)]
    period: Literal["day", "week", "month", "total"] = "month"
    when_spent: Annotated[str, Field(max_length=80, pattern=r"^(refuse|policy:[^\x00-\x1f]+)$")] = "refuse"

    def budget(self) -> Budget:
        return Budget(self.usd, self.period, self.when_spent)


class UserCreate(_Body):
    name: Name
    email: Email | None = None
    role: Role = Role.USER
    limits: LimitsBody = LimitsBody()
    budget: BudgetBody | None = None


class UserUpdate(_Body):
    """Fields that are left out stay as they are."""

    name: Name | None = None
    email: Email | None = None
    role: Role | None = None
    status: Literal["active", "disabled"] | None = None
    limits: LimitsBody | None = None
    budget: BudgetBody | None = None


OnDisconnect = Literal["cancel", "finish", "detach"]


class KeyCreate(_Body):
    """
    user_id: whose key it is; default: the caller's own. allowed_models: null = all; names, `provider/*` and `auto` names. allowed_routes: paths as
    `/v1/chat/completions`, or with `*` at the end all that begin so; allowed_ips: addresses and networks of clients; null = all.

    on_disconnect: what a cut line does to a stream: `cancel` stops the provider; `finish` lets it end, for the cache and the books; `detach` also keeps
    the stream to come back to, as `neuroroute.resumable` does for one call. semantic_cache: whether answers to like questions serve; null = as configured.
    store_prompts: false = no text of its calls is kept, also where STORE_PROMPTS is on.
    """

    name: Name
    user_id: Annotated[str, Field(max_length=64)] | None = None
    allowed_models: ModelNames | None = None
    allowed_routes: Routes | None = None
    allowed_ips: Networks | None = None
    limits: LimitsBody | None = None
    budget: BudgetBody | None = None
    expires_at: Moment | None = None
    tags: Tags = Field(default_factory=dict)
    on_disconnect: OnDisconnect = "cancel"
    semantic_cache: bool | None = None
    store_prompts: bool = True


class KeyUpdate(_Body):
    """Fields that are left out stay as they are; null takes a bound away."""

    name: Name | None = None
    allowed_models: ModelNames | None = None
    allowed_routes: Routes | None = None
    allowed_ips: Networks | None = None
    limits: LimitsBody | None = None
    budget: BudgetBody | None = None
    expires_at: Moment | None = None
    tags: Tags | None = None
    on_disconnect: OnDisconnect | None = None
    semantic_cache: bool | None = None
    store_prompts: bool | None = None


class KeyRotate(_Body):
    """overlap_s: how long the old key still works."""

    overlap_s: Annotated[int, Field(ge=0, le=30 * 86400)] = 0


Comment = Annotated[str, Field(max_length=1000)]


class SilenceCreate(_Body):
    """name: of a rule, null = all; subject: what its alerts are about (a provider, a budget, a machine), null = all. for_s: how long, in seconds."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "memory", "for_s": 3600, "comment": "more memory comes tonight"}]})

    name: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    subject: Annotated[str, Field(max_length=256)] | None = None
    for_s: Annotated[int, Field(ge=60, le=30 * 86400)]
    comment: Comment = ""


VersionNumber = Annotated[int, Field(ge=0, le=2**53)]


class ConfigMeta(_Body):
    """What may stand beside a change. after: the version that it was made from."""

    comment: Comment = ""
    after: VersionNumber | None = None


class ConfigRollback(ConfigMeta):
    """version: the one to go back to; 0 = before the first change."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"version": 3, "comment": "the cheap policy was too cheap", "after": 5}]})

    version: VersionNumber
