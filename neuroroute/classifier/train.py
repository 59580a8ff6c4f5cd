"""
Makes `weights/` from the open routing data and the package's own prompts: `python -m neuroroute.classifier.train --data FOLDER`.

Seeded: the same data gives the same weights, byte for byte (the card differs in its latency alone). Needs the extra `[train]`; takes about five
minutes of one core.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from scipy import sparse

from neuroroute.classifier import card, data, fit
from neuroroute.classifier.data import Example
from neuroroute.classifier.difficulty import EXAM, KINDS, MEASURES, OPEN, PROBLEM, WIDE, length_of
from neuroroute.classifier.features import window
from neuroroute.classifier.labels import LABELS
from neuroroute.classifier.recipe import EXAMS, REALISTIC, Sheet, examples_of, make_sheet, originals, realistic, stem_of
from neuroroute.classifier.table import pack
from neuroroute.core.dataclass import dataclass
from neuroroute.core.jsonbytes import dumps_pretty

SEED: Final = 20240
FOLDS: Final = 5
DRAWS: Final = 12
LABEL_PENALTY: Final = 2e-5
OUTCOME_PENALTY: Final = 1e-3
RARITY: Final = 0.45
"""Columns are scaled by (documents / 100) ** -RARITY: rare words may weigh more. Measured: +.025 accuracy and +.065 F1 on unseen sources against 0."""
ROWS: Final = 32000
LEAST_CONFIDENCE: Final = 0.4
LEAST_KNOWN: Final = 0.1
FLOOR: Final = 0.02
"""The share of the posterior spread over all labels. Measured on sources left out: an error of calibration of .032 at .01, of .024 at .02 and .03."""
LEAST_COUNT: Final = 3
HEADS: Final = (*LABELS, "exam", "gained", "field", "hard")
"""Behind the labels: the strong model's gain on exam questions; on all questions of the pairs; among many models by field; levels given by hand."""
EXAM_HEAD, GAINED, FIELD, HARD = (HEADS.index(name) for name in ("exam", "gained", "field", "hard"))
OUTCOMES: Final = (EXAM_HEAD, GAINED, FIELD, HARD)

OPEN_PRIOR: Final[dict[str, float]] = {
    "code": 0.42, "math": 0.36, "reasoning": 0.36, "extraction": 0.18, "classification": 0.13, "summarization": 0.10, "translation": 0.10,
    "writing": 0.12, "rewriting": 0.09, "roleplay": 0.10, "factual_qa": 0.09, "advice": 0.09, "chat": 0.05,
}  # fmt: skip
"""P(a weak model's answer is clearly worse) for open requests: a judgement from how models of two sizes compare per kind of task in public
leaderboards, not a fit; the outcomes that may be trained on hold almost only questions with one right answer."""
EXAM_MIX: Final = (1.0, 0.3, 0.5)
"""Shares of the heads `exam` and `field` and of the log length of what is told, each by its spread, in the difficulty of an exam question. Measured on
unseen subjects: APGR .636 with .3 of the whole prompt's length, .648 so; .602 and .622 without mathematics. Models and tasks of LLMRouter's alone give the
length the same sign; .3 to .7 are within .007."""
CHOICES: Final = 1.3
"""Logits of difficulty per logarithm of the number of choices over four: a guess among ten is rarely right, so there is more to gain. A judgement."""
WIDE_MATH: Final = 1.0
"""Logits of difficulty of a wide question that is mathematics: models that reason first differ most where there is something to compute. A judgement
from leaderboards; 0 gives the three pairs of MMLU-Pro .494, 1 gives .503."""
PROBLEM_EASE: Final = 0.3
"""Logits by which a word problem is easier than for the pair it is measured on (2023): younger weak models solve most of them. A judgement."""
OPEN_LENGTH: Final = 0.15
USUAL_CHARS: Final = 150
"""Logits of difficulty of an open request per logarithm of its length: there is more to read and to get wrong. A judgement; 0 to 0.3 differ by .01 APGR."""
HARD_SLOPE: Final = 0.8
"""Logits of difficulty per logit of the `hard` head, for open requests: a judgement, as above."""

