"""
The operator's own rules: `when` these conditions hold, `use` this model or that policy. They come before any policy.

Conditions are facts of one call; all of a rule must hold, the first rule that fits wins. Names: `label`, `language`, `model` (as the client
wrote it; globs), `key` (key id), `user` (user id), `dialect`, `tag.<name>`, `header.<name>` (globs), `time` ("08:00-18:00", UTC, may pass
midnight), `weekday` ("mon-fri" or a list), `tokens_above`, `tokens_below`, `difficulty_above`, `difficulty_below`, `stream`.
A value may be a list: any of them.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Final

from neuroroute.core.dataclass import dataclass, field
from neuroroute.core.types import LABELS, Classification, Principal

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a rule may ask about."""

    model: str
    principal: Principal
    classification: Classification
    tags: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    dialect: str = "chat"
    stream: bool = False
    now: datetime = _EPOCH


Condition = Callable[[Facts], bool]


@dataclass(frozen=True, slots=True)
class Rule:
    """
    One rule, ready to be asked.

    use: model name or alias that answers, or empty. policy: the policy that chooses instead of the caller's, or empty.
    text: the rule as the operator reads it. names_model: it has a `model` condition, so it may also move calls that name a model.
    """

    text: str
    conditions: tuple[Condition, ...]
    use: str = ""
    policy: str = ""
    names_model: bool = False

    def fits(self, facts: Facts) -> bool:
        return all(condition(facts) for condition in self.conditions)


def rule_of(when: Mapping[str, object], use: str = "", policy: str = "") -> Rule:
    """A rule from its written form. Raises: ValueError that names the condition at fault and what is allowed."""
    if bool(use) == bool(policy):
        raise ValueError("a rule has either `use` (a model or an alias) or `policy`")
    conditions = tuple(_condition(name, value) for name, value in when.items())
    text = ", ".join(f"{name} = {_show(value)}" for name, value in when.items()) or "always"
    return Rule(f"{text} -> {use or 'policy ' + policy}", conditions, use, policy, "model" in when)


def first_fit(rules: Iterable[Rule], facts: Facts, named: bool) -> Rule | None:
    """The first rule that fits. `named`: the client named a model; then only rules about that model apply."""
    for rule in rules:
        if (rule.names_model or not named) and rule.fits(facts):
            return rule
    return None


def _show(value: object) -> str:
    return " or ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _words(name: str, value: object) -> frozenset[str]:
    values = value if isinstance(value, (list, tuple)) else [value]
    if not values or not all(isinstance(word, (str, int, float)) for word in values):
        raise ValueError(f"rule condition {name}: a word or a list of words")
    return frozenset(str(word) for word in values)


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"rule condition {name}: a number")  # noqa: TRY004 - a fault of the configuration, as all others here
    return float(value)


def _condition(name: str, value: object) -> Condition:
    if name in _PLAIN:
        return _PLAIN[name](_words(name, value))
    if name in _NUMBERS:
        return _NUMBERS[name](_number(name, value))
    if name == "time":
        return _time(str(value))
    if name == "weekday":
        return _weekday(_words(name, value))
    if name == "stream":
        if not isinstance(value, bool):
            raise ValueError("rule condition stream: true or false")
        return lambda facts: facts.stream is value
    kind, _, key = name.partition(".")
    if kind == "tag" and key:
        words = _words(name, value)
        return lambda facts: facts.tags.get(key, facts.principal.tags.get(key)) in words
    if kind == "header" and key:
        patterns = _words(name, value)
        return lambda facts: _glob(facts.headers.get(key.lower(), ""), patterns)
    allowed = [*_PLAIN, *_NUMBERS, "time", "weekday", "stream", "tag.<name>", "header.<name>"]
    raise ValueError(f"rule condition {name}: not known; allowed are {', '.join(allowed)}")


def _glob(text: str, patterns: frozenset[str]) -> bool:
    return text in patterns or any(fnmatchcase(text, pattern) for pattern in patterns)


def _label(words: frozenset[str]) -> Condition:
    if unknown := words - set(LABELS):
        raise ValueError(f"rule condition label: {min(unknown)} is not a label; labels are {', '.join(LABELS)}")
    return lambda facts: facts.classification.label in words


_PLAIN: Final[dict[str, Callable[[frozenset[str]], Condition]]] = {
    "label": _label,
    "language": lambda words: lambda facts: facts.classification.language in words,
    "model": lambda words: lambda facts: _glob(facts.model, words),
    "key": lambda words: lambda facts: facts.principal.key_id in words,
    "user": lambda words: lambda facts: facts.principal.user_id in words,
    "dialect": lambda words: lambda facts: facts.dialect in words,
}

_NUMBERS: Final[dict[str, Callable[[float], Condition]]] = {
    "tokens_above": lambda bound: lambda facts: facts.classification.prompt_tokens > bound,
    "tokens_below": lambda bound: lambda facts: facts.classification.prompt_tokens < bound,
    "difficulty_above": lambda bound: lambda facts: facts.classification.difficulty > bound,
    "difficulty_below": lambda bound: lambda facts: facts.classification.difficulty < bound,
}


def _minutes(text: str) -> int:
    hour, colon, minute = text.strip().partition(":")
    if not (colon and hour.isdecimal() and minute.isdecimal() and int(hour) <= 24 and int(minute) < 60):
        raise ValueError('rule condition time: "HH:MM-HH:MM", UTC')
    return int(hour) * 60 + int(minute)


def _time(text: str) -> Condition:
    start_text, _, end_text = text.partition("-")
    start, end = _minutes(start_text), _minutes(end_text)

    def holds(facts: Facts) -> bool:
        minute = facts.now.hour * 60 + facts.now.minute
        return start <= minute < end if start <= end else minute >= start or minute < end

    return holds


def _weekday(words: frozenset[str]) -> Condition:
    days: set[int] = set()
    for word in words:
        first, dash, last = word.lower().partition("-")
        if first not in _DAYS or (dash and last not in _DAYS):
            raise ValueError(f"rule condition weekday: {', '.join(_DAYS)} or a span such as mon-fri")
        start, end = _DAYS.index(first), _DAYS.index(last or first)
        days.update((start + step) % 7 for step in range((end - start) % 7 + 1))
    wanted = frozenset(days)
    return lambda facts: facts.now.weekday() in wanted
