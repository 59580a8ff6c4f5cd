"""The classifier: loads its table once, reads a prompt in about a tenth of a millisecond, asks nobody."""

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from heapq import nlargest
from importlib import resources
from math import exp
from typing import Any, Final

from neuroroute.classifier.difficulty import Difficulty
from neuroroute.classifier.features import Seen, extract, tokens
from neuroroute.classifier.labels import LABELS
from neuroroute.classifier.language import language_of
from neuroroute.classifier.lexicon import CONCEPT_OF
from neuroroute.classifier.table import Table, unpack
from neuroroute.core.dataclass import dataclass
from neuroroute.core.jsonbytes import loads

REASONS: Final = 4
LEAST_REASON: Final = 12
"""Of 127: features of less weight are not worth naming."""
_ABSENT: Final = ":0"
"""A form that is not there convinces nobody as a reason."""


@dataclass(slots=True)  # not frozen: that is dear where one is made per call
class Reading:
    """
    What a prompt asks for.

    `confidence` is the calibrated probability of `label`; `posterior` has one for each of LABELS, in that order; `difficulty` the calibrated
    probability that a weak model's answer fails where a strong one's would do; `language` is ISO 639-1 or 'und'. `abstained` says that the
    label is not to be relied on (unsure, or unlike everything in training). `reasons` tells the features that spoke most for the label: looked
    up when somebody asks, since nearly nobody does.
    """

    label: str
    confidence: float
    posterior: tuple[float, ...]
    difficulty: float
    language: str
    abstained: bool
    reasons: Callable[[], tuple[str, ...]]


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

    def warm(self) -> None:
        """Takes 30 ms in which it learns of all known words what readings find out by and by: the first prompts are read as fast as later ones."""
        words = self._table.words()
        tokens(" ".join(words))
        for word in words:
            CONCEPT_OF[word]

    def read(self, prompt: str) -> Reading:
        """Reads no more than `features.window`: bounded time for a prompt of any length."""
        seen = extract(prompt)
        table, head, count = self._table, self._head, max(1, seen.size)
        sums, heads, share = table.sums(seen), table.heads, 1.0 / count**0.5
        scores = [
            bias + share * scale * said + surface * shown
            for (bias, scale, surface), said, shown in zip(head.lines, sums, sums[heads + 1 :], strict=False)
        ]
        language = language_of(seen.window, seen.spoken)
        posterior = _softmax(scores[: len(LABELS)], head.temperature["en" if language == "en" else "other"], head.floor)
        confidence = max(posterior)
        best = posterior.index(confidence)
        return Reading(
            LABELS[best],
            confidence,
            posterior,
            head.difficulty.probability(scores[len(LABELS) :], posterior, seen.window, len(prompt)),
            language,
            confidence < head.least_confidence or sums[heads] < head.least_known * count,
            partial(_reasons, table, seen, best),
        )


@dataclass(frozen=True, slots=True)
class _Head:
    """The floating-point end of the table: scales, biases and the calibration."""

    lines: tuple[tuple[float, float, float], ...]  # per head: bias, scale of the text's sum, scale of the facts' sum
    temperature: Mapping[str, float]
    floor: float
    difficulty: Difficulty
    mean_difficulty: Mapping[str, float]
    least_confidence: float
    least_known: float

    @classmethod
    def of(cls, header: Mapping[str, Any]) -> "_Head":
        return cls(
            tuple(zip(header["bias"], header["scale"], header["surface_scale"], strict=True)),
            dict(header["temperature"]),
            float(header["floor"]),
            Difficulty.of(header["difficulty"]),
            dict(header["mean_difficulty"]),
            float(header["least_confidence"]),
            float(header["least_known"]),
        )


def _softmax(scores: list[float], temperature: float, floor: float) -> tuple[float, ...]:
    """Probabilities of the scores, with a share `floor` spread evenly: nothing is ever certain."""
    top = max(scores)
    base = exp(1.0 / temperature)
    grown = [base ** (score - top) for score in scores]
    share, least = (1.0 - floor) / sum(grown), floor / len(scores)
    return tuple([value * share + least for value in grown])


def _reasons(table: Table, seen: Seen, head: int) -> tuple[str, ...]:
    known = [(weights[head], name) for name in seen.text().union(seen.facts) if (weights := table.weights(name)) is not None]
    return tuple(
        [_readable(name) for _, name in nlargest(REASONS, [one for one in known if one[0] > LEAST_REASON and one[1][-2:] != _ABSENT])]
    )


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
