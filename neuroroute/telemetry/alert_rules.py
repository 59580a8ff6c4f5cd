"""
What alerts watch for, and when one begins and ends. No I/O, no clock: figures and times come in.

A rule compares one figure for each of its subjects (the gateway as a whole, a provider, a budget, a machine). Above its bound it is *pending*,
and after `for_s` it *fires*; it is *resolved* at `below`, which lies lower, so that a figure that trembles around the bound makes one alert.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from neuroroute.core.config.alerts import AlertConfig
from neuroroute.core.dataclass import dataclass
from neuroroute.core.settings import Settings


@dataclass(frozen=True, slots=True)
class Kind:
    """What a rule looks at. above: the built-in bound, or the setting that has it; margin: `below` as a share of `above`."""

    name: str
    unit: str
    meaning: str
    above: float | str
    for_s: float = 60.0
    margin: float = 0.9


KINDS: Final[Mapping[str, Kind]] = {
    kind.name: kind
    for kind in (
        Kind("error_rate", "%", "failed calls that are no client's fault, of all calls of the window", "alert_error_percent"),
        Kind("overhead_ms", "ms", "95th percentile of the gateway's own time", "alert_overhead_ms"),
        Kind("response_ms", "ms", "95th percentile of the time of whole calls", "alert_response_ms"),
        Kind("memory", "%", "memory of a machine or container in use", "alert_memory_percent"),
        Kind("cpu", "%", "CPU of a machine or container in use, over a minute", "alert_cpu_percent", for_s=120.0),
        Kind("budget", "%", "how much of a budget is spent in its period", "alert_budget_percent", for_s=0.0, margin=1.0),
        Kind("provider_down", "", "models of a provider whose breaker is open, and lists that it fails to give", 0.0, for_s=30.0),
        Kind("journal_lag", "s", "how long the oldest usage record waits for the database", 60.0, for_s=0.0, margin=0.1),
        Kind("journal_full", "", "workers whose journal has no space on the disk: they refuse calls", 0.0, for_s=0.0),
        Kind("spend_anomaly", "x", "spend of this hour: how many usual deviations above the same hour of past weeks", 6.0, for_s=0.0),
    )
}


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule in effect."""

    name: str
    kind: Kind
    above: float
    below: float
    for_s: float
    window_s: float = 300.0
    scope: str = "all"
    min_calls: int = 20
    min_usd: float = 1.0


class Figure(NamedTuple):
    """detail: what a person wants to know beside the number; may be empty."""

    value: float
    detail: str = ""


Figures = Mapping[str, Mapping[str, Figure] | None]
"""By rule name: the figure of each subject; a subject that is missing is well. None: nothing is known now, and all stays as it is."""


@dataclass(slots=True)
class Watched:
    """One subject of one rule. since_s: when it became pending, or began to fire."""

    rule: Rule
    subject: str
    state: str  # ok, pending, firing
    value: float
    since_s: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """An alert begins or ends. value: None where the figure is gone, or its rule."""

    rule: Rule
    subject: str
    fires: bool
    value: float | None
    detail: str = ""


_BUDGET_SPENT: Final[Mapping[str, object]] = {"rule": "budget", "name": "budget spent", "above": 100.0}
"""Who was told that it is nearly spent wants to hear that it is."""


def rules_of(configured: Sequence[AlertConfig], settings: Settings) -> tuple[Rule, ...]:
    """The configuration's rules, and the built-in ones of all kinds that it does not mention."""
    mentioned = {entry.rule for entry in configured}
    built_in: list[Mapping[str, object]] = [{"rule": kind} for kind in KINDS]
    if settings.alert_budget_percent < 100.0:
        built_in.append(_BUDGET_SPENT)
    entries = [*configured, *(AlertConfig.model_validate(entry) for entry in built_in if entry["rule"] not in mentioned)]
    rules: dict[str, Rule] = {}
    for entry in entries:
        if entry.enabled:
            rule = _rule(entry, settings, rules)
            rules[rule.name] = rule
    return tuple(rules.values())


