"""
Quality priors: how good a model is before anybody here has used it. Run by `refresh`, never by the gateway.

Scale: P(good answer) for a prompt of mean difficulty. It is anchored at the weak model of the difficulty head: Mixtral-8x7B-Instruct
answers such a prompt well with 1 - MEAN_DIFFICULTY = 0.65.

`outcomes` (a model with graded answers in the public outcome data): logit of the share of good answers = ability of the model + ease of the
(source, label) + what the label adds for this model. Fitted by alternating means over cells, each weighted by at most 400 answers; a label's
own part counts n / (n + 300).

`estimate` (all other models): ability = a + b log10(x) + c (years since 2024), a line fitted to the measured models. x is the price (USD per
million tokens, three parts input to one part output); for open weights of known size it is billions of parameters, of a mixture of experts
the geometric mean of all and active ones. Years after the last measured release count for a third of themselves: the line has nothing to
say there, and priors must not run to 1.
"""

import gzip
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, TypeVar

from neuroroute.core.dataclass import dataclass
from neuroroute.core.jsonbytes import loads
from neuroroute.routing.forecast import MEAN_DIFFICULTY

ANCHOR: Final = "mixtral-8x7b-instruct-v0.1"
LAST_MEASURED: Final = 2024.75
LATER_YEARS: Final = 1 / 3
_LEAST, _MOST = 0.05, 0.97  # shares of good answers outside say little about ability: a format that was not met, a ceiling
_CELL_WEIGHT: Final = 400.0
_LABEL_TRUST: Final = 300.0
_ROUNDS: Final = 200

SAME: Final[Mapping[str, str]] = {
    "Meta-Llama-3_1-8B-Instruct": "llama-3.1-8b-instruct",
    "Meta-Llama-3_1-70B-Instruct": "llama-3.1-70b-instruct",
    "Mixtral-8x7B-Instruct-v0.1": "mixtral-8x7b-instruct-v0.1",
    "Mistral-7B-Instruct-v0.2": "mistral-7b-instruct-v0.2",
    "Phi-3-mini-4k-instruct": "phi-3-mini-4k-instruct",
    "DeepSeek-Coder-V2": "deepseek-coder-v2",
    "Qwen1.5-72B-Chat": "qwen1.5-72b-chat",
    "Qwen1.5-7B-Chat": "qwen1.5-7b-chat",
    "Mistral-7B-Instruct-v0.1": "mistral-7b-instruct-v0.1",
    "c4ai-command-r-v01": "command-r-03-2024",
    "gemini-1.5-flash-002": "gemini-1.5-flash-002",
    "gemini-1.5-pro-002": "gemini-1.5-pro-002",
    "jamba-1.5-large": "jamba-1.5-large",
}
"""Names in the outcome files -> names in the catalogue; others are kept as they are."""

MEASURED_OFFERS: Final[Mapping[str, tuple[float, float, float]]] = {
    # name: (year of release, USD per million tokens in, out)
    "mistral-7b-instruct-v0.1": (2023.74, 0.20, 0.20),
    "mistral-7b-instruct-v0.2": (2023.95, 0.20, 0.20),
    "mistral-7b-instruct-v0.3": (2024.39, 0.20, 0.20),
    "mixtral-8x7b-instruct-v0.1": (2023.94, 0.60, 0.60),
    "gemma-2-9b-it": (2024.49, 0.30, 0.30),
    "llama-3.1-8b-instruct": (2024.56, 0.18, 0.18),
    "llama-3.1-70b-instruct": (2024.56, 0.88, 0.88),
    "gemini-1.5-flash-002": (2024.73, 0.075, 0.30),
    "gemini-1.5-pro-002": (2024.73, 1.25, 5.00),
    "gpt-4-1106-preview": (2023.85, 10.00, 30.00),
    "qwen1.5-72b-chat": (2024.10, 0.90, 0.90),
    "qwen1.5-7b-chat": (2024.10, 0.20, 0.20),
    "qwen2.5-7b-instruct": (2024.72, 0.30, 0.30),
    "jamba-1.5-large": (2024.64, 2.00, 8.00),
    "command-r-03-2024": (2024.19, 0.50, 1.50),
    "deepseek-coder-v2": (2024.46, 0.14, 0.28),
    "phi-3-mini-4k-instruct": (2024.31, 0.10, 0.10),
}
"""List prices when they were new: the makers', for open weights Together's by size class. Checked against litellm 1.109 where it still has them."""


MEASURED_SIZES: Final[Mapping[str, float]] = {
    "mistral-7b-instruct-v0.1": 7.2, "mistral-7b-instruct-v0.2": 7.2, "mistral-7b-instruct-v0.3": 7.2, "gemma-2-9b-it": 9.2,
    "mixtral-8x7b-instruct-v0.1": 24.7, "llama-3.1-8b-instruct": 8.0, "llama-3.1-70b-instruct": 70.0, "qwen1.5-72b-chat": 72.0,
    "qwen1.5-7b-chat": 7.7, "qwen2.5-7b-instruct": 7.6, "jamba-1.5-large": 193.0, "command-r-03-2024": 35.0, "deepseek-coder-v2": 70.0,
    "phi-3-mini-4k-instruct": 3.8,
}  # fmt: skip
"""Billions of parameters, by the makers' model cards; of mixtures the geometric mean of all and active."""


