"""The quick decorator makes what the standard one makes."""

import copy
import dataclasses
import pickle
from typing import Any, ClassVar

import pytest

from neuroroute.core.dataclass import dataclass as quick
from neuroroute.core.dataclass import field

ARGUMENTS = [
    {},
    {"slots": True},
    {"frozen": True},
    {"frozen": True, "slots": True},
    {"slots": True, "eq": False},
    {"frozen": True, "kw_only": True},
]


def classes(decorate, arguments: dict[str, Any]) -> dict[str, type]:
    @decorate(**arguments)
    class Point:
        """A point."""

        x: int
        y: float = 1.5
        seen: list[int] = field(default_factory=list, compare=False)
        secret: str = field(default="s", repr=False)
        kind: ClassVar[str] = "point"

        @property
        def double(self) -> int:
            return self.x * 2

    @decorate(**arguments)
    class Named(Point):
        name: str = "n"
        made: dict[str, int] = field(init=False, default_factory=dict, compare=False)
        fixed: int = field(init=False, default=7)
        later: int = field(kw_only=True, default=3)

        def __post_init__(self) -> None:
            object.__setattr__(self, "name", self.name.upper())

    @decorate(**arguments)
    class Odd:
        value: int

        def __eq__(self, other: object) -> bool:
            return True

        def __repr__(self) -> str:
            return "odd"

    @decorate(**arguments)
    class Empty:
        pass

    return {"Point": Point, "Named": Named, "Odd": Odd, "Empty": Empty}


def outcome(work) -> object:
    try:
        return work()
    except (
        TypeError,
        AttributeError,
    ):  # the standard one itself stumbles where another attribute of a frozen class with slots is assigned to
        return "refused"


@pytest.fixture(params=ARGUMENTS, ids=str)
def pair(request):
    return classes(dataclasses.dataclass, request.param), classes(quick, request.param)


PROBES = {
    "makes": lambda c: repr(c["Point"](x=1)),
    "by place": lambda c: repr(c["Point"](1, 2.0, [3], "t")),
    "derived": lambda c: repr(c["Named"](x=1, name="a", later=4)),
    "too few": lambda c: c["Point"](),
    "too many": lambda c: c["Point"](1, 2, 3, 4, 5),
    "unknown": lambda c: c["Point"](z=1),
    "a field that is not given": lambda c: c["Named"](x=1, fixed=2),
    "equal": lambda c: (c["Point"](x=1) == c["Point"](x=1), c["Point"](x=1) == c["Point"](x=2), c["Point"](x=1) == 1),
    "equal to another class": lambda c: c["Point"](x=1) == c["Named"](x=1),
    "what is not compared": lambda c: c["Point"](x=1, seen=[1]) == c["Point"](x=1, seen=[2]),
    "hash": lambda c: len(dict.fromkeys((c["Point"](x=1), c["Point"](x=1)), 0)),
    "hash of an odd one": lambda c: hash(c["Odd"](value=1)) == hash(c["Odd"](value=1)),
    "odd": lambda c: (repr(c["Odd"](value=1)), c["Odd"](value=1) == 3),
    "empty": lambda c: (repr(c["Empty"]()), c["Empty"]() == c["Empty"]()),
    "lists of their own": lambda c: c["Point"](x=1).seen is c["Point"](x=1).seen,
    "replace": lambda c: repr(dataclasses.replace(c["Point"](x=1), y=3.0)),
    "asdict": lambda c: dataclasses.asdict(c["Named"](x=1)),
    "fields": lambda c: [(one.name, one.type, one.init, one.kw_only) for one in dataclasses.fields(c["Named"])],
    "match": lambda c: c["Named"].__match_args__,
    "class variable": lambda c: (c["Point"].kind, c["Point"](x=2).double, c["Point"].__doc__),
    "assign": lambda c: setattr(c["Point"](x=1), "x", 2),
    "assign another": lambda c: setattr(c["Point"](x=1), "other", 2),
    "delete": lambda c: delattr(c["Point"](x=1), "x"),
    "copy": lambda c: repr(copy.copy(c["Point"](x=1))),
    "deep copy": lambda c: repr(copy.deepcopy(c["Named"](x=1))),
    "slots": lambda c: hasattr(c["Point"](x=1), "__dict__"),
    "annotations": lambda c: c["Named"].__init__.__annotations__,
}


@pytest.mark.parametrize("probe", PROBES.values(), ids=list(PROBES))
def test_as_the_standard_one(pair, probe):
    standard, ours = pair
    assert outcome(lambda: probe(ours)) == outcome(lambda: probe(standard))


@quick(frozen=True, slots=True)
class Kept:
    value: int
    more: "Kept | None" = None


def test_it_can_be_pickled():
    assert pickle.loads(pickle.dumps(Kept(1, Kept(2)))) == Kept(1, Kept(2))


def test_a_ring_is_shown():
    @quick
    class Ring:
        next: Any = None

    ring = Ring()
    ring.next = ring
    assert repr(ring) == "test_a_ring_is_shown.<locals>.Ring(next=...)"