def _rule(entry: AlertConfig, settings: Settings, taken: Mapping[str, Rule]) -> Rule:
    kind = KINDS[entry.rule]
    above = entry.above
    if above is None:
        above = kind.above if isinstance(kind.above, float) else float(getattr(settings, kind.above))
    base = entry.name or (kind.name if entry.scope == "all" else f"{kind.name} by {entry.scope}")
    name, number = base, 2
    while name in taken:
        name, number = f"{base} #{number}", number + 1
    below = entry.below if entry.below is not None else above * kind.margin
    for_s = entry.for_s if entry.for_s is not None else kind.for_s
    return Rule(name, kind, above, below, for_s, entry.window_s, entry.scope, entry.min_calls, entry.min_usd)


class Board:
    """How all subjects of all rules stand."""

    def __init__(self) -> None:
        self._watched: dict[tuple[str, str], Watched] = {}

    @property
    def firing(self) -> list[Watched]:
        return [one for one in list(self._watched.values()) if one.state == "firing"]

    def adopt(self, rule: Rule, subject: str, value: float, now_s: float) -> None:
        """It fires already: another process said so."""
        self._watched[rule.name, subject] = Watched(rule, subject, "firing", value, now_s)

    def clear(self) -> None:
        self._watched.clear()

    def judge(self, rules: Sequence[Rule], figures: Figures, now_s: float) -> list[Change]:
        """What begins and ends with these figures."""
        changes: list[Change] = []
        named = {rule.name: rule for rule in rules}
        for place, one in list(self._watched.items()):
            if place[0] not in named:  # the rule was taken out of the configuration
                del self._watched[place]
                if one.state == "firing":
                    changes.append(Change(one.rule, one.subject, False, None))
        for rule in rules:
            found = figures.get(rule.name)
            if found is None:
                continue
            here = {subject for name, subject in self._watched if name == rule.name}
            for subject in dict.fromkeys([*found, *here]):
                changes += self._one(rule, subject, found.get(subject), now_s)
        return changes

    def _one(self, rule: Rule, subject: str, figure: Figure | None, now_s: float) -> Iterable[Change]:
        place = rule.name, subject
        one = self._watched.get(place)
        if figure is None:
            self._watched.pop(place, None)
            if one is not None and one.state == "firing":
                yield Change(rule, subject, False, None)
            return
        if one is None:
            one = self._watched[place] = Watched(rule, subject, "ok", figure.value, now_s)
        one.rule, one.value, one.detail = rule, figure.value, figure.detail
        if one.state == "firing":
            if figure.value <= rule.below:
                one.state, one.since_s = "ok", now_s
                yield Change(rule, subject, False, figure.value, figure.detail)
        elif figure.value <= rule.above:
            one.state = "ok"
        else:
            if one.state == "ok":
                one.state, one.since_s = "pending", now_s
            if now_s - one.since_s >= rule.for_s:
                one.state, one.since_s = "firing", now_s
                yield Change(rule, subject, True, figure.value, figure.detail)

    def as_data(self, rules: Sequence[Rule], now_s: float) -> list[dict[str, Any]]:
        """How the rules stand, for pages: each with its worst subjects."""
        return [
            {
                "name": rule.name,
                "rule": rule.kind.name,
                "meaning": rule.kind.meaning,
                "unit": rule.kind.unit,
                "above": rule.above,
                "below": rule.below,
                "for_s": rule.for_s,
                "scope": rule.scope,
                "state": max([one.state for one in here], key=_STATES.index, default="ok"),
                "subjects": [
                    {
                        "subject": one.subject,
                        "state": one.state,
                        "value": round(one.value, 3),
                        "since_s": round(now_s - one.since_s, 1) if one.state != "ok" else None,
                        "detail": one.detail,
                    }
                    for one in sorted(here, key=lambda one: (-_STATES.index(one.state), -one.value))[:_SHOWN]
                ],
            }
            for rule in rules
            for here in [[one for (name, _), one in self._watched.items() if name == rule.name]]
        ]


_STATES: Final = ("ok", "pending", "firing")
_SHOWN: Final = 20
