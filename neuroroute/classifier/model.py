"""The classifier: loads its table once, reads a prompt in about a tenth of a millisecond, asks nobody."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from heapq import nlargest
from importlib import resources
from math import exp
from typing import Any, Final

from neuroroute.classifier.difficulty import KINDS, Scale, kind_of
from neuroroute.classifier.features import extract
from neuroroute.classifier.labels import LABELS
from neuroroute.classifier.language import language_of
from neuroroute.classifier.table import LANE_BITS, OFFSET, Table, unpack
from neuroroute.core.jsonbytes import loads

REASONS: Final = 4
LEAST_REASON: Final = 12
"""Of 127: features of less weight are not worth naming."""
_ABSENT: Final = ":0"
"""A form that is not there convinces nobody as a reason."""


@dataclass(frozen=True, slots=True)
class Reading:
    """
    What a prompt asks for.

    `confidence` is the calibrated probability of `label`; `posterior` has one for each of LABELS, in that order; `difficulty` the calibrated
    probability that a weak model's answer fails where a strong one's would do; `language` is ISO 639-1 or 'und'. `abstained` says that the
    label is not to be relied on (unsure, or unlike everything in training). `reasons` are the features that spoke most for the label.
    """

    label: str
    confidence: float
    posterior: tuple[float, ...]
    difficulty: float
    language: str
    abstained: bool
    reasons: tuple[str, ...]


class Classifier:
    """Immutable after loading: one instance may serve every call of the process, from any thread."""

    __slots__ = ("_head", "_table", "card")

    def __init__(self, table: Table, card: dict[str, Any]) -> None:
        self._table = table
        self._head = _Head.of(table.header)
        self.card = card

    @classmethod
    def load(cls) -> "Classifier":
        """The weights of the package. Raises: ValueError where the file is damaged."""
        return _packaged()

    @property
    def mean_difficulty(self) -> dict[str, float]:
        """Per label, the prior of an open request: what `success` takes as the middle."""
        return dict(self._head.mean_difficulty)

    def read(self, prompt: str) -> Reading:
        """Reads at most the first 800 and last 400 characters: bounded time for a prompt of any length."""
        seen = extract(prompt)
        rows, head = self._table.rows, self._head
        found = [(row, name) for name in seen.text if (row := rows.get(name))]
        facts_found = [(row, name) for name in seen.facts if (row := rows.get(name))]
        share = 1.0 / max(1.0, len(seen.text)) ** 0.5
        spoken = self._table.total([row for row, _ in found])
        formed = self._table.total([row for row, _ in facts_found])
        scores = [
            bias + share * scale * said + surface * shown
            for bias, scale, surface, said, shown in zip(head.bias, head.scale, head.surface_scale, spoken, formed, strict=True)
        ]
        language = language_of(seen.window, seen.words)
        posterior = _softmax(scores[: len(LABELS)], head.temperature["en" if language == "en" else "other"], head.floor)
        best = max(range(len(LABELS)), key=posterior.__getitem__)
        known = len(found) / max(1, len(seen.text))
        return Reading(
            LABELS[best],
            posterior[best],
            posterior,
            head.difficulty[kind_of(seen.window)].probability(scores[len(LABELS) :], posterior, seen.window, len(prompt)),
            language,
            posterior[best] < head.least_confidence or known < head.least_known,
            _reasons(found + facts_found, best),
        )


@dataclass(frozen=True, slots=True)
class _Head:
    """The floating-point end of the table: scales, biases and the calibration."""

    bias: tuple[float, ...]
    scale: tuple[float, ...]
    surface_scale: tuple[float, ...]
    temperature: Mapping[str, float]
    floor: float
    difficulty: Mapping[str, Scale]
    mean_difficulty: Mapping[str, float]
    least_confidence: float
    least_known: float

    @classmethod
    def of(cls, header: Mapping[str, Any]) -> "_Head":
        return cls(
            tuple(header["bias"]),
            tuple(header["scale"]),
            tuple(header["surface_scale"]),
            dict(header["temperature"]),
            float(header["floor"]),
            {kind: Scale.of(header["difficulty"][kind]) for kind in KINDS},
            dict(header["mean_difficulty"]),
            float(header["least_confidence"]),
            float(header["least_known"]),
        )


def _softmax(scores: list[float], temperature: float, floor: float) -> tuple[float, ...]:
    """Probabilities of the scores, with a share `floor` spread evenly: nothing is ever certain."""
    top = max(scores)
    grown = [exp((score - top) / temperature) for score in scores]
    share, least = (1.0 - floor) / sum(grown), floor / len(scores)
    return tuple([value * share + least for value in grown])


def _reasons(found: list[tuple[int, str]], head: int) -> tuple[str, ...]:
    shift = head * LANE_BITS
    strong = [(weight, name) for row, name in found if (weight := (row >> shift) & 0xFF) > OFFSET + LEAST_REASON and name[-2:] != _ABSENT]
    return tuple([_readable(name) for _, name in nlargest(REASONS, strong)])


def _readable(name: str) -> str:
    if name.startswith("#"):
        return f"form: {name[1:].replace(':', ' ')}" if len(name) > 1 else "sign: #"
    if name.startswith("^") and len(name) > 1:
        return f"starts with: {name.lstrip('^')}"
    if name.endswith("$") and len(name) > 1:
        return f"ends with: {name[:-1]}"
    if name.endswith("*") and len(name) > 1:
        return f"word like: {name[:-1]}"
    return f"word: {name}"


@lru_cache(maxsize=1)
def _packaged() -> Classifier:
    folder = resources.files("neuroroute.classifier") / "weights"
    return Classifier(unpack((folder / "table.nrt").read_bytes()), loads((folder / "card.json").read_bytes()))
