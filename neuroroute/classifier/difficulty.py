"""
How likely a prompt needs the strong model, by the kind of prompt it is.

Four kinds: an `exam` question with a few choices, a `wide` one with so many that it was set for models that reason first, a word `problem` of
mathematics told in plain numbers, and everything else (`open`). What makes one hard differs: for an exam its subject, wording and the length
of what is told, for a wide one the number of choices and whether there is something to compute, for a problem the length of the chain of
facts, for an open request above all what is asked for, then how much there is to read. Each kind has its own small logistic over the heads of
the table, the label posterior, the length and, for problems, a few counts.
"""

import re
from collections.abc import Mapping, Sequence
from math import exp, log, log1p
from operator import mul
from typing import Any, Final

from neuroroute.classifier.labels import LABELS
from neuroroute.core.dataclass import dataclass

EXAM: Final = "exam"
WIDE: Final = "wide"
PROBLEM: Final = "problem"
OPEN: Final = "open"
KINDS: Final = (EXAM, WIDE, PROBLEM, OPEN)

LEAST_CHOICES: Final = 2
LEAST_NUMBERS: Final = 2
USUAL_CHOICES: Final = 4
MOST_CHOICES: Final = 5
"""Of an exam; more are wide. Not four: a fifth may be the letter of an enzyme."""
LEAST_MATH: Final = 0.5
"""P(math) below which a question with numbers in it is no word problem."""
_LETTERS: Final = "ABCDEFGHIJ"
_MATH: Final = LABELS.index("math")

_CHOICE: Final = re.compile(r"(?:^|\n|\s)\(?([A-J])[).:]\s?\S")
_NUMBER: Final = re.compile(r"\d+(?:[.,]\d+)*")
_TYPESET: Final = re.compile(r"\\(?!boxed\b)[a-zA-Z]|\$[^$\d\s]")
"""Formulae as they are typeset: mathematics by name, not told in a story. A box is where the answer is to stand, not a formula of the question."""
_STOP: Final = re.compile(r"[.!?](?:\s|$)")
_FRACTION: Final = re.compile(r"\d\.\d|\d/\d")
_MULTIPLE: Final = ("twice", "half", "third", "quarter", "double", "triple", "times")
_MORE: Final = ("more than", "less than", "fewer", "older", "younger")

MEASURES: Final = (
    "length", "numbers", "sentences", "percent", "fractions", "multiples", "comparisons", "each", "dollars", "if", "digits", "repeated", "word_length", "variety",
)  # fmt: skip


def choices_of(text: str) -> int | None:
    """How many choices an exam question offers, by the form of the window of a prompt; None where it is none."""
    # The plain searches come first: they cost a hundredth of the expression and rule out nearly every prompt.
    if not (("A." in text or "A)" in text or "A:" in text) and ("B." in text or "B)" in text or "B:" in text)):
        return None
    letters = {found.group(1) for found in _CHOICE.finditer(text)}
    if len(letters & {"A", "B", "C", "D"}) < LEAST_CHOICES:
        return None
    return next((at for at, letter in enumerate(_LETTERS) if letter not in letters), len(_LETTERS))


def is_problem(text: str) -> bool:
    """Whether it asks for something with numbers in it, told in words."""
    asks = "?" in text and "```" not in text and "def " not in text
    return asks and len(_NUMBER.findall(text)) >= LEAST_NUMBERS and not _TYPESET.search(text)


def kind_of(text: str) -> str:
    """One of KINDS, by the form of the window of a prompt."""
    choices = choices_of(text)
    if choices is not None:
        return WIDE if choices > MOST_CHOICES else EXAM
    return PROBLEM if is_problem(text) else OPEN


def length_of(kind: str, text: str, chars: int) -> int:
    """The length that counts: of an exam question its longest line, which is what is told, of all else the whole prompt."""
    return max(map(len, text.split("\n"))) if kind is EXAM else chars


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
    One kind's logistic: bias, a weight per head of the table behind the labels, per label, per measure (mean and spread removed), for the
    logarithm of the length in characters and for that of the number of choices over the usual one.
    """

    bias: float
    length: float
    choices: float
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
            float(header.get("choices", 0.0)),
            tuple(header["heads"]),
            tuple(header["labels"]),
            tuple(header["measures"]),
            tuple(header["means"]),
            tuple(header["spreads"]),
        )

    def probability(self, heads: Sequence[float], posterior: Sequence[float], text: str, chars: int, choices: int = 0) -> float:
        """`text`: the window of the prompt; `chars`: its length, see `length_of`; `choices`: how many answers it offers."""
        total = self.bias + self.length * log(max(1, chars)) + sum(map(mul, self.heads, heads)) + sum(map(mul, self.labels, posterior))
        if choices > MOST_CHOICES:
            total += self.choices * log(choices / USUAL_CHOICES)
        if self.measures:
            for weight, value, mean, spread in zip(self.measures, measures(text), self.means, self.spreads, strict=True):
                total += weight * min(max((value - mean) / spread, -3.0), 3.0)
        return 1.0 / (1.0 + exp(-min(max(total, -30.0), 30.0)))


@dataclass(frozen=True, slots=True)
class Difficulty:
    """The logistic of each kind, and which of them reads a prompt."""

    scales: Mapping[str, Scale]

    @classmethod
    def of(cls, header: Mapping[str, Any]) -> "Difficulty":
        return cls({kind: Scale.of(header[kind]) for kind in KINDS})

    def probability(self, heads: Sequence[float], posterior: Sequence[float], text: str, chars: int) -> float:
        """P(a weak model's answer fails where a strong one's would do). `text`: the window of the prompt; `chars`: the length of the whole prompt."""
        choices = choices_of(text)
        if choices is not None:
            kind = WIDE if choices > MOST_CHOICES else EXAM
            return self.scales[kind].probability(heads, posterior, text, length_of(kind, text, chars), choices)
        kind = PROBLEM if posterior[_MATH] >= LEAST_MATH and is_problem(text) else OPEN
        return self.scales[kind].probability(heads, posterior, text, chars)
