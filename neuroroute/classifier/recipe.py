"""What goes into the pot and how much of it: the examples of a training run, their messy copies and their weights."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from re import compile as pattern
from typing import Final

import numpy as np

from neuroroute.classifier import fit
from neuroroute.classifier.augment import asked_in_chat, messy
from neuroroute.classifier.data import Example
from neuroroute.classifier.difficulty import KINDS, kind_of, measures
from neuroroute.classifier.features import window
from neuroroute.classifier.labels import LABELS
from neuroroute.core.dataclass import dataclass

REALISTIC: Final = frozenset({"arena_hard_v0.1", "oasst", "self_instruct_seed", "belle_eval", "multiseed"})
CORPUS: Final = "nr_corpus"
REALISTIC_WEIGHT: Final = 5.0
CORPUS_WEIGHT: Final = 5.0
DATASET_SHARE: Final = 40.0
"""A dataset's label weighs at most as much as so many prompts of weight one, however many it has: datasets must not swamp real prompts."""
DATASET_CAP: Final = 300
"""Prompts kept per source and label for the labels: beyond it a dataset repeats itself."""
BALANCE: Final = 0.5
"""0: labels weigh as they come, 1: all labels weigh the same."""
MESSY_SHARE: Final = 0.5
WRAPPED_SHARE: Final = 0.15
SOFTNESS: Final = 0.1
EXAMS: Final = "routellm_mmlu"
FIELDS: Final = "mmlu_pro"
CHANCE: Final = 0.25
"""Of four choices. Where a strong model stays below it over a whole subject, its answers were misread: the subject is no evidence of who is better."""

_WORD: Final = pattern(r"\w+")


@dataclass(slots=True)
class Sheet:
    """Examples with what the fits need of them, row by row; a weight of 0 leaves a row out of that fit."""

    examples: list[Example]
    rows: fit.Matrix
    labels: fit.Floats
    label_weights: fit.Floats
    gained: fit.Floats
    exam_weights: fit.Floats
    gain_weights: fit.Floats
    field_weights: fit.Floats
    hard: fit.Floats
    hard_weights: fit.Floats
    kinds: fit.Places
    measures: fit.Floats

    def part(self, places: fit.Places) -> "Sheet":
        """The rows at these places, weighed anew."""
        return make_sheet([self.examples[int(at)] for at in places], self.rows[places], self.kinds[places], self.measures[places])


def realistic(example: Example) -> bool:
    return example.source in REALISTIC or example.source == CORPUS


def examples_of(found: Sequence[Example], seed: int) -> list[Example]:
    """`found` with messy copies of the realistic prompts and exam questions wrapped as a chat would have them; copies keep their fold."""
    dice = Random(seed)
    made = list(found)
    for example in found:
        if realistic(example) and dice.random() < MESSY_SHARE:
            made.append(replace(example, prompt=messy(example.prompt, dice, example.lang)))
        elif example.failed is not None and dice.random() < WRAPPED_SHARE:
            made.append(replace(example, prompt=asked_in_chat(example.prompt, dice)))
    return made


def make_sheet(examples: list[Example], rows: fit.Matrix, kinds: fit.Places | None = None, counts: fit.Floats | None = None) -> Sheet:
    targets = np.full((len(examples), len(LABELS)), SOFTNESS / len(LABELS))
    targets[np.arange(len(examples)), [LABELS.index(example.label) for example in examples]] += 1.0 - SOFTNESS
    groups = Counter(example.fold_key for example in examples)
    even = np.array([groups[example.fold_key] ** -0.5 for example in examples])
    sources = np.array([example.source for example in examples])
    first = originals(examples)
    wrong = misread(examples)
    read = np.array([example.fold_key not in wrong for example in examples])
    windows = [window(example.prompt) for example in examples] if kinds is None else []
    return Sheet(
        examples=examples,
        rows=rows,
        labels=targets,
        label_weights=_label_weights(examples),
        gained=np.array([0.0 if example.gained is None else example.gained for example in examples]),
        exam_weights=even * (first & read & (sources == EXAMS)),
        gain_weights=even * np.isin(sources, (EXAMS, "routellm_gsm8k", "llmrouter")),
        field_weights=1.0 * (first & (sources == FIELDS)),
        hard=np.array([0.5 if example.difficulty is None else example.difficulty for example in examples]),
        hard_weights=np.array([0.0 if example.difficulty is None else 1.0 for example in examples]),
        kinds=np.array([KINDS.index(kind_of(text)) for text in windows]) if kinds is None else kinds,
        measures=np.array([measures(text) for text in windows]) if counts is None else counts,
    )


def originals(examples: Sequence[Example]) -> fit.Flags:
    """True where an example is the first of its id, False where it is a copy of one before it."""
    seen: set[str] = set()
    found = []
    for example in examples:
        found.append(example.id not in seen)
        seen.add(example.id)
    return np.array(found)


def misread(examples: Sequence[Example]) -> set[str]:
    """The fold keys of exam subjects in which the strong model's answers are worse than guesses."""
    right: dict[str, list[float]] = {}
    for example in examples:
        if example.source == EXAMS and example.failed is not None and example.gained is not None:
            right.setdefault(example.fold_key, []).append(1.0 - example.failed + example.gained)
    return {key for key, shares in right.items() if sum(shares) / len(shares) < CHANCE}


def stem_of(question: str) -> str:
    """The words of an exam question without its choices: sets reuse each other's questions with other choices."""
    cut = question.find("\nA. ")
    return " ".join(_WORD.findall((question[:cut] if cut > 20 else question).lower()))


def _label_weights(examples: Sequence[Example]) -> fit.Floats:
    per_label = Counter((example.source, example.label) for example in examples)
    families = Counter(example.group for example in examples if example.source == CORPUS)
    seen: Counter[tuple[str, str]] = Counter()
    weights = []
    for example in examples:
        key = example.source, example.label
        seen[key] += 1
        if example.source in REALISTIC:
            weights.append(REALISTIC_WEIGHT)
        elif example.source == CORPUS:
            weights.append(CORPUS_WEIGHT / families[example.group] ** 0.5)
        else:
            weights.append(min(1.0, DATASET_SHARE / min(per_label[key], DATASET_CAP)) if seen[key] <= DATASET_CAP else 0.0)
    found = np.array(weights)
    truth = np.array([LABELS.index(example.label) for example in examples])
    totals = np.bincount(truth, weights=found, minlength=len(LABELS))
    factors = (totals.mean() / np.maximum(totals, 1e-9)) ** BALANCE
    balanced: fit.Floats = found * factors[truth]
    return balanced
