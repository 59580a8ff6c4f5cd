"""The configuration's part on alerts: `alerts`, a list of rules, and `alert_webhook`, where they are told."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Kind = Literal[
    "error_rate", "overhead_ms", "response_ms", "memory", "cpu", "budget", "provider_down", "journal_lag", "journal_full", "spend_anomaly"
]
Scope = Literal["all", "provider", "model", "key", "user", "tag", "label"]
Shape = Literal["auto", "generic", "slack"]
Value = Annotated[float, Field(ge=0, le=1e9)]

SCOPES: Final[Mapping[str, tuple[str, ...]]] = {
    "error_rate": ("all", "provider", "model"),
    "response_ms": ("all", "provider", "model"),
    "budget": ("all", "key", "user", "tag"),
    "spend_anomaly": ("all", "key", "user", "model", "provider", "label"),
}
"""Where more than `all` makes sense."""


class AlertConfig(BaseModel):
    """One alert: a figure of `rule` above `above` for `for_s` seconds. The rules of a kind given here replace the built-in one of that kind."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)

    rule: Kind
    name: Annotated[str, Field(min_length=1, max_length=100)] | None = Field(default=None, description="default: the rule, and its scope")
    enabled: bool = Field(default=True, description="false: no alert of this kind, unless another entry says so")
    above: Value | None = Field(default=None, description="default: by the ALERT_* settings")
    below: Value | None = Field(default=None, description="resolved at or below this; default: 90 % of `above`")
    for_s: Annotated[float, Field(ge=0, le=86400)] | None = Field(default=None, description="so long it must last; default: by the rule")
    window_s: Annotated[float, Field(ge=10, le=3600)] = Field(default=300.0, description="the calls that count, of rules on calls")
    scope: Scope = Field(default="all", description="what each has an alert of its own: every provider, model, key, ...")
    min_calls: Annotated[int, Field(ge=1)] = Field(default=20, description="with fewer calls in the window there is no figure")
    min_usd: Value = Field(default=1.0, description="spend_anomaly: an hour that costs less is never one")


class AlertWebhookConfig(BaseModel):
    """Where alerts are posted. None = as the settings say."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)

    url: Annotated[str | None, BeforeValidator(lambda url: url or None), Field(pattern=r"^https?://[^/\s]+(/\S*)?$")] = Field(
        default=None, repr=False, description="default: ALERT_WEBHOOK_URL"
    )
    secret: Annotated[str | None, BeforeValidator(lambda secret: secret or None)] = Field(
        default=None, repr=False, description="signs what is posted; default: ALERT_WEBHOOK_SECRET"
    )
    shape: Shape = Field(default="auto", description="auto: Slack's for hooks.slack.com, else our own")
    timeout_s: Annotated[float, Field(gt=0, le=60)] = 10.0


def faults(rules: tuple[AlertConfig, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """What is wrong with rules beyond their shape: keys, and the fault."""
    names: set[str] = set()
    for index, rule in enumerate(rules):
        scopes = SCOPES.get(rule.rule, ("all",))
        if rule.scope not in scopes:
            yield ("alerts", index, "scope"), f"one of {', '.join(scopes)} is expected for {rule.rule}"
        if rule.above is not None and rule.below is not None and rule.below > rule.above:
            yield ("alerts", index, "below"), f"at most {rule.above:g}, which is `above`, is expected"
        if rule.name is not None and rule.name in names:
            yield ("alerts", index, "name"), "a name of its own is expected; another rule has this one"
        names.add(rule.name or "")
