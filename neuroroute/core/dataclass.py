"""
Data classes that are made fast: a drop-in for `dataclasses.dataclass`.

The standard one compiles six functions for each frozen class, which was a quarter of a start's time (200 classes: measured 290 of 1,150 ms).
This one compiles `__init__` alone; the other methods close over the fields. `fields`, `replace`, `asdict` and pattern matching work on the
classes as on any, and type checkers see the standard decorator. There is no `order`, no `unsafe_hash`, no `InitVar`.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import field
from operator import attrgetter
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass", "field"]

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(cls=None, /, *, frozen=False, slots=False, eq=True, kw_only=False):
        """What the standard one does with these arguments."""
        return _made(cls, frozen, slots, eq, kw_only) if cls is not None else lambda cls: _made(cls, frozen, slots, eq, kw_only)


_NOT_GIVEN = dataclasses.MISSING


def _made(cls: type, frozen: bool, slots: bool, eq: bool, kw_only: bool) -> type:
    own = dict(vars(cls))
    if cls.__doc__ is None:
        cls.__doc__ = cls.__name__  # the standard one would work out a signature
    cls = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots, kw_only=kw_only)(cls)
    found = dataclasses.fields(cls)
    if "__init__" not in own:
        _give(cls, "__init__", _init(cls, found, frozen, slots))
    if "__repr__" not in own:
        _give(cls, "__repr__", _repr([one.name for one in found if one.repr]))
    if eq:
        values = _values([one.name for one in found if one.compare])
        if "__eq__" not in own:
            _give(cls, "__eq__", _eq(values))
        if own.get("__hash__") is None:
            _give(cls, "__hash__", (lambda self: hash(values(self))) if frozen else None)
    if frozen:
        names = frozenset(one.name for one in found)
        _give(cls, "__setattr__", _refuse(cls, names, object.__setattr__, "assign to"))
        _give(cls, "__delattr__", _refuse(cls, names, object.__delattr__, "delete"))
        if slots and "__getstate__" not in own:
            _give(cls, "__getstate__", lambda self: [getattr(self, one.name) for one in found])
            _give(cls, "__setstate__", lambda self, state: _restore(self, found, state))
    return cls


def _give(cls: type, name: str, method: Any) -> None:
    if method is not None:
        method.__name__, method.__qualname__, method.__module__ = name, f"{cls.__qualname__}.{name}", cls.__module__
    setattr(cls, name, method)


def _init(cls: type, found: Sequence["dataclasses.Field[Any]"], frozen: bool, slots: bool) -> Callable[..., None]:
    known: dict[str, Any] = {"_NOT_GIVEN": _NOT_GIVEN, "_set": object.__setattr__}
    plain, named, body = ["self"], list[str](), list[str]()
    for one in found:
        name, value, made = one.name, one.name, one.default_factory is not _NOT_GIVEN
        if made:
            known[f"_make_{name}"] = one.default_factory
            value = f"_make_{name}() if {name} is _NOT_GIVEN else {name}" if one.init else f"_make_{name}()"
        elif one.default is not _NOT_GIVEN:
            known[f"_default_{name}"] = one.default
        if one.init:
            default = "=_NOT_GIVEN" if made else f"=_default_{name}" if one.default is not _NOT_GIVEN else ""
            (named if one.kw_only else plain).append(name + default)
        elif not made:
            if not slots or one.default is _NOT_GIVEN:
                continue
            value = f"_default_{name}"
        if frozen and slots:
            known[f"_set_{name}"] = getattr(cls, name).__set__
            body.append(f"_set_{name}(self, {value})")
        else:
            body.append(f"_set(self, {name!r}, {value})" if frozen else f"self.{name} = {value}")
    if hasattr(cls, "__post_init__"):
        body.append("self.__post_init__()")
    arguments = ", ".join([*plain, *(["*", *named] if named else [])])
    exec(f"def __init__({arguments}):\n " + "\n ".join(body or ["pass"]), known)  # noqa: S102 - of names of attributes alone
    init: Callable[..., None] = known["__init__"]
    init.__annotations__ = {**{one.name: one.type for one in found if one.init}, "return": None}
    return init


def _values(names: Sequence[str]) -> Callable[[Any], Any]:
    match names:
        case []:
            return lambda self: ()
        case [name]:
            only = attrgetter(name)
            return lambda self: (only(self),)
    return attrgetter(*names)


def _repr(names: Sequence[str]) -> Callable[[Any], str]:
    def repr_of(self: Any) -> str:
        return f"{self.__class__.__qualname__}({', '.join([f'{name}={getattr(self, name)!r}' for name in names])})"

    return recursive_repr()(repr_of)


def _eq(values: Callable[[Any], Any]) -> Callable[[Any, Any], bool]:
    def eq(self: Any, other: Any) -> bool:
        return bool(values(self) == values(other)) if other.__class__ is self.__class__ else NotImplemented

    return eq


def _refuse(cls: type, names: frozenset[str], otherwise: Callable[..., None], deed: str) -> Callable[..., None]:
    def refuse(self: Any, name: str, *value: Any) -> None:
        if type(self) is cls or name in names:
            raise dataclasses.FrozenInstanceError(f"cannot {deed} field {name!r}")
        otherwise(self, name, *value)

    return refuse


def _restore(self: Any, found: Sequence["dataclasses.Field[Any]"], state: Sequence[Any]) -> None:
    for one, value in zip(found, state, strict=True):
        object.__setattr__(self, one.name, value)
