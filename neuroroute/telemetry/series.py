"""
Numbers that only grow, and how they are spread: what metrics are made of.

A `Snapshot` is plain data, so that one worker can read another's and add it to its own.
"""

from bisect import bisect_left
from collections.abc import Iterable
from typing import Final, NamedTuple

CALL_BOUNDS_S: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
OVERHEAD_BOUNDS_S: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)

Labels = tuple[str, ...]


class Histogram:
    """How often a value fell below each bound; the last count is of values above all."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def quantile(self, share: float) -> float | None:
        """About the value below which `share` (0..1) of all lie; None without values."""
        rank = sum(self.counts) * share
        if not rank:
            return None
        seen, low = 0.0, 0.0
        for count, bound in zip(self.counts, self.bounds, strict=False):
            if seen + count >= rank:
                return low + (bound - low) * (rank - seen) / count
            seen, low = seen + count, bound
        return self.bounds[-1]


class Spread(NamedTuple):
    """A histogram as data. counts: one more than bounds, not cumulative."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float


class Snapshot:
    """The numbers of one process, or of several added up: values and spreads by metric name and label values."""

    __slots__ = ("spreads", "values")

    def __init__(self) -> None:
        self.values: dict[tuple[str, Labels], float] = {}
        self.spreads: dict[tuple[str, Labels], Spread] = {}

    def add(self, name: str, labels: Labels, value: float) -> None:
        self.values[name, labels] = self.values.get((name, labels), 0.0) + value

    def spread(self, name: str, labels: Labels, histogram: Histogram) -> None:
        self._spread((name, labels), Spread(histogram.bounds, tuple(histogram.counts), histogram.total))

    def merge(self, other: "Snapshot", without: Iterable[str] = ()) -> None:
        """Add another process's numbers, but for the metrics `without`."""
        left_out = frozenset(without)
        for (name, labels), value in other.values.items():
            if name not in left_out:
                self.add(name, labels, value)
        for key, spread in other.spreads.items():
            self._spread(key, spread)

    def _spread(self, key: tuple[str, Labels], spread: Spread) -> None:
        known = self.spreads.get(key)
        if known is not None and known.bounds == spread.bounds:
            counts = tuple([a + b for a, b in zip(known.counts, spread.counts, strict=True)])
            spread = Spread(spread.bounds, counts, known.total + spread.total)
        self.spreads[key] = spread

    def as_data(self) -> dict[str, object]:
        """For JSON."""
        return {
            "values": [[name, labels, value] for (name, labels), value in self.values.items()],
            "spreads": [[name, labels, *spread] for (name, labels), spread in self.spreads.items()],
        }

    @classmethod
    def of(cls, data: dict[str, list[list[object]]]) -> "Snapshot":
        """What `as_data` gave. Raises KeyError, TypeError, ValueError on anything else."""
        made = cls()
        for name, labels, value in data["values"]:
            made.values[str(name), _strings(labels)] = float(value)  # type: ignore[arg-type]
        for name, labels, bounds, counts, total in data["spreads"]:
            spread = Spread(tuple(map(float, bounds)), tuple(map(int, counts)), float(total))  # type: ignore[call-overload, arg-type]
            made.spreads[str(name), _strings(labels)] = spread
        return made


def _strings(values: object) -> Labels:
    if not isinstance(values, list):
        raise TypeError("labels must be a list")
    return tuple(map(str, values))