Heads = tuple[fit.Floats, fit.Floats]


def scales_of(rows: fit.Matrix) -> fit.Floats:
    counts = np.asarray((rows > 0).sum(axis=0)).ravel() + 1.0
    return np.asarray((counts / 100.0) ** -RARITY, dtype=np.float64)


def fit_labels(part: Sheet, iterations: int) -> Heads:
    """(weights by column and label, bias by label)."""
    scales = scales_of(part.rows)
    used = part.label_weights > 0
    rows = (part.rows[used] @ sparse.diags_array(scales)).tocsr()
    table, bias = fit.fit_softmax(rows, part.labels[used], part.label_weights[used], LABEL_PENALTY, iterations)
    return table * scales[:, None], bias


def fit_outcomes(part: Sheet, iterations: int, only: Sequence[int] = OUTCOMES) -> Heads:
    """The same for the heads behind the labels; 0 for those not among `only`."""
    table, bias = np.zeros((part.rows.shape[1], len(HEADS) - len(LABELS))), np.zeros(len(HEADS) - len(LABELS))
    gain = (part.gained + 1.0) / 2.0
    tasks = (
        (gain, part.exam_weights),
        (gain, part.gain_weights),
        (gain, part.field_weights),
        (part.hard, part.hard_weights),
    )
    for place, (target, weights) in enumerate(tasks):
        used = weights > 0
        if used.any() and place + len(LABELS) in only:
            table[:, place], bias[place] = fit.fit_logistic(part.rows[used], target[used], weights[used], OUTCOME_PENALTY, iterations)
    return table, bias


def fit_heads(part: Sheet, iterations: int) -> Heads:
    """(weights by column and head, bias by head), heads as in HEADS."""
    labels, outcomes = fit_labels(part, iterations), fit_outcomes(part, iterations)
    return np.hstack([labels[0], outcomes[0]]), np.concatenate([labels[1], outcomes[1]])


def select(part: Sheet) -> fit.Places:
    """The columns worth keeping: those that move the scores of the most documents the most."""
    table, _ = fit_heads(part, 20)
    counts = np.asarray((part.rows > 0).sum(axis=0)).ravel()
    spread = np.abs(table / (np.std(table, axis=0) + 1e-12)).max(axis=1)
    kept: fit.Places = np.sort(np.argsort(-spread * counts**0.5)[:ROWS])
    return kept


def folds(examples: Sequence[Example]) -> fit.Places:
    """The fold of every example: one source and group is never split, but for sets of one group, which are split by prompt."""
    keys = sorted({example.fold_key for example in examples})
    places = dict(zip(keys, np.random.default_rng(SEED).permutation(len(keys)) % FOLDS, strict=True))
    single = {"routellm_gsm8k/gsm8k_test"}
    ids = {example.id: at for at, example in enumerate(examples)}
    lot = np.random.default_rng(SEED + 1).integers(0, FOLDS, len(examples))
    return np.array([lot[ids[example.id]] if example.fold_key in single else places[example.fold_key] for example in examples])


def held_out_outcomes(part: Sheet) -> fit.Floats:
    """
    Every example's outcome heads from a fit that saw nothing of its source and group, nor its question in another set; the labels'
    columns are NaN.
    """
    fold = folds(part.examples)
    stems = np.array([stem_of(example.prompt) if example.failed is not None else example.id for example in part.examples])
    scores = np.full((len(part.examples), len(HEADS)), np.nan)
    for place in range(FOLDS):
        outside = np.flatnonzero(fold == place)
        table, bias = fit_outcomes(part.part(np.flatnonzero((fold != place) & ~np.isin(stems, np.unique(stems[outside])))), 50)
        scores[outside, len(LABELS) :] = part.rows[outside] @ table + bias
    return scores


