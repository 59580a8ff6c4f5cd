"""
YAML text -> plain data that remembers where each key stands.

`${NAME}` and `${NAME:-otherwise}` read the environment, `$${` is a plain `${`. They are put in after the text was parsed: a value of the
environment never becomes structure, and `api_key: ${OPENAI_API_KEY}` may stand inside braces, where YAML itself would stumble over it.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from neuroroute.core.dataclass import dataclass, field

Key = str | int
Keys = tuple[Key, ...]

FILE_BYTES_MAX: Final = 4 * 1024 * 1024
_DEPTH_MAX: Final = 50
_VARIABLE: Final = re.compile(r"\$?\$\{([^{}\n]*)\}")
_NAME: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_HIDDEN: Final = 0xE000
"""Private-use characters that stand for ASCII ones inside a `${...}` while YAML is parsed: as many characters, so columns stay true."""
_UNHIDE: Final = {_HIDDEN + code: code for code in range(128)}


class ConfigFaulty(Exception):
    """
    A configuration that can not be used. `faults`: one line each: place, key, what is wrong and what is allowed.

    named: the same as (key, what is wrong) where keys are known; no places, so it may be shown to who can not see the file.
    """

    def __init__(self, faults: list[str], named: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__("\n".join(faults))
        self.faults, self.named = faults, named


@dataclass(frozen=True, slots=True)
class Layer:
    """
    One source of configuration.

    source: where it is from, as people are told: a file's name, `environment`, `database`.
    values: plain data in the shape of `Config`, still unchecked.
    places: keys -> (line, column), from 1; only a text has them.
    """

    source: str
    values: dict[str, Any]
    places: Mapping[Keys, tuple[int, int]] = field(default_factory=dict, repr=False)

    def place(self, keys: Keys) -> str:
        """`gateway.yaml:12:5`, the nearest that is known, or the source alone."""
        while keys and keys not in self.places:
            keys = keys[:-1]
        return f"{self.source}:{':'.join(map(str, self.places[keys]))}" if keys in self.places else self.source


def read(path: Path, environ: Mapping[str, str] = os.environ) -> Layer:
    """The layer of a file. Raises: ConfigFaulty."""
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_BYTES_MAX + 1)
        if len(raw) > FILE_BYTES_MAX:
            raise ConfigFaulty([f"{path}: more than {FILE_BYTES_MAX} bytes"])
        return parse(raw.decode("utf-8-sig"), str(path), environ)
    except OSError as error:
        raise ConfigFaulty([f"{path}: can not be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigFaulty([f"{path}: not UTF-8 text"]) from error


def parse(text: str, source: str = "config", environ: Mapping[str, str] = os.environ) -> Layer:
    """The layer of a YAML text. Raises: ConfigFaulty with all faults of form: syntax, doubled keys, variables that are not set."""
    hidden = _VARIABLE.sub(lambda match: "".join(chr(_HIDDEN + ord(c)) if ord(c) < 128 else c for c in match.group()), text)
    try:
        node = yaml.compose(hidden, Loader=yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
        raise ConfigFaulty([f"{place}: not YAML: {error.problem or error.context}".translate(_UNHIDE)]) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigFaulty([f"{source}: not YAML: {error}".translate(_UNHIDE)]) from None
    reader = _Reader(source, environ)
    values = {} if node is None else reader.value(node, ())
    if not isinstance(values, dict):
        reader.faults.append(f"{source}:1:1: a mapping is expected, with keys such as providers and models")
    if reader.faults:
        raise ConfigFaulty(reader.faults)
    return Layer(source, values if isinstance(values, dict) else {}, reader.places)


class _Reader:
    """Turns nodes into plain data and collects places and faults on the way."""

    def __init__(self, source: str, environ: Mapping[str, str]) -> None:
        self._source, self._environ = source, environ
        self._construct = yaml.SafeLoader("")
        self.places: dict[Keys, tuple[int, int]] = {}
        self.faults: list[str] = []

    def _fault(self, node: yaml.Node, keys: Keys, message: str) -> None:
        self.faults.append(f"{self._source}:{node.start_mark.line + 1}:{node.start_mark.column + 1}: {dotted(keys)}: {message}")

    def value(self, node: yaml.Node, keys: Keys) -> Any:
        if len(keys) > _DEPTH_MAX:
            self._fault(node, keys[:3], "nested too deeply")
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, keys)
        if isinstance(node, yaml.SequenceNode):
            return [self._member(item, item, (*keys, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, keys)

    def _member(self, at: yaml.Node, node: yaml.Node, keys: Keys) -> Any:
        self.places[keys] = (at.start_mark.line + 1, at.start_mark.column + 1)
        return self.value(node, keys)

    def _mapping(self, node: yaml.MappingNode, keys: Keys) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._fault(key_node, keys, "a key must be a plain word")
                continue
            name = key_node.value.translate(_UNHIDE)
            if name in found:
                self._fault(key_node, (*keys, name), f"is there twice; first in line {self.places[(*keys, name)][0]}")
                continue
            found[name] = self._member(key_node, value_node, (*keys, name))
        return found

    def _scalar(self, node: yaml.Node, keys: Keys) -> Any:
        text = str(node.value).translate(_UNHIDE)
        if text != node.value:
            return _VARIABLE.sub(lambda match: self._variable(node, keys, match), text)
        try:
            value = self._construct.construct_object(node)
        except (yaml.YAMLError, ValueError):
            self._fault(node, keys, f"{text!r} is not a value")
            return None
        return value if isinstance(value, (str, int, float, bool, type(None))) else text

    def _variable(self, node: yaml.Node, keys: Keys, match: re.Match[str]) -> str:
        if match.group().startswith("$$"):
            return match.group()[1:]
        parts = _NAME.fullmatch(match.group(1))
        if parts is None:
            self._fault(node, keys, f"{match.group()} is not a variable; allowed are ${{NAME}} and ${{NAME:-otherwise}}")
            return ""
        name, otherwise = parts.groups()
        if otherwise is not None:
            return self._environ.get(name) or otherwise
        if name not in self._environ:
            self._fault(node, keys, f"the environment has no {name}; set it, or write ${{{name}:-otherwise}}")
        return self._environ.get(name, "")


def dotted(keys: Keys) -> str:
    """models.gpt-4o.abilities[0]"""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).removeprefix(".") or "configuration"


def read_foreign(path: Path) -> Any:
    """The plain data of another program's YAML or JSON file: no `${}` is read, anchors and merges are. Raises: ConfigFaulty."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        return yaml.load(text, Loader=yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader)
    except OSError as error:
        raise ConfigFaulty([f"{path}: can not be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigFaulty([f"{path}: not UTF-8 text"]) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise ConfigFaulty([f"{place}: not YAML: {error.problem or error.context}"]) from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigFaulty([f"{path}: not YAML: {error}"]) from None


def dump(values: Mapping[str, Any]) -> str:
    """Plain data as the text of a configuration file; `${NAME}` in it is read again as a variable."""
    return str(yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True, width=140))
