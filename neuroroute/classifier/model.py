"""The classifier: loads its table once, reads a prompt in about a tenth of a millisecond, asks nobody."""

from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from math import exp
from typing import Any, Final

from neuroroute.classifier.features import extract
from neuroroute.classifier.labels import LABELS
from neuroroute.classifier.language import language_of
from neuroroute.classifier.table import Table, lane, unpack
from neuroroute.core.jsonbytes import loads

REASONS: Final = 4


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
        """Per label, over the realistic prompts of training: what `success` takes as the middle."""
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
        posterior = _softmax(scores[: len(LABELS)], head.temperature)
        best = max(range(len(LABELS)), key=posterior.__getitem__)
        known = len(found) / max(1, len(seen.text))
        return Reading(
            LABELS[best],
            posterior[best],
            posterior,
            head.difficulty(scores, posterior),
            language_of(seen.window, seen.words),
            posterior[best] < head.least_confidence or known < head.least_known,
            _reasons(found + facts_found, best),
        )


@dataclass(frozen=True, slots=True)
class _Head:
    """The floating-point end of the table: scales, biases and the calibration."""

    bias: tuple[float, ...]
    scale: tuple[float, ...]
    surface_scale: tuple[float, ...]
    temperature: float
    difficulty_bias: float
    difficulty_weights: tuple[float, ...]
    label_difficulty: tuple[float, ...]
    mean_difficulty: dict[str, float]
    least_confidence: float
    least_known: float

    @classmethod
    def of(cls, header: dict[str, Any]) -> "_Head":
        return cls(
            tuple(header["bias"]),
            tuple(header["scale"]),
            tuple(header["surface_scale"]),
            header["temperature"],
            header["difficulty_bias"],
            tuple(header["difficulty_weights"]),
            tuple(header["label_difficulty"]),
            header["mean_difficulty"],
            header["least_confidence"],
            header["least_known"],
        )

    def difficulty(self, scores: list[float], posterior: tuple[float, ...]) -> float:
        """The heads behind the labels and the prior of the label, joined by the calibration's logistic."""
        total = self.difficulty_bias
        for weight, score in zip(self.difficulty_weights, scores[len(LABELS) :], strict=True):
            total += weight * score
        for weight, share in zip(self.label_difficulty, posterior, strict=True):
            total += weight * share
        return 1.0 / (1.0 + exp(-min(max(total, -30.0), 30.0)))


def _softmax(scores: list[float], temperature: float) -> tuple[float, ...]:
    top = max(scores)
    grown = [exp((score - top) / temperature) for score in scores]
    total = sum(grown)
    return tuple([value / total for value in grown])


def _reasons(found: list[tuple[int, str]], head: int) -> tuple[str, ...]:
    weighed = sorted([(lane(row, head), name) for row, name in found], reverse=True)[:REASONS]
    return tuple([_readable(name) for weight, name in weighed if weight > 0])


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
