"""
How likely a prompt needs the strong model, by the kind of prompt it is.

Three kinds, told apart by their form: an `exam` question with choices, a word `problem` with numbers, and everything else (`open`). What makes
one hard differs: for an exam its subject, wording and length, for a problem the length of the chain of facts, for an open request above all
what is asked for. Each kind has its own small logistic over the heads of the table, the label posterior, the length and, for problems, a few counts.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, log, log1p
from operator import mul
from typing import Any, Final

EXAM: Final = "exam"
PROBLEM: Final = "problem"
OPEN: Final = "open"
KINDS: Final = (EXAM, PROBLEM, OPEN)

LEAST_CHOICES: Final = 2
LEAST_NUMBERS: Final = 2

_CHOICE: Final = re.compile(r"(?:^|\n|\s)\(?([A-J])[).:]\s?\S")
_NUMBER: Final = re.compile(r"\d+(?:[.,]\d+)*")
_STOP: Final = re.compile(r"[.!?](?:\s|$)")
_FRACTION: Final = re.compile(r"\d\.\d|\d/\d")
_MULTIPLE: Final = ("twice", "half", "third", "quarter", "double", "triple", "times")
_MORE: Final = ("more than", "less than", "fewer", "older", "younger")

MEASURES: Final = (
    "length", "numbers", "sentences", "percent", "fractions", "multiples", "comparisons", "each", "dollars", "if", "digits", "repeated", "word_length", "variety",
)  # fmt: skip


def kind_of(text: str) -> str:
    """EXAM, PROBLEM or OPEN, by the form of the window of a prompt."""
    # The plain searches come first: they cost a hundredth of the expression and rule out nearly every prompt.
    listed = ("A." in text or "A)" in text or "A:" in text) and ("B." in text or "B)" in text or "B:" in text)
    if listed and len({found.group(1) for found in _CHOICE.finditer(text)} & {"A", "B", "C", "D"}) >= LEAST_CHOICES:
        return EXAM
    if "?" in text and "```" not in text and "def " not in text and len(_NUMBER.findall(text)) >= LEAST_NUMBERS:
        return PROBLEM
    return OPEN


def measures(text: str) -> tuple[float, ...]:
    """The counts of a word problem, as named in MEASURES."""
    words, numbers, folded = text.split(), _NUMBER.findall(text), text.lower()
    count = max(1, len(words))
    return (
        log(max(1, len(text))),
        log1p(len(numbers)),
        log1p(len(_STOP.findall(text))),
        float(folded.count("%") + folded.count("percent")),
        float(len(_FRACTION.findall(text))),
        float(sum(map(folded.count, _MULTIPLE))),
        float(sum(map(folded.count, _MORE))),
        float(folded.count(" each") + folded.count(" per ") + folded.count("every")),
        float(text.count("$")),
        float(folded.count("if ")),
        float(max(map(len, numbers), default=0)),
        len(set(numbers)) / max(1, len(numbers)),
        sum(map(len, words)) / count,
        len(set(words)) / count,
    )


@dataclass(frozen=True, slots=True)
class Scale:
    """
    One kind's logistic: bias, a weight per head of the table behind the labels, per label, per measure (mean and spread removed) and for the
    logarithm of the prompt's length in characters.
    """

    bias: float
    length: float
    heads: tuple[float, ...]
    labels: tuple[float, ...]
    measures: tuple[float, ...]
    means: tuple[float, ...]
    spreads: tuple[float, ...]

    @classmethod
    def of(cls, header: Mapping[str, Any]) -> "Scale":
        return cls(
            float(header["bias"]),
            float(header["length"]),
            tuple(header["heads"]),
            tuple(header["labels"]),
            tuple(header["measures"]),
            tuple(header["means"]),
            tuple(header["spreads"]),
        )

    def probability(self, heads: Sequence[float], posterior: Sequence[float], text: str, chars: int) -> float:
        """`text`: the window of the prompt; `chars`: the length of the whole prompt."""
        total = self.bias + self.length * log(max(1, chars))
        total += sum(map(mul, self.heads, heads)) + sum(map(mul, self.labels, posterior))
        if self.measures:
            for weight, value, mean, spread in zip(self.measures, measures(text), self.means, self.spreads, strict=True):
                total += weight * min(max((value - mean) / spread, -3.0), 3.0)
        return 1.0 / (1.0 + exp(-min(max(total, -30.0), 30.0)))
