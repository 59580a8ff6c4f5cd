"""
Settings: what the environment says, checked once at the start.

Every variable is a field of `Settings`; its type says what is allowed, its description what it means, its group where the README lists it.
An empty variable counts as unset, an unknown one is ignored. `read` reports all faults together, one line each.
"""

import os
import re
import sys
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_origin

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo

from neuroroute.core.dataclass import dataclass

MASK: Final = "***"
_MIB: Final = 1024 * 1024
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)
_POWERS: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def _size(value: object) -> object:
    """`20 MiB`, `256MB`, `1024` -> bytes."""
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value.strip())
    if match is None:
        raise ValueError("not a size")
    number, power, binary = match.groups()
    return int(float(number) * (1024 if binary else 1000) ** _POWERS[power.lower()])


def _comma_list(value: object) -> object:
    return tuple(part for part in (piece.strip() for piece in value.split(",")) if part) if isinstance(value, str) else value


def _origin(value: str) -> str:
    if value != "*" and not re.fullmatch(r"https?://[^/\s,*]+", value):
        raise ValueError("not an origin")
    return value


def _network(value: object) -> object:
    return ip_network(value, strict=False) if isinstance(value, str) else value


def _lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def _web_url(value: str) -> str:
    if not re.fullmatch(r"https?://[^/\s]+(/\S*)?", value):
        raise ValueError("not a URL")
    return value.rstrip("/")


def _postgres_url(value: str) -> str:
    if not re.fullmatch(r"postgres(ql)?://\S+", value):
        raise ValueError("not a PostgreSQL URL")
    return value


def _redis_url(value: str) -> str:
    if not re.fullmatch(r"(rediss?(\+cluster)?|unix)://\S+", value):
        raise ValueError("not a Redis URL")
    return value


def _route(value: str) -> str:
    if not re.fullmatch(r"/[A-Za-z0-9._~/-]*[A-Za-z0-9._~-]", value):
        raise ValueError("not a path")
    return value


@dataclass(frozen=True, slots=True)
class Check:
    """What a text must be, in words and as a function. Marks a field's type; see `allowed_of`."""

    allowed: str


WebUrl = Annotated[str, Check("a URL that begins with http:// or https://"), BeforeValidator(lambda v: _web_url(str(v).strip()))]
PostgresUrl = Annotated[str, Check("a URL that begins with postgresql://"), BeforeValidator(lambda v: _postgres_url(str(v).strip()))]
RedisUrl = Annotated[
    str,
    Check("a URL that begins with redis://, rediss://, redis+cluster://, rediss+cluster:// or unix://"),
    BeforeValidator(lambda v: _redis_url(str(v).strip())),
]
Route = Annotated[str, Check("a path that begins with / and does not end with it"), BeforeValidator(lambda v: _route(str(v).strip()))]
Size = Annotated[int, Check("a size such as 1048576, 20 MiB or 256MB"), BeforeValidator(_size)]
Origins = Annotated[
    tuple[Annotated[str, BeforeValidator(lambda v: _origin(str(v)))], ...],
    Check("origins such as https://app.example.com with commas between, or *"),
    BeforeValidator(_comma_list),
]
Networks = Annotated[
    tuple[Annotated[IPv4Network | IPv6Network, BeforeValidator(_network)], ...],
    Check("addresses or networks such as 10.0.0.0/8 with commas between"),
    BeforeValidator(_comma_list),
]
LogLevel = Annotated[Literal["error", "warn", "info", "debug", "trace"], BeforeValidator(_lower)]
Environment = Annotated[Literal["development", "test", "production"], BeforeValidator(_lower)]
CacheStrategy = Annotated[Literal["default", "aggressive", "minimal", "none"], BeforeValidator(_lower)]


