"""
What was learned of models, in the form in which a decision reads it.

A cell is (model, label, tercile of difficulty). Its prior is the forecast that the catalogue's quality (or a refit's, in its place) gives at
the tercile's middle, worth PRIOR_WEIGHT observations; its evidence are good and bad answers, however many counting as `max_weight` at most.
The posterior mean replaces the forecast there, as a factor on the odds, so that the difficulty of a prompt still counts inside a cell:

    mean = (PRIOR_WEIGHT * prior + w * good / (good + bad)) / (PRIOR_WEIGHT + w)      with w = min(good + bad, max_weight)

Models of which nothing was learned cost a decision one look into a dictionary.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from neuroroute.core.types import LABELS, Classification
from neuroroute.routing.catalog import Card, Catalog
from neuroroute.routing.forecast import MEAN_DIFFICULTY, STEEPNESS, UNSURE, odds_of
from neuroroute.store.learned import Cell, Counts

PRIOR_WEIGHT: Final = 50.0
"""What a catalogue's quality is worth in observations. Guess: after as many answers of one kind we believe them as much as the benchmark."""
TERCILE_EDGE: Final = 0.02
"""Terciles of difficulty around the label's mean. Measured: thirds of our own corpus end at -0.02 and +0.01, of its code at -0.02 and +0.04."""
_MIDDLES: Final = (-0.05, 0.0, 0.05)
_SHIFTS: Final = tuple(math.exp(STEEPNESS * middle) for middle in _MIDDLES)
_NAMES: Final = (*LABELS, UNSURE)
_PLACES: Final = {name: place for place, name in enumerate(_NAMES)}
_EDGE: Final = 0.005  # no posterior is surer than this


class Knobs(NamedTuple):
    """
    How far learning may go: max_weight bounds what evidence may outweigh the prior by; exploration is the share of `auto` calls that try others.
    """

    enabled: bool = True
    max_weight: float = 100.0
    exploration: float = 0.0


class Taught(NamedTuple):
    """
    One model's part of a decision. against: per tercile the odds against success by label, as in `Card.against`. seen: per tercile and label
    what the evidence counts. refit: per label the version whose refit stands in for the catalogue's quality, 0 where none does.
    """

    against: tuple[tuple[float, ...], ...]
    seen: tuple[tuple[float, ...], ...]
    refit: tuple[int, ...]


def tercile_of(difficulty: float, mean: float) -> int:
    """0 easy, 1 usual, 2 hard for the label."""
    return 0 if difficulty < mean - TERCILE_EDGE else 2 if difficulty > mean + TERCILE_EDGE else 1


def cell_of(model: str, seen: Classification, means: Mapping[str, float]) -> Cell:
    """Where evidence on an answer belongs; without a label where the classifier was not sure."""
    if seen.abstained or seen.label not in _PLACES:
        return Cell(model, UNSURE, tercile_of(seen.difficulty, MEAN_DIFFICULTY))
    return Cell(model, seen.label, tercile_of(seen.difficulty, means.get(seen.label, MEAN_DIFFICULTY)))


def posterior_mean(prior: float, counts: Counts, max_weight: float) -> float:
    """The quality to expect in a cell whose prior is `prior`."""
    total = counts.good + counts.bad
    if total <= 0.0:
        return prior
    weight = min(total, max_weight)
    return (PRIOR_WEIGHT * prior + weight * counts.good / total) / (PRIOR_WEIGHT + weight)


class Posteriors:
    """
    What holds at present in this worker; swapped whole by `load`.

    knobs: asked whenever tables are made anew, that is after a `load` and with each new catalogue.
    """

    __slots__ = ("_catalog", "_counts", "_knobs", "_priors", "_tables", "exploration", "version")

    def __init__(self, knobs: Callable[[], Knobs] = Knobs) -> None:
        self._knobs = knobs
        self._priors: Mapping[str, Mapping[str, float]] = {}
        self._counts: dict[str, list[tuple[int, int, Counts]]] = {}
        self._catalog: Catalog | None = None
        self._tables: dict[str, Taught] = {}
        self.exploration = 0.0
        self.version = 0

    def load(self, version: int, priors: Mapping[str, Mapping[str, float]], counts: Mapping[Cell, Counts]) -> None:
        """A new state. Cells whose label or tercile nobody knows any more are left out."""
        by_model: dict[str, list[tuple[int, int, Counts]]] = {}
        for cell, count in counts.items():
            place = _PLACES.get(cell.label)
            if place is not None and 0 <= cell.tercile <= 2:
                by_model.setdefault(cell.model, []).append((place, cell.tercile, count))
        self.version, self._priors, self._counts, self._catalog = version, priors, by_model, None

    def tables(self, catalog: Catalog) -> Mapping[str, Taught]:
        """By `Target.name`, for the models that something was learned of. Made once per catalogue and state."""
        if catalog is not self._catalog:
            knobs = self._knobs()
            self.exploration = knobs.exploration if knobs.enabled else 0.0
            self._tables = self._made(catalog, knobs) if knobs.enabled else {}
            self._catalog = catalog
        return self._tables

    def _made(self, catalog: Catalog, knobs: Knobs) -> dict[str, Taught]:
        made: dict[str, Taught] = {}
        for name in self._priors.keys() | self._counts.keys():
            entry = catalog.entry(name)
            if entry is not None and entry.key == name:
                made[name] = self._taught(entry.card, knobs)
        return made

    def _taught(self, card: Card, knobs: Knobs) -> Taught:
        refit = self._priors.get(card.key)
        base = card.against if refit is None else replaced(card.against, refit)
        against = [list(base) for _ in _SHIFTS]
        seen = [[0.0] * len(base) for _ in _SHIFTS]
        for place, tercile, counts in self._counts.get(card.key, ()):
            prior = 1.0 / (1.0 + _SHIFTS[tercile] * base[place])
            mean = min(max(posterior_mean(prior, counts, knobs.max_weight), _EDGE), 1.0 - _EDGE)
            against[tercile][place] = (1.0 - mean) / mean / _SHIFTS[tercile]
            seen[tercile][place] = min(counts.good + counts.bad, knobs.max_weight)
        return Taught(
            tuple(map(tuple, against)), tuple(map(tuple, seen)), tuple(self.version if name in (refit or ()) else 0 for name in _NAMES)
        )


def replaced(against: Sequence[float], priors: Mapping[str, float]) -> tuple[float, ...]:
    """Odds with the qualities of a refit in the places that it has something for."""
    return tuple(odds_of(priors[name]) if name in priors else odds for name, odds in zip(_NAMES, against, strict=True))


def place_of(label: str) -> int:
    """Where a label stands in a card's odds; the place without a label for all others."""
    return _PLACES.get(label, _PLACES[UNSURE])
