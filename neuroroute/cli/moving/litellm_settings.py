"""LiteLLM's settings that are no models: what is a setting of ours by another name, and what is nothing here."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from neuroroute.cli.moving.draft import Draft, number, whole

_VARIABLE: Final = re.compile(r"os\.environ/([A-Za-z_][A-Za-z0-9_]*)")
_QUIET: Final = {
    "fallbacks", "context_window_fallbacks", "content_policy_fallbacks", "default_fallbacks", "model_group_alias",  # read with the models
    "telemetry", "set_verbose", "debug_level", "json_logs", "suppress_debug_info", "enable_pre_call_checks", "cache_params", "redis_port",
    "redis_password", "return_response_headers", "supported_call_types", "store_model_in_db", "disable_spend_logs", "turn_off_message_logging",
}  # fmt: skip
"""What is carried elsewhere, or always so here."""

_SETTINGS: Final[dict[str, tuple[str, Callable[[object], float | None]]]] = {
    "num_retries": ("UPSTREAM_MAX_RETRIES", whole),
    "allowed_fails": ("BREAKER_FAILURES", whole),
    "cooldown_time": ("BREAKER_OPEN_S", number),
    "timeout": ("UPSTREAM_TOTAL_TIMEOUT_S", number),
    "request_timeout": ("UPSTREAM_TOTAL_TIMEOUT_S", number),
    "stream_timeout": ("UPSTREAM_IDLE_TIMEOUT_S", number),
    "database_connection_pool_limit": ("DB_POOL_MAX", whole),
}
_WHY: Final = {
    "enable_tag_filtering": "a rule with `when: {tag.NAME: VALUE}` chooses a model by the tags of a call or its key",
    "drop_params": "translators leave out what a model refuses; where the dialect is the same, fields pass as they are",
    "modify_params": "requests are not rewritten",
    "max_budget": "there is no budget of the gateway as a whole; set one for each user or key, or for a tag that all keys carry",
    "budget_duration": "there is no budget of the gateway as a whole",
    "default_team_settings": "callbacks for each team",
    "default_internal_user_params": "users are made by admins",
    "custom_auth": "keys are NeuroRoute's own",
    "pass_through_endpoints": "paths below /v1 pass to the provider of the named model; others are not served",
    "alerting": "set ALERT_WEBHOOK_URL, which takes JSON",
    "proxy_batch_write_at": "usage is written at once, and journalled before",
    "database_url": "NeuroRoute has tables of its own: give it another database by DATABASE_URL, or none for the embedded one",
    "enable_jwt_auth": "keys are NeuroRoute's own",
    "use_redis_transaction_buffer": "usage is journalled to disk",
    "include_cost_in_streaming_usage": "cost is in the usage records and, for whole answers, in the headers",
}
_CALLBACKS: Final = {
    "prometheus": ("METRICS_PATH", "/metrics"),
    "otel": ("OTEL_EXPORTER_OTLP_ENDPOINT", "the address of your collector (extra `otel`)"),
}


def read(draft: Draft, old: Mapping[str, Any]) -> None:
    """All sections but the models, into `draft`."""
    for section in ("litellm_settings", "router_settings", "general_settings"):
        part = old.get(section)
        for name, value in part.items() if isinstance(part, Mapping) else ():
            _one(draft, section, str(name), value)
    _cache(draft, old.get("litellm_settings"))
    variables = old.get("environment_variables")
    for name in variables if isinstance(variables, Mapping) else ():
        draft.lose(f"environment_variables.{name}", "set it in the environment of the gateway, where it is needed")
    if old.get("include"):
        draft.lose("include", "import each of the included files, or put them together first")


def _one(draft: Draft, section: str, name: str, value: object) -> None:
    where = f"{section}.{name}"
    if name in _SETTINGS:
        variable, read_as = _SETTINGS[name]
        if (found := read_as(value)) is not None:
            _set(draft, variable, f"{found:g}")
            if variable == "UPSTREAM_TOTAL_TIMEOUT_S":
                _set(draft, "UPSTREAM_FIRST_BYTE_TIMEOUT_S", f"{found:g}")
        else:
            draft.lose(where, "is no number above 0")
    elif name == "routing_strategy":
        draft.lose(
            where, f"{value}: a chain is asked in its order, passing over what is unhealthy; `auto` chooses by quality, price, latency"
        )
    elif name == "master_key":
        variable_ = _VARIABLE.fullmatch(str(value))
        draft.settings["NEUROROUTE_ADMIN_KEY"] = f"${{{variable_[1]}}}" if variable_ else "the master_key of the file"
    elif name in ("redis_url", "redis_host"):
        _set(draft, "REDIS_URL", "redis://[:PASSWORD@]HOST:PORT/0 of the same server")
    elif name in ("global_max_parallel_requests", "max_parallel_requests") and whole(value):
        draft.limits["concurrency"] = whole(value)
    elif section == "general_settings" and name in ("port", "host"):
        _set(draft, name.upper(), str(value))
    elif name == "max_request_size_mb" and (size := number(value)) is not None:
        _set(draft, "MAX_BODY_BYTES", str(int(size * 1024 * 1024)))
    elif name in ("callbacks", "success_callback", "failure_callback", "service_callback"):
        for callback in value if isinstance(value, list) else [value]:
            if str(callback) in _CALLBACKS:
                _set(draft, *_CALLBACKS[str(callback)])
            else:
                draft.lose(where, f"{callback}: usage goes to PostgreSQL, figures to /metrics, traces to OpenTelemetry")
    elif name not in _QUIET and name != "cache":
        draft.lose(where, _WHY.get(name, "has no counterpart"))


def _cache(draft: Draft, settings: object) -> None:
    part = settings if isinstance(settings, Mapping) else {}
    params = part.get("cache_params")
    params = params if isinstance(params, Mapping) else {}
    if part.get("cache") is not True:
        _set(draft, "ENABLE_CACHE", "false")
        draft.note("litellm_settings.cache", "LiteLLM kept no answers; ENABLE_CACHE=false keeps it so")
        return
    if (ttl_s := whole(params.get("ttl"))) is not None:
        draft.cache["ttl_s"] = min(ttl_s, 31_536_000)
    kind = str(params.get("type") or "redis")
    if kind.startswith("redis"):
        _set(draft, "REDIS_URL", "redis://[:PASSWORD@]HOST:PORT/0 of the same server")
    elif kind != "local":
        draft.lose("litellm_settings.cache_params.type", f"{kind}: answers are kept in the process and in Redis")
    if "semantic" in kind:
        draft.lose("litellm_settings.cache_params", "answers to questions of the same meaning: see cache.semantic")
    draft.note("litellm_settings.cache", "answers are kept for each user; cache.share: everyone shares them as LiteLLM does")


def _set(draft: Draft, variable: str, value: str) -> None:
    draft.settings.setdefault(variable, value)
