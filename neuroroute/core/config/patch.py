"""Changes to what a layer says: a JSON merge patch (RFC 7396) put over it, and what differs between two states."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from neuroroute.core.config.layers import NAMED, mask_of
from neuroroute.core.config.text import ConfigFaulty, Keys, Layer, dotted
from neuroroute.core.dataclass import dataclass
from neuroroute.core.settings import MASK

_DEPTH_MAX: Final = 20
_ABSENT: Final = object()


@dataclass(frozen=True, slots=True)
class Change:
    """One value that differs; None = is not there."""

    key: str
    before: object
    after: object


def patched(own: Mapping[str, Any], patch: Mapping[str, Any], below: Sequence[Layer]) -> dict[str, Any]:
    """
    What a layer says after `patch`.

    null takes away: an entry of providers, models, aliases and routing.policies is gone, also where a layer below has it; of any other key what
    this layer says of it, so that the layers below hold again.
    Raises: ConfigFaulty on a patch that is nested too deeply.
    """
    return _patched(own, patch, (), below)


def _patched(own: Mapping[str, Any], patch: Mapping[str, Any], keys: tuple[str, ...], below: Sequence[Layer]) -> dict[str, Any]:
    if len(keys) > _DEPTH_MAX:
        place = dotted(keys[:3])
        raise ConfigFaulty([f"{place}: nested too deeply"], [(place, "nested too deeply")])
    made = dict(own)
    for name, value in patch.items():
        at = (*keys, name)
        if value is None:
            made.pop(name, None)
            if keys in NAMED and any(_at(layer.values, at) is not None for layer in below):
                made[name] = None
        elif isinstance(value, Mapping):
            present = made.get(name)
            inner = _patched(present if isinstance(present, Mapping) else {}, value, at, below)
            if inner or keys in NAMED or not value:
                made[name] = inner
            else:
                made.pop(name, None)
        else:
            made[name] = value
    return made


def _at(values: object, keys: Keys) -> object:
    for key in keys:
        if not isinstance(values, Mapping) or key not in values:
            return None
        values = values[key]
    return values


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """What differs, value by value; a list counts as one value."""
    old, new = dict(_leaves(before, ())), dict(_leaves(after, ()))
    found = []
    for key in [*old, *(key for key in new if key not in old)]:
        was, is_ = old.get(key, _ABSENT), new.get(key, _ABSENT)
        if was != is_ or type(was) is not type(is_):
            found.append(Change(key, None if was is _ABSENT else was, None if is_ is _ABSENT else is_))
    return found


def _leaves(value: object, keys: Keys) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping) and value:
        for name, entry in value.items():
            yield from _leaves(entry, (*keys, str(name)))
    elif keys:
        yield dotted(keys), value


def masked(values: Mapping[str, Any]) -> dict[str, Any]:
    """Plain data in the shape of the configuration, with the credentials in it masked."""
    shown = dict(values)
    if isinstance(providers := shown.get("providers"), Mapping):
        shown["providers"] = {name: masked_provider(entry) for name, entry in providers.items()}
    if isinstance(webhook := shown.get("alert_webhook"), Mapping):
        shown["alert_webhook"] = {key: MASK if key in ("url", "secret") and value else value for key, value in webhook.items()}
    return shown


def masked_provider(entry: Any) -> Any:
    """The same of one entry of `providers`."""
    if not isinstance(entry, Mapping):
        return entry
    shown = dict(entry)
    if isinstance(key := shown.get("api_key"), str) and key:
        shown["api_key"] = mask_of(key)
    if isinstance(headers := shown.get("headers"), Mapping):
        shown["headers"] = {name: mask_of(value) if isinstance(value, str) else MASK for name, value in headers.items()}
    return shown
