"""What an import makes: a configuration in our words, and a line for everything that it could not carry."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from neuroroute.core.config import Layer, build, dump, parse
from neuroroute.core.dataclass import dataclass, field

_SLUG: Final = re.compile(r"[^a-z0-9]+")


@dataclass(slots=True)
class Draft:
    """
    lost: what has no counterpart here, one line each: where it stands, and why. notes: what was carried in another shape.
    variables: environment variables that the configuration reads -> what belongs in each. settings: our own variables -> the value to give.
    """

    providers: dict[str, dict[str, Any]] = field(default_factory=dict)
    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    aliases: dict[str, list[str]] = field(default_factory=dict)
    routing: dict[str, Any] = field(default_factory=dict)
    cache: dict[str, Any] = field(default_factory=dict)
    limits: dict[str, Any] = field(default_factory=dict)
    budgets: list[dict[str, Any]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)

    def lose(self, where: str, why: str) -> None:
        self._once(self.lost, f"{where}: {why}")

    def note(self, where: str, what: str) -> None:
        self._once(self.notes, f"{where}: {what}")

    @staticmethod
    def _once(lines: list[str], line: str) -> None:
        if line not in lines:
            lines.append(line)

    def provider(self, word: str, entry: Mapping[str, Any]) -> str:
        """The name of the provider that is like `entry`: one that is there, or a new one called `word`, `word-2`, ..."""
        for name, there in self.providers.items():
            if {key: value for key, value in there.items() if key != "discover"} == entry:
                return name
        name = self.free(_SLUG.sub("-", word.lower()).strip("-") or "provider", self.providers)
        self.providers[name] = dict(entry)
        return name

    def secret(self, name: str, what: str) -> str:
        """A reference to a fresh variable that is to hold a secret of the old file; the secret itself goes nowhere."""
        variable = "IMPORTED_" + _SLUG.sub("_", name.lower()).strip("_").upper()  # no variable that the old file reads has this name
        free = self.free(variable, self.variables, "_")
        self.variables[free] = what
        return f"${{{free}}}"

    def variable(self, name: str, what: str) -> str:
        """A reference to a variable that the old configuration reads too."""
        self.variables.setdefault(name, what)
        return f"${{{name}}}"

    @staticmethod
    def free(word: str, taken: Iterable[str], joint: str = "-") -> str:
        names = set(taken)
        return next(name for number in range(1, len(names) + 2) if (name := word if number == 1 else f"{word}{joint}{number}") not in names)

    def config(self) -> dict[str, Any]:
        """In the shape of the configuration file; empty parts are left out."""
        parts = {
            "providers": self.providers, "models": self.models, "aliases": self.aliases, "routing": self.routing, "cache": self.cache,
            "limits": self.limits, "budgets": self.budgets,
        }  # fmt: skip
        return {name: part for name, part in parts.items() if part}

    def text(self, origin: str) -> str:
        """The configuration file. Raises: ConfigFaulty where the old configuration has values that ours does not allow."""
        text = f"{head(origin)}\n{dump(self.config())}"
        build(checked(text))
        return text


def head(origin: str) -> str:
    """The first line of a written file; by it the next import knows that it may write there again."""
    return f"# Written by neuroroute import {origin}. Written again by the next import: changes made here are lost then."


def checked(text: str) -> Layer:
    """The layer of a text whose variables need not be set yet."""
    return parse(text, "import", _AnyVariable())


class _AnyVariable(dict[str, str]):
    def __contains__(self, name: object) -> bool:
        return True

    def get(self, name: str, otherwise: Any = None) -> Any:
        return "https://not-set.invalid"


def plain(text: str) -> str:
    """A text of the other file as our file takes it: a `${` in it is no variable of ours."""
    return text.replace("${", "$${")


def mappings(value: object) -> Iterator[Mapping[str, Any]]:
    """The mappings in a list, or the one mapping that stands in its place."""
    for entry in value if isinstance(value, list) else [value]:
        if isinstance(entry, Mapping):
            yield entry


def number(value: object, least: float = 0.0) -> float | None:
    """A number above `least`, also one written as text; None for anything else."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least < value < 1e15:
        return None
    return float(value)


def whole(value: object) -> int | None:
    found = number(value, -1.0)
    return None if found is None else int(found)
