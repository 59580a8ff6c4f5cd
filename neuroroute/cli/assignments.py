"""`KEY=VALUE` of the command line -> a merge patch of the configuration."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from neuroroute.cli.out import Fault
from neuroroute.core.config import NAMED, ConfigFaulty, parse

_SEGMENT: Final = re.compile(r'(?:"([^"]+)"|([^."]+))(?:\.|$)')
_CREDENTIALS: Final = ("api_key", "headers")


def patch_of(assignments: Iterable[str], shown: Mapping[str, Any], under: tuple[str, ...] = ()) -> dict[str, Any]:
    """
    Several assignments as one patch; values are read as YAML, null takes away.

    shown: the configuration in effect, whose names may hold dots; other names with dots stand in quotes. under: where all the keys lie.
    Raises: Fault
    """
    patch: dict[str, Any] = {}
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals:
            raise Fault(f"{assignment!r}: KEY=VALUE is expected, as routing.policy=cheap.")
        keys = (*under, *_keys(path, shown, under))
        if keys[0] == "providers" and set(keys[2:3]) & set(_CREDENTIALS):
            raise Fault(
                f"{path}: what stands in a command is seen by others on this machine. Use: neuroroute providers set NAME --key-stdin."
            )
        _put(patch, keys, _value(path, text), path)
    return patch


def _keys(path: str, shown: Mapping[str, Any], under: tuple[str, ...]) -> list[str]:
    keys: list[str] = []
    at = 0
    while at < len(path):
        known = _known(path[at:], shown, (*under, *keys))
        if known is not None:
            keys.append(known)
            at += len(known) + 1
            continue
        match = _SEGMENT.match(path, at)
        if match is None:
            break
        keys.append(match[1] or match[2])
        at = match.end()
    if not keys or at < len(path) or path.endswith("."):
        raise Fault(
            f'{path!r} is not a key: words with dots between are expected; a name that holds dots stands in quotes, as models."x.1".price.'
        )
    return keys


def _known(rest: str, shown: Mapping[str, Any], keys: tuple[str, ...]) -> str | None:
    """The longest name that is there already and that `rest` begins with."""
    if keys not in NAMED:
        return None
    found: Any = shown
    for key in keys:
        found = found.get(key) or {}
    fitting = [name for name in found if rest == name or rest.startswith(f"{name}.")]
    return max(fitting, key=len, default=None)


def _value(path: str, text: str) -> Any:
    try:
        return parse(f"value: {text}", path, {}).values["value"]
    except ConfigFaulty:
        raise Fault(
            f"{path}: {text!r} can not be read; a text with special characters stands in quotes within the quotes of the shell."
        ) from None


def _put(patch: dict[str, Any], keys: tuple[str, ...], value: Any, path: str) -> None:
    inner = patch
    for key in keys[:-1]:
        inner = inner.setdefault(key, {})
        if not isinstance(inner, dict):
            raise Fault(f"{path}: was said already, by another assignment.")
    if keys[-1] in inner:
        raise Fault(f"{path}: was said already, by another assignment.")
    inner[keys[-1]] = value
