"""
Which limits hold for a key in an endpoint group.

They change only with the key or the settings, so the list is made at the key's first call and kept.
"""

from typing import Final

from neuroroute.core.dataclass import dataclass
from neuroroute.core.settings import Settings
from neuroroute.core.types import Limits, Principal
from neuroroute.limits.concurrency import Cap
from neuroroute.limits.rate import Check, Unit

_KEPT_KEYS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Rules:
    """What one key is held to in one endpoint group. fewest_tokens: the smallest of the limits on tokens; 0 = there is none."""

    principal: Principal
    checks: tuple[Check, ...]
    caps: tuple[Cap, ...]
    fewest_tokens: int


class LimitRules:
    """The rules of every key, made at its first call. `overall` are the limits of the gateway as a whole."""

    def __init__(self, settings: Settings, overall: Limits = Limits()) -> None:
        self._overall = overall
        self._defaults = {
            "v1": (settings.rate_limit_max, settings.rate_limit_window / 1000),
            "prompt": (settings.prompt_rate_limit_max, settings.prompt_rate_limit_window / 1000),
            "admin": (settings.admin_rate_limit_max, settings.admin_rate_limit_window / 1000),
        }
        self._kept: dict[tuple[str, str], Rules] = {}

    def configure(self, overall: Limits) -> None:
        """Other limits of the gateway as a whole."""
        if overall != self._overall:
            self._overall = overall
            self._kept.clear()

    def of(self, principal: Principal, group: str) -> Rules:
        rules = self._kept.get((principal.key_id, group))
        if rules is None or rules.principal is not principal:
            if len(self._kept) >= _KEPT_KEYS:
                self._kept.clear()
            rules = self._kept[principal.key_id, group] = self._make(principal, group)
        return rules

    def _make(self, p: Principal, group: str) -> Rules:
        checks: list[Check] = []
        caps: list[Cap] = []
        own = (("key", p.key_id, p.limits), ("user", p.user_id, p.user_limits), ("global", "all", self._overall))
        for scope, subject, limits in own if group != "admin" else ():
            if limits.requests_per_minute:
                checks.append(Check(scope, subject, limits.requests_per_minute))
            if limits.tokens_per_minute:
                checks.append(Check(scope, subject, limits.tokens_per_minute, unit=Unit.TOKENS))
            if limits.concurrency:
                caps.append(Cap(scope, subject, limits.concurrency))
        overridden = p.limits.requests_per_minute is not None or p.user_limits.requests_per_minute is not None
        most, window_s = self._defaults[group]
        if most and not (group == "v1" and overridden):
            checks.append(Check(f"group:{group}", p.key_id, most, window_s))
        return Rules(p, tuple(checks), tuple(caps), min([check.limit for check in checks if check.is_tokens], default=0))