def unseen_subjects(part: Sheet) -> list[tuple[fit.Places, fit.Floats]]:
    """
    Of DRAWS draws of a third of the exam's subjects: the rows of the drawn ones, and their outcome heads from fits that saw neither these
    subjects nor their questions in another set. One cut into folds depends much on which subjects share a fold.
    """
    dice = np.random.default_rng(SEED + 2)
    exam = np.array([example.source == EXAMS for example in part.examples])
    subjects = np.array([example.group for example in part.examples])
    stems = np.array([stem_of(example.prompt) if example.failed is not None else example.id for example in part.examples])
    first, names, found = originals(part.examples), sorted(set(subjects[exam])), []
    for _ in range(DRAWS):
        drawn = exam & np.isin(subjects, dice.permutation(names)[: len(names) // 3])
        table, bias = fit_outcomes(part.part(np.flatnonzero(~drawn & ~np.isin(stems, np.unique(stems[drawn])))), 50, (EXAM_HEAD, FIELD))
        outside = np.flatnonzero(drawn & first)
        found.append((outside, part.rows[outside] @ table + bias))
    return found


def left_out_labels(part: Sheet) -> fit.Floats:
    """The label heads of realistic prompts from fits that saw nothing of their whole source; rows of other sources are NaN."""
    scores = np.full((len(part.examples), len(LABELS)), np.nan)
    sources = np.array([example.source for example in part.examples])
    for source in sorted(REALISTIC & set(sources)):
        table, bias = fit_labels(part.part(np.flatnonzero(sources != source)), 50)
        outside = np.flatnonzero(sources == source)
        scores[outside] = part.rows[outside] @ table + bias
    return scores


def warmth_of(scores: fit.Floats, truth: fit.Places) -> float:
    """The temperature that makes the true labels most likely."""

    def loss(value: float) -> float:
        chance = posterior_of(scores, np.full(len(scores), value))[np.arange(len(truth)), truth]
        return float(-np.log(chance).mean())

    return float(min(np.arange(0.2, 3.0, 0.005), key=loss))


def posterior_of(scores: fit.Floats, warmth: fit.Floats) -> fit.Floats:
    """Label probabilities as `model` gives them: a temperature per row, and a floor under every label."""
    spread: fit.Floats = (1.0 - FLOOR) * fit.softmax(scores[:, : len(LABELS)] / warmth[:, None]) + FLOOR / len(LABELS)
    return spread


def logit(share: float) -> float:
    return float(np.log(share / (1.0 - share)))


def scale(bias: float = 0.0, heads: Sequence[float] = (0.0, 0.0, 0.0, 0.0), labels: Sequence[float] = (), counts: Sequence[float] = (), means: Sequence[float] = (),
          spreads: Sequence[float] = (), length: float = 0.0, choices: float = 0.0) -> dict[str, Any]:  # fmt: skip
    """One kind's logistic as `difficulty.Scale` reads it."""
    return {
        "bias": float(bias),
        "length": float(length),
        "choices": choices,
        "heads": [float(value) for value in heads],
        "labels": [float(value) for value in labels] or [0.0] * len(LABELS),
        "measures": [float(value) for value in counts],
        "means": [float(value) for value in means],
        "spreads": [float(value) for value in spreads],
    }


def log_told(examples: Sequence[Example]) -> fit.Floats:
    return np.log([max(1, length_of(EXAM, window(example.prompt), len(example.prompt))) for example in examples])


def exam_scales(part: Sheet, scores: fit.Floats, used: fit.Flags) -> dict[str, Any]:
    """Fitted on the exam questions of the pair, against `the weak model failed and the strong one did not`. Wide questions read the same heads."""
    chosen = np.array([example.source == EXAMS for example in part.examples]) & (part.kinds == KINDS.index(EXAM)) & used
    inputs = np.hstack(
        [scores[chosen][:, [EXAM_HEAD, FIELD]], log_told([e for e, use in zip(part.examples, chosen, strict=True) if use])[:, None]]
    )
    means, spreads = inputs.mean(axis=0), inputs.std(axis=0)
    target = np.maximum(part.gained[chosen], 0.0)
    joined = sparse.csr_matrix(((inputs - means) / spreads * np.array(EXAM_MIX)).sum(axis=1, keepdims=True))
    weights, offset = fit.fit_logistic(joined, target, np.ones(len(target)), 1e-4, 200)
    exam, field, length = found = weights[0] * np.array(EXAM_MIX) / spreads
    middle = logit(OPEN_PRIOR["factual_qa"])
    labels = [0.5 * max(0.0, logit(OPEN_PRIOR[label]) - middle) if label in ("reasoning", "code") else 0.0 for label in LABELS]
    bias, wide = offset - float((found * means).sum()), list(labels)
    wide[LABELS.index("math")] += WIDE_MATH
    return {
        EXAM: scale(bias, [exam, 0.0, field, 0.0], labels, length=length),
        # How much is told says nothing there: measured on MMLU-Pro, the longer questions gain less.
        WIDE: scale(bias + float(length * means[2]), [exam, 0.0, field, 0.0], wide, choices=CHOICES),
    }


def problem_scale(part: Sheet, scores: fit.Floats, used: fit.Flags) -> dict[str, Any]:
    """Fitted on the word problems of the pair: counts by ridge, the gained head beside them."""
    chosen = np.array([example.source == "routellm_gsm8k" for example in part.examples]) & used
    counts = part.measures[chosen]
    means, spreads = counts.mean(axis=0), counts.std(axis=0) + 1e-9
    gained = part.gained[chosen]
    inputs = np.clip((counts - means) / spreads, -3.0, 3.0)
    moments = np.einsum("ij,ik->jk", inputs, inputs), np.einsum("ij,i->j", inputs, gained - gained.mean())
    ridge = np.linalg.solve(moments[0] + 100.0 * np.eye(len(MEASURES)), moments[1])
    # A probability p moves by p (1 - p) per logit.
    level = float(np.maximum(gained, 0.0).mean())
    slope = 1.0 / (level * (1.0 - level))
    head, spread = float(scores[chosen, GAINED].mean()), float(scores[chosen, GAINED].std()) + 1e-9
    return scale(
        logit(level) - PROBLEM_EASE - 0.15 * head / spread,
        [0.0, 0.15 / spread, 0.0, 0.0],
        (),
        (ridge * slope).tolist(),
        means.tolist(),
        spreads.tolist(),
    )


def open_scale(part: Sheet, scores: fit.Floats) -> dict[str, Any]:
    chosen = np.array([realistic(example) for example in part.examples])
    middle = float(scores[chosen, HARD].mean())
    labels = [logit(OPEN_PRIOR[label]) for label in LABELS]
    return scale(-HARD_SLOPE * middle - OPEN_LENGTH * float(np.log(USUAL_CHARS)), [0.0, 0.0, 0.0, HARD_SLOPE], labels, length=OPEN_LENGTH)


def scales_for(part: Sheet, scores: fit.Floats, used: fit.Flags) -> dict[str, Any]:
    """The logistic of each kind of prompt, fitted on the `used` rows alone."""
    return {**exam_scales(part, scores, used), PROBLEM: problem_scale(part, scores, used), OPEN: open_scale(part, scores)}


def quantise(table: fit.Floats, names: Sequence[str]) -> tuple[bytes, fit.Floats, fit.Floats]:
    """(cells, scale of the text rows per head, scale of the surface rows per head, the value of one fact included)."""
    facts = np.array([name.startswith("#") and len(name) > 1 for name in names])
    cells = np.zeros(table.shape, dtype=np.int8)
    scales = []
    for chosen in (~facts, facts):
        block = table[chosen]
        # The 99.9th centile: a few outliers are clipped so that the many small weights keep their resolution.
        top = np.maximum(np.quantile(np.abs(block), 0.999, axis=0), 1e-9)
        cells[chosen] = np.clip(np.round(block / top * 127.0), -127, 127).astype(np.int8)
        scales.append(top / 127.0)
    return cells.tobytes(), scales[0], scales[1] * fit.SURFACE_VALUE


def load_examples(folder: Path) -> list[Example]:
    """Raises: DataMissing."""
    return [example for name in data.CATEGORY_FILES + data.OUTCOME_FILES for example in data.read_file(folder, name)] + data.read_corpus()


@dataclass(frozen=True, slots=True)
class Training:
    """A run's results: the table on the columns kept, and the held-out scores that calibrate it and go into the card."""

    names: list[str]
    part: Sheet
    table: fit.Floats
    bias: fit.Floats
    left: fit.Floats
    scores: fit.Floats
    draws: list[tuple[fit.Places, fit.Floats]]
    warmth: dict[str, float]
    posterior: fit.Floats

    @property
    def header(self) -> dict[str, Any]:
        everything = np.ones(len(self.part.examples), dtype=bool)
        return {
            "heads": list(HEADS),
            "bias": self.bias.tolist(),
            "temperature": self.warmth,
            "floor": FLOOR,
            "difficulty": scales_for(self.part, self.scores, everything),
            "mean_difficulty": OPEN_PRIOR,
            "least_confidence": LEAST_CONFIDENCE,
            "least_known": LEAST_KNOWN,
        }


def learn(found: Sequence[Example]) -> Training:
    """Fits everything. Which columns are kept is decided after the held-out label scores are made: they must not know the held-out source."""
    examples = examples_of(found, SEED)
    seen = fit.documents(example.prompt for example in examples)
    vocabulary = fit.Vocabulary.counted(seen, LEAST_COUNT)
    part = make_sheet(examples, vocabulary.matrix(seen))
    del seen  # two gigabytes
    left = left_out_labels(part)
    scores, draws = held_out_outcomes(part), unseen_subjects(part)
    kept = select(part)
    part.rows = part.rows[:, kept].tocsr()
    table, bias = fit_heads(part, 80)
    known = ~np.isnan(left[:, 0])
    truth = np.array([LABELS.index(example.label) for example in examples])
    english = np.array([example.lang == "en" for example in examples])
    warmth = {
        "en": warmth_of(left[known & english], truth[known & english]),
        "other": warmth_of(left[known & ~english], truth[known & ~english]),
    }
    posterior = posterior_of(part.rows @ table + bias, np.where(english, warmth["en"], warmth["other"]))
    return Training([vocabulary.names[at] for at in kept], part, table, bias, left, scores, draws, warmth, posterior)


def packed(made: Training) -> bytes:
    """The table's file: the same bytes for the same examples, in every process and on any number of cores."""
    cells, text_scale, fact_scale = quantise(made.table, made.names)
    return pack(made.names, cells, {**made.header, "scale": text_scale.tolist(), "surface_scale": fact_scale.tolist()})


def train(folder: Path, target: Path) -> dict[str, Any]:
    """Writes table.nrt and card.json into `target`, gives the card. Raises: DataMissing."""
    found = load_examples(folder)
    made = learn(found)
    blob = packed(made)
    target.mkdir(parents=True, exist_ok=True)
    (target / "table.nrt").write_bytes(blob)
    written = card.card_of(made, found, blob, folder)
    (target / "card.json").write_text(dumps_pretty(written) + "\n")
    return written


def data_folder() -> Path:
    """--data's default: NEUROROUTE_ROUTING_DATA, else ../shared/routing-data."""
    return Path(os.environ.get("NEUROROUTE_ROUTING_DATA", "../shared/routing-data"))  # noqa: TID251 (a script of developers, not the gateway)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m neuroroute.classifier.train", description="Train the prompt classifier's weights.")
    parser.add_argument("--data", type=Path, default=data_folder(), help="folder of the routing data")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "weights", help="where table.nrt and card.json go")
    given = parser.parse_args(arguments)
    try:
        sys.stdout.write(card.table_of(train(given.data, given.out)))
    except data.DataMissing as fault:
        sys.stderr.write(f"{fault}\n")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
