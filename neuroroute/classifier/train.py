"""
Makes `weights/` from the open routing data and the package's own prompts: `python -m neuroroute.classifier.train --data FOLDER`.

Seeded: the same data gives the same bytes. Needs the extra `[train]`.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from neuroroute.classifier import data, fit
from neuroroute.classifier.data import Example
from neuroroute.classifier.labels import LABELS
from neuroroute.classifier.table import pack
from neuroroute.core.jsonbytes import dumps_pretty

SEED: Final = 20240
FOLDS: Final = 5
REALISTIC_WEIGHT: Final = 5.0
DATASET_SHARE: Final = 60.0
"""A source and label counts as at most so many prompts of weight one, however many it has: a dataset must not swamp real prompts."""
LABEL_PENALTY: Final = 1e-4
OUTCOME_PENALTY: Final = 1e-3
SOFTNESS: Final = 0.05
ROWS: Final = 24000
LEAST_COUNT: Final = 3
REALISTIC: Final = frozenset({"arena_hard_v0.1", "oasst", "self_instruct_seed", "belle_eval", "multiseed"})
HEADS: Final = (*LABELS, "failed", "gained")


@dataclass(slots=True)
class Sheet:
    """The examples with what the fits need of them, row by row."""

    examples: list[Example]
    rows: fit.Matrix
    labels: fit.Floats
    label_weights: fit.Floats
    failed: fit.Floats
    gained: fit.Floats
    outcome_weights: fit.Floats


def prepare(examples: list[Example]) -> tuple[fit.Vocabulary, Sheet]:
    seen = fit.documents(example.prompt for example in examples)
    vocabulary = fit.Vocabulary.counted(seen, LEAST_COUNT)
    return vocabulary, sheet(examples, vocabulary.matrix(seen))


def sheet(examples: list[Example], rows: fit.Matrix) -> Sheet:
    targets = np.full((len(examples), len(LABELS)), SOFTNESS / len(LABELS))
    targets[np.arange(len(examples)), [LABELS.index(example.label) for example in examples]] += 1.0 - SOFTNESS
    shared = Counter((example.source, example.label) for example in examples)
    groups = Counter(example.fold_key for example in examples if example.failed is not None)
    return Sheet(
        examples,
        rows,
        targets,
        np.array([_label_weight(example, shared[example.source, example.label]) for example in examples]),
        np.array([0.0 if example.failed is None else example.failed for example in examples]),
        np.array([0.0 if example.gained is None else example.gained for example in examples]),
        np.array([0.0 if example.failed is None else groups[example.fold_key] ** -0.5 for example in examples]),
    )


def _label_weight(example: Example, shared: int) -> float:
    if example.source in REALISTIC or example.source.startswith("corpus"):
        return REALISTIC_WEIGHT
    return min(1.0, DATASET_SHARE / shared)


def fit_heads(part: Sheet, iterations: int = 80) -> tuple[fit.Floats, fit.Floats]:
    """(weights by column and head, bias by head), heads as in HEADS."""
    table, bias = fit.fit_softmax(part.rows, part.labels, part.label_weights, LABEL_PENALTY, iterations)
    measured = part.outcome_weights > 0
    columns, biases = [table], [bias]
    for target in (part.failed, (part.gained + 1.0) / 2.0):
        weights, offset = fit.fit_logistic(
            part.rows[measured], target[measured], part.outcome_weights[measured], OUTCOME_PENALTY, iterations
        )
        columns.append(weights[:, None])
        biases.append(np.array([offset]))
    return np.hstack(columns), np.concatenate(biases)


def select(part: Sheet, iterations: int) -> fit.Floats:
    """The columns worth keeping: the surface facts, and the text features that move the scores most."""
    table, _ = fit_heads(part, iterations)
    counts = np.asarray((part.rows > 0).sum(axis=0)).ravel()
    worth = np.abs(table).max(axis=1) * np.sqrt(counts)
    return np.sort(np.argsort(-worth)[:ROWS])


def folds(examples: Sequence[Example]) -> fit.Floats:
    """The fold of every example; one source and group is never split."""
    keys = sorted({example.fold_key for example in examples})
    places = dict(zip(keys, np.random.default_rng(SEED).permutation(len(keys)) % FOLDS, strict=True))
    return np.array([places[example.fold_key] for example in examples])


def held_out_scores(part: Sheet) -> fit.Floats:
    """Every example's heads from a fit that saw nothing of its source and group."""
    fold = folds(part.examples)
    scores = np.zeros((len(part.examples), len(HEADS)))
    for place in range(FOLDS):
        inside = np.flatnonzero(fold != place)
        table, bias = fit_heads(sheet([part.examples[at] for at in inside], part.rows[inside]), 60)
        outside = np.flatnonzero(fold == place)
        scores[outside] = part.rows[outside] @ table + bias
    return scores