def default_data_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """The platform's folder for a user's data: ~/.local/share/neuroroute on Linux."""
    home = Path(environ.get("HOME") or environ.get("USERPROFILE") or Path.home())
    if sys.platform == "darwin":
        return home / "Library" / "Application Support" / "neuroroute"
    if sys.platform == "win32":
        return Path(environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "neuroroute"
    xdg = environ.get("XDG_DATA_HOME", "")
    return (Path(xdg) if xdg.startswith("/") else home / ".local" / "share") / "neuroroute"


def _setting(group: str, meaning: str, default: Any = None, *, secret: bool = False, aliases: tuple[str, ...] = (), **bounds: Any) -> Any:
    """A field: its README group, what it means, its default; `aliases` are all names of the variable, if it has several."""
    names = AliasChoices(*aliases) if aliases else None
    extra: dict[str, Any] = {"group": group, "secret": secret}
    return Field(default, description=meaning, repr=not secret, validation_alias=names, json_schema_extra=extra, **bounds)


class Settings(BaseModel):
    """One attribute for each variable, named like it in lower case. `model_fields_set` tells which ones the environment set."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True, allow_inf_nan=False, hide_input_in_errors=True)

    node_env: Environment = _setting(
        "server",
        "What this instance is for; `APP_ENV` is read too. `production`: the start and `doctor` tell what is not fit for it",
        "development",
        aliases=("node_env", "app_env"),
    )
    port: int = _setting("server", "Port to listen on; 0 takes a free one", 3000, ge=0, le=65535)
    host: str = _setting("server", "Address to listen on", "0.0.0.0", min_length=1)
    log_level: LogLevel = _setting("server", "Least severity that is logged", "info")
    api_url: WebUrl = _setting(
        "server", "Where clients reach the gateway: used in the banner, the pages and the OpenAPI document", "http://localhost:3000"
    )
    workers: int = _setting("server", "Worker processes that share the port", 1, ge=1, le=256)
    max_body_bytes: Size = _setting("server", "Largest request body; a larger one is refused unread with 413", 20 * _MIB, ge=1024)
    max_running_calls: int = _setting("server", "Calls at once of one worker; beyond it 503 with Retry-After; 0 = any number", 4000, ge=0)
    overload_lag_ms: float = _setting(
        "server",
        "Lag of a worker's loop that, staying for 4 s, makes it shed calls by priority until it is a quarter; 0 = never",
        100.0,
        ge=0,
    )
    shutdown_grace_s: float = _setting("server", "Seconds that running calls get to finish at shutdown", 30.0, ge=0, le=86400)
    trusted_proxies: Networks = _setting("server", "Proxies whose `X-Forwarded-*` headers are believed", ())
    cors_origins: Origins = _setting("server", "Origins whose pages may call the API from a browser", ())

    database_url: PostgresUrl | None = _setting(
        "database", "PostgreSQL server; unset: an embedded one under the data directory", secret=True
    )
    db_pool_min: int = _setting("database", "Connections kept open by each worker", 2, ge=0, le=1000)
    db_pool_max: int = _setting("database", "Most connections of each worker", 10, ge=1, le=1000)
    db_slow_query_threshold: float = _setting("database", "Milliseconds from which a query is logged as slow; 0 = never", 500.0, ge=0)
    auto_migrate: bool = _setting("database", "Run migrations at the start", True)

    redis_url: RedisUrl | None = _setting(
        "cache", "Redis or Valkey, one or a cluster, shared by all replicas; unset: cache and limits live in the process", secret=True
    )
    enable_cache: bool = _setting("cache", "Answer equal requests from the cache", True)
    cache_ttl: int = _setting("cache", "Seconds that an answer is kept", 300, ge=0, le=31_536_000)
    cache_prefix: str = _setting("cache", "What the names of all keys in Redis begin with", "cache:")
    cache_by_user: bool = _setting("cache", "false: the keys of one user share answers; true: each key has its own", False)
    cache_strategy: CacheStrategy = _setting(
        "cache",
        "`default`: no temperature or 0, one answer; `aggressive`: also sampled and tool-calling answers, 12 times as long; "
        "`minimal`: temperature 0 and short prompts alone; `none`: off",
        "default",
    )
    cache_max_bytes: Size = _setting("cache", "Memory that cached answers may take, in all workers together", 256 * _MIB, ge=0)

    rate_limit_max: int = _setting("rate limits", "Requests of a key to `/v1/*` within the window; 0 = unlimited", 100, ge=0)
    rate_limit_window: int = _setting("rate limits", "That window in milliseconds", 60_000, ge=100, le=86_400_000)
    prompt_rate_limit_max: int = _setting("rate limits", "Requests of a key to `/prompt` within the window; 0 = unlimited", 20, ge=0)
    prompt_rate_limit_window: int = _setting("rate limits", "That window in milliseconds", 60_000, ge=100, le=86_400_000)
    admin_rate_limit_max: int = _setting(
        "rate limits", "Requests of a key to `/admin` and `/dashboard` within the window; 0 = unlimited", 50, ge=0
    )
    admin_rate_limit_window: int = _setting("rate limits", "That window in milliseconds", 60_000, ge=100, le=86_400_000)

    enable_metrics: bool = _setting("monitoring", "Serve Prometheus metrics", True)
    metrics_path: Route = _setting("monitoring", "Path of the metrics", "/metrics")
    metrics_sample_rate: float = _setting(
        "monitoring", "Share of calls whose histograms are observed; counters always count", 1.0, ge=0, le=1
    )
    metrics_token: str | None = _setting("monitoring", "Bearer token that the metrics ask for; unset: none", secret=True)
    otel_exporter_otlp_endpoint: WebUrl | None = _setting(
        "monitoring", "Where traces are sent (extra `otel`); the other standard `OTEL_*` variables are read by OpenTelemetry itself"
    )
    otel_exporter_otlp_traces_endpoint: WebUrl | None = _setting("monitoring", "The same as a full URL, `/v1/traces` included")

    alert_webhook_url: WebUrl | None = _setting("alerts", "Where alerts are posted as JSON; unset: they are logged and shown", secret=True)
    alert_webhook_secret: str | None = _setting("alerts", "Signs what is posted there; unset: it is not signed", secret=True, min_length=8)
    alert_memory_percent: float = _setting("alerts", "Memory of the machine in use, percent", 90.0, ge=0, le=100)
    alert_cpu_percent: float = _setting("alerts", "CPU of the machine in use, percent", 90.0, ge=0, le=100)
    alert_response_ms: float = _setting("alerts", "95th percentile of the latency over 5 minutes, milliseconds", 30_000.0, ge=0)
    alert_overhead_ms: float = _setting("alerts", "95th percentile of the gateway's own time, milliseconds", 100.0, ge=0)
    alert_error_percent: float = _setting("alerts", "Failed calls, percent", 5.0, ge=0, le=100)
    alert_budget_percent: float = _setting("alerts", "Share of a budget that is spent, percent", 80.0, ge=0, le=100)

    enable_swagger: bool = _setting("API docs", "Serve the API documentation", True)
    swagger_route: Route = _setting("API docs", "Path of the documentation", "/documentation")

    openai_api_key: str | None = _setting("providers", "Key of OpenAI, or of the service behind `OPENAI_BASE_URL`", secret=True)
    anthropic_api_key: str | None = _setting("providers", "Key of Anthropic, or of the service behind `ANTHROPIC_BASE_URL`", secret=True)
    lmstudio_api_url: WebUrl = _setting("providers", "LM Studio; asked at the start whether it is there", "http://localhost:1234/v1")
    openai_base_url: WebUrl | None = _setting("providers", "Another address than OpenAI's, with `/v1`")
    anthropic_base_url: WebUrl | None = _setting("providers", "Another address than Anthropic's, without `/v1`")

    upstream_connect_timeout_s: float = _setting("upstream", "Seconds to connect to a provider", 5.0, gt=0, le=600)
    upstream_first_byte_timeout_s: float = _setting(
        "upstream", "Seconds from the request sent to the first byte of the answer", 60.0, gt=0, le=86400
    )
    upstream_idle_timeout_s: float = _setting("upstream", "Seconds of silence inside an answer", 60.0, gt=0, le=86400)
    upstream_total_timeout_s: float = _setting("upstream", "Seconds for a whole attempt", 600.0, gt=0, le=86400)
    upstream_max_retries: int = _setting("upstream", "Further attempts of a call after the first one", 2, ge=0, le=10)
    retry_budget: float = _setting("upstream", "Further attempts as a share of calls", 0.2, ge=0, le=1)
    breaker_failures: int = _setting("upstream", "Failures in a row that take a target out", 5, ge=1, le=1000)
    breaker_open_s: float = _setting("upstream", "Seconds that it stays out before one call tries it", 10.0, gt=0, le=3600)

    header_timeout_s: float = _setting("clients", "Seconds for the head of a request to arrive", 10.0, gt=0, le=600)
    body_timeout_s: float = _setting("clients", "Seconds of silence inside the body of a request", 30.0, gt=0, le=600)
    slow_client_timeout_s: float = _setting("clients", "Seconds until a reader that takes nothing is cut off", 30.0, gt=0, le=3600)
    keepalive_comment_s: float = _setting(
        "clients", "Seconds of silence after which a stream gets a comment line; 0 = never", 15.0, ge=0, le=3600
    )
    auth_stale_max_s: float = _setting("clients", "Seconds that known keys work without the database", 86_400.0, ge=0)

    neuroroute_data_dir: Path = Field(
        default_factory=default_data_dir,
        description="Folder of the embedded database, the admin key and the journal",
        json_schema_extra={"group": "product", "secret": False, "default": "the platform's folder for a user's data"},
    )
    neuroroute_config: Path | None = _setting("product", "Configuration file (YAML)")
    neuroroute_admin_key: str | None = _setting(
        "product", "First admin key; unset: one is made and kept in `admin.key`", secret=True, min_length=8
    )
    neuroroute_secret_key: str | None = _setting(
        "product", "Encrypts provider keys kept in the database; unset: one is made and kept in `secret.key`", secret=True, min_length=16
    )
    neuroroute_demo: bool = _setting("product", "Offer the `demo` provider beside real ones", False)
    store_prompts: bool = _setting(
        "product", "Keep the text of prompts and answers, for admins and the caller; a key and a call may opt out", False
    )
    store_prompts_days: float = _setting("product", "Days that they are kept", 30.0, gt=0, le=3650)
    store_prompts_masked: bool = _setting(
        "product", "Mask credentials, e-mail addresses, card, account and telephone numbers before they are kept", True
    )

    @model_validator(mode="after")
    def _pool_in_order(self) -> "Settings":
        if self.db_pool_min > self.db_pool_max:
            raise ValueError(f"DB_POOL_MIN={self.db_pool_min}: at most DB_POOL_MAX, which is {self.db_pool_max}")
        return self


class SettingsFaulty(Exception):
    """Settings that can not be used. `faults`: one line each: variable, value (secrets masked), what is allowed."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


def read(environ: Mapping[str, str] = os.environ, /, **overrides: object) -> Settings:
    """
    The settings of this environment. `overrides` are attributes that win over it, such as those of the command line; None = not given.

    Raises: SettingsFaulty with every fault.
    """
    found: dict[str, object] = {name.lower(): value for name, value in environ.items() if value.strip() and name == name.upper()}
    found |= {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings.model_validate(found)
    except ValidationError as error:
        raise SettingsFaulty(list(_faults(error, found))) from None


def _faults(error: ValidationError, found: Mapping[str, object]) -> Iterator[str]:
    told = set()
    for fault in error.errors(include_url=False, include_input=False):
        if not fault["loc"]:
            yield str(fault["ctx"]["error"] if "ctx" in fault else fault["msg"])
            continue
        name = _field_name(str(fault["loc"][0]))
        if name not in told:
            told.add(name)
            field = Settings.model_fields[name]
            variable = next((key for key in _variables(name, field) if key in found), name)
            value = MASK if _extra(field, "secret") else str(found.get(variable, ""))
            yield f"{variable.upper()}={value}: {allowed_of(field)}"


def _field_name(location: str) -> str:
    return (
        location if location in Settings.model_fields else next(n for n, f in Settings.model_fields.items() if location in _variables(n, f))
    )


def _variables(name: str, field: FieldInfo) -> tuple[str, ...]:
    choices = field.validation_alias
    return tuple(str(choice) for choice in choices.choices) if isinstance(choices, AliasChoices) else (name,)


def _extra(field: FieldInfo, key: str) -> Any:
    extra = field.json_schema_extra
    return extra.get(key) if isinstance(extra, dict) else None


def child_environment(**overrides: object) -> dict[str, str]:
    """The environment of a child process: ours, with these attributes set; None = not given."""
    given = {name.upper(): str(value) for name, value in overrides.items() if value is not None}
    return {**os.environ, **given}


def load_env_file(path: Path) -> None:
    """Take the `NAME=value` lines of a .env file into the environment; what is already set stays. No file, no change."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, IsADirectoryError, PermissionError):
        return
    for line in lines:
        match = re.fullmatch(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*", line)
        if match is None:
            continue
        name, value = match.groups()
        quoted = re.fullmatch(r"(['\"])(.*)\1(?:\s+#.*)?", value)
        os.environ.setdefault(name, quoted.group(2) if quoted else re.split(r"\s+#", value, maxsplit=1)[0])


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the settings table. `value` is None where no settings were given."""

    group: str
    variable: str
    default: str
    allowed: str
    meaning: str
    secret: bool
    value: str | None = None
    is_set: bool = False


def table(settings: Settings | None = None) -> list[Entry]:
    """Every variable with its default and meaning, and, of `settings`, its value (secrets masked)."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = _extra(field, "default") or _shown(field.default)
        value = None if settings is None else getattr(settings, name)
        secret = bool(_extra(field, "secret"))
        rows.append(
            Entry(
                group=str(_extra(field, "group")),
                variable=name.upper(),
                default=str(default),
                allowed=allowed_of(field),
                meaning=str(field.description),
                secret=secret,
                value=None if settings is None else (MASK if secret and value else _shown(value)),
                is_set=settings is not None and name in settings.model_fields_set,
            )
        )
    return rows


def _shown(value: object) -> str:
    if value is None or value == ():
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if isinstance(value, int) and value >= _MIB and value % _MIB == 0:
        return f"{value // _MIB} MiB"
    return f"{value:g}" if isinstance(value, float) else str(value)


def allowed_of(field: FieldInfo) -> str:
    """What a field accepts, in words."""
    kind, marks = field.annotation, list(field.metadata)
    for option in get_args(kind) if type(None) in get_args(kind) else ():
        if get_origin(option) is Annotated:
            kind, *more = get_args(option)
            marks += more
        elif option is not type(None):
            kind = option
    for mark in marks:
        if isinstance(mark, Check):
            return mark.allowed
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, get_args(kind)))
    if kind is bool:
        return "true or false"
    least, most = _bound(marks, "ge", "gt"), _bound(marks, "le", "lt")
    if kind in (int, float):
        noun = "a whole number" if kind is int else "a number"
        more_than = "more than" if any(getattr(mark, "gt", None) is not None for mark in marks) else "from"
        if least is None:
            return noun
        return (
            f"{noun} {more_than} {least:g} {'up ' if more_than == 'more than' else ''}to {most:.10g}"
            if most is not None
            else f"{noun} {more_than} {least:g} on"
        )
    length = _bound(marks, "min_length")
    return "a path" if kind is Path else f"a text of at least {length:g} characters" if length and length > 1 else "a text"


def _bound(marks: list[Any], *names: str) -> float | None:
    return next((value for mark in marks for name in names if (value := getattr(mark, name, None)) is not None), None)
