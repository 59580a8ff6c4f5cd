"""
Expectations of the router, for people's own tests: what a line of a file may ask, and whether a decision meets it.

A line is a JSON object with `prompt`, or `messages` and whatever else a chat body may hold, and any of the names of CHECKS.
"""

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

from neuroroute.cli.out import Fault
from neuroroute.core import jsonbytes
from neuroroute.core.types import Classification
from neuroroute.routing.decision import Decision

Check = Callable[[Decision, Any], str]
"""(decision, what is expected) -> what was found instead; empty where it is met."""


def seen(decision: Decision) -> Classification:
    """What the router read; it is there in every offline decision."""
    assert decision.classification is not None
    return decision.classification


def expected_cost_usd(decision: Decision) -> float | None:
    """Of the model that was chosen; None where its price is not known, or where no forecast was made."""
    chosen = next((candidate for candidate in decision.candidates if candidate.target is decision.chosen), None)
    return None if chosen is None or chosen.cost_nanousd is None else chosen.cost_nanousd / 1e9


def _label(decision: Decision, wanted: Any) -> str:
    found = seen(decision).label
    return "" if found in _words(wanted) else f"label is {found}"


def _language(decision: Decision, wanted: Any) -> str:
    found = seen(decision).language
    return "" if found in _words(wanted) else f"language is {found}"


def _model(decision: Decision, wanted: Any) -> str:
    target = decision.chosen
    names = (target.model.name, target.name)
    return "" if any(fnmatchcase(name, pattern) for name in names for pattern in _words(wanted)) else f"model is {target.model.name}"


def _at_least_difficult(decision: Decision, bound: Any) -> str:
    found = seen(decision).difficulty
    return "" if found >= _number(bound) else f"difficulty is {found:.3f}"


def _at_most_difficult(decision: Decision, bound: Any) -> str:
    found = seen(decision).difficulty
    return "" if found <= _number(bound) else f"difficulty is {found:.3f}"


def _sure(decision: Decision, bound: Any) -> str:
    found = seen(decision).confidence
    return "" if found >= _number(bound) else f"confidence is {found:.3f}"


def _cost(decision: Decision, bound: Any) -> str:
    found = expected_cost_usd(decision)
    if found is None:
        return "its cost is not known"
    return "" if found <= _number(bound) else f"expected cost is {found:.9f} USD"


CHECKS: Final[Mapping[str, Check]] = {
    "expect_label": _label,
    "expect_model": _model,
    "expect_language": _language,
    "min_difficulty": _at_least_difficult,
    "max_difficulty": _at_most_difficult,
    "min_confidence": _sure,
    "max_cost_usd": _cost,
}
"""Names of expectations. Labels, languages and models may be lists: any of them; models may be globs."""


def parse(line: bytes, place: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(chat body, expectations) of one line. place: how a fault names the line. Raises: Fault"""
    try:
        row = jsonbytes.loads(line)
    except jsonbytes.JSONDecodeError as error:
        raise Fault(f"{place}: not JSON: {error}") from error
    if not isinstance(row, dict):
        raise Fault(f"{place}: a JSON object is expected")
    wanted = {name: value for name, value in row.items() if name in CHECKS}
    for name in row:
        if name not in CHECKS and name.startswith(("expect_", "min_", "max_")) and name not in ("max_tokens", "max_completion_tokens"):
            raise Fault(f"{place}: {name}: not known; known are {', '.join(CHECKS)}")
    for name, value in wanted.items():
        if value is None or isinstance(value, bool):
            raise Fault(f"{place}: {name}: {'a number' if name.startswith(('min_', 'max_')) else 'a word or a list of words'} is expected")
        (_number if name.startswith(("min_", "max_")) else _words)(value, f"{place}: {name}: ")
    return _body({name: value for name, value in row.items() if name not in CHECKS}, place), wanted


def missed(decision: Decision, wanted: Mapping[str, Any]) -> list[str]:
    """What a decision does not meet, in words; empty where it meets all."""
    found = [(name, value, CHECKS[name](decision, value)) for name, value in wanted.items()]
    return [f"{instead}, {name} {value}" for name, value, instead in found if instead]


def _body(row: dict[str, Any], place: str) -> dict[str, Any]:
    own = row.get("neuroroute") or {}
    if not isinstance(own, dict):
        raise Fault(f"{place}: neuroroute: an object is expected")
    if (policy := row.pop("policy", None)) is not None:
        own = {"policy": policy, **own}
    if own:
        row["neuroroute"] = own
    if "messages" in row:
        return row
    prompt = row.pop("prompt", None)
    if not isinstance(prompt, str) or not prompt:
        raise Fault(f"{place}: prompt, a text that is not empty, or messages is expected")
    return {**row, "messages": [{"role": "user", "content": prompt}]}


def _words(wanted: Any, place: str = "") -> list[str]:
    words = wanted if isinstance(wanted, list) else [wanted]
    if not words or not all(isinstance(word, str) for word in words):
        raise Fault(f"{place}a word or a list of words is expected")
    return words


def _number(bound: Any, place: str = "") -> float:
    if not isinstance(bound, (int, float)):
        raise Fault(f"{place}a number is expected")
    return float(bound)