def temperature(scores: fit.Floats, part: Sheet) -> float:
    """The one that makes held-out label probabilities of realistic prompts most likely."""
    chosen = [at for at, example in enumerate(part.examples) if _label_weight(example, 1) == REALISTIC_WEIGHT]
    truth = np.array([LABELS.index(part.examples[at].label) for at in chosen])
    logits = scores[chosen, : len(LABELS)]

    def loss(value: float) -> float:
        return float(-np.log(fit.softmax(logits / value)[np.arange(len(truth)), truth] + 1e-12).mean())

    return float(min(np.arange(0.4, 3.0, 0.02), key=loss))


def header_of(part: Sheet, bias: fit.Floats, scale: fit.Floats, surface: fit.Floats) -> dict[str, Any]:
    scores = held_out_scores(part)
    warmth = temperature(scores, part)
    posterior = fit.softmax(scores[:, : len(LABELS)] / warmth)
    measured = part.outcome_weights > 0
    inputs = fit.sparse.csr_matrix(np.hstack([scores[:, len(LABELS) :], posterior])[measured])
    weights, offset = fit.fit_logistic(inputs, part.failed[measured], part.outcome_weights[measured], 1e-2, 200)
    difficulty = 1.0 / (1.0 + np.exp(-(np.hstack([scores[:, len(LABELS) :], posterior]) @ weights + offset)))
    means = {label: float((difficulty * posterior[:, at]).sum() / posterior[:, at].sum()) for at, label in enumerate(LABELS)}
    return {
        "heads": list(HEADS),
        "bias": bias.tolist(),
        "scale": scale.tolist(),
        "surface_scale": surface.tolist(),
        "temperature": warmth,
        "difficulty_bias": offset,
        "difficulty_weights": weights[:2].tolist(),
        "label_difficulty": weights[2:].tolist(),
        "mean_difficulty": means,
        "least_confidence": 0.35,
        "least_known": 0.15,
    }


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


def train(folder: Path, target: Path) -> dict[str, Any]:
    """Writes table.nrt and card.json into `target`; gives the card. Raises: DataMissing."""
    examples = [example for name in data.CATEGORY_FILES + data.OUTCOME_FILES for example in data.read_file(folder, name)]
    examples += data.read_corpus()
    vocabulary, part = prepare(examples)
    kept = select(part, 30)
    part.rows = part.rows[:, kept].tocsr()
    names = [vocabulary.names[at] for at in kept]
    table, bias = fit_heads(part)
    cells, scale, surface = quantise(table, names)
    blob = pack(names, cells, header_of(part, bias, scale, surface))
    card = {"version": "1", "seed": SEED, "rows": len(names), "bytes": len(blob), "examples": len(examples), "metrics": {}}
    target.mkdir(parents=True, exist_ok=True)
    (target / "table.nrt").write_bytes(blob)
    (target / "card.json").write_text(dumps_pretty(card) + "\n")
    return card


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m neuroroute.classifier.train", description="Train the prompt classifier's weights.")
    parser.add_argument("--data", type=Path, default=Path("../shared/routing-data"), help="folder of the routing data")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "weights", help="where table.nrt and card.json go")
    given = parser.parse_args(arguments)
    try:
        train(given.data, given.out)
    except data.DataMissing as fault:
        sys.stderr.write(f"{fault}\n")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