@dataclass(frozen=True, slots=True)
class Ability:
    """A measured model: its ability in logits, and per label what the label adds to it."""

    logit: float
    by_label: Mapping[str, float]

    def quality(self) -> dict[str, float]:
        own = {label: _share(self.logit + extra) for label, extra in sorted(self.by_label.items()) if abs(extra) >= 0.02}
        return {"default": _share(self.logit), **own}


@dataclass(frozen=True, slots=True)
class Line:
    """ability = base + per_decade * log10(x) + per_year * years since 2024; x: a blended price in USD, or billions of parameters."""

    base: float
    per_decade: float
    per_year: float

    def quality(self, x: float, year: float) -> dict[str, float]:
        """The prior of a model of this price or size, and this time."""
        later = max(year - LAST_MEASURED, 0.0)
        years = min(year, LAST_MEASURED) - 2024.0 + later * LATER_YEARS
        return {"default": _share(self.base + self.per_decade * math.log10(max(x, 0.02)) + self.per_year * years)}


def blend(input_usd: float, output_usd: float) -> float:
    """One price per million tokens: three parts input to one part output."""
    return (3.0 * input_usd + output_usd) / 4.0


def measure(folder: Path) -> dict[str, Ability]:
    """Abilities from the outcome files of a folder (outcomes_*.jsonl.gz: {source, category, q: {model: share}})."""
    cells: dict[tuple[str, str, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
    for path in sorted(folder.glob("outcomes_*.jsonl.gz")):
        with gzip.open(path) as lines:
            for line in lines:
                row = loads(line)
                for model, good in row["q"].items():
                    cell = cells[SAME.get(model, model), path.name, row["category"]]
                    cell[0] += 1.0
                    cell[1] += good
    return abilities({key: (count, good / count) for key, (count, good) in cells.items()})


def abilities(cells: Mapping[tuple[str, str, str], tuple[float, float]]) -> dict[str, Ability]:
    """{(model, source, label): (answers, share of good ones)} -> abilities on the anchored scale."""
    seen = {key: (min(count, _CELL_WEIGHT), _logit(min(max(share, _LEAST), _MOST))) for key, (count, share) in cells.items()}
    ability: dict[str, float] = defaultdict(float)
    ease: dict[tuple[str, str], float] = defaultdict(float)
    for _ in range(_ROUNDS):
        ease.update(_means(((source, label), weight, logit - ability[model]) for (model, source, label), (weight, logit) in seen.items()))
        ability.update(_means((model, weight, logit - ease[source, label]) for (model, source, label), (weight, logit) in seen.items()))
    shift = _logit(1.0 - MEAN_DIFFICULTY) - ability[ANCHOR]
    extra: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(lambda: [0.0, 0.0]))
    for (model, source, label), (count, _) in cells.items():
        cell = extra[model][label]
        cell[0] += count
        cell[1] += count * (seen[model, source, label][1] - ability[model] - ease[source, label])
    return {
        model: Ability(ability[model] + shift, {label: total / (count + _LABEL_TRUST) for label, (count, total) in labels.items()})
        for model, labels in extra.items()
    }


def moe(all_billions: float, active_billions: float) -> float:
    """The size that a mixture of experts counts for."""
    return math.sqrt(all_billions * active_billions)


def lines_through(known: Mapping[str, Ability]) -> tuple[Line, Line]:
    """(by price, by size), least squares over the measured models of MEASURED_OFFERS and MEASURED_SIZES."""
    offers = {name: (blend(input_usd, output_usd), year) for name, (year, input_usd, output_usd) in MEASURED_OFFERS.items()}
    sizes = {name: (size, MEASURED_OFFERS[name][0]) for name, size in MEASURED_SIZES.items()}
    return _through(offers, known), _through(sizes, known)


def _through(points: Mapping[str, tuple[float, float]], known: Mapping[str, Ability]) -> Line:
    rows = [((1.0, math.log10(x), year - 2024.0), known[name].logit) for name, (x, year) in points.items() if name in known]
    size = 3
    normal = [[sum(x[i] * x[j] for x, _ in rows) for j in range(size)] + [sum(x[i] * y for x, y in rows)] for i in range(size)]
    for i in range(size):  # Gauss-Jordan; three columns
        pivot = normal[i][i]
        normal[i] = [value / pivot for value in normal[i]]
        for j in range(size):
            if j != i:
                factor = normal[j][i]
                normal[j] = [a - factor * b for a, b in zip(normal[j], normal[i], strict=True)]
    return Line(normal[0][3], normal[1][3], normal[2][3])


_K = TypeVar("_K")


def _means(items: Iterable[tuple[_K, float, float]]) -> dict[_K, float]:
    sums: dict[_K, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for key, weight, value in items:
        cell = sums[key]
        cell[0] += weight
        cell[1] += weight * value
    return {key: total / weight for key, (weight, total) in sums.items()}


def _share(logit: float) -> float:
    return round(1.0 / (1.0 + math.exp(-logit)), 3)


def _logit(share: float) -> float:
    return math.log(share / (1.0 - share))
