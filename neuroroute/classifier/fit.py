"""Solvers of the training script: sparse design matrices, softmax and binary logistic regression by L-BFGS. Needs the extra `[train]`."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import minimize

from neuroroute.classifier.features import Seen, extract

Matrix: TypeAlias = sparse.csr_matrix
Floats: TypeAlias = NDArray[np.float64]
Places: TypeAlias = NDArray[np.signedinteger]
Flags: TypeAlias = NDArray[np.bool_]

SURFACE_VALUE: Final = 0.35
"""The weight of one surface fact in the design matrix; text features share 1 by the root of their number."""


class Vocabulary:
    """Feature name -> column, the text features first in no special order, all of them known."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self.column = {name: at for at, name in enumerate(self.names)}

    @classmethod
    def counted(cls, documents: Iterable[Seen], least: int) -> "Vocabulary":
        """The features that at least `least` documents have, surface facts always."""
        counts: Counter[str] = Counter()
        facts: set[str] = set()
        for seen in documents:
            counts.update(seen.text())
            facts.update(seen.facts)
        return cls(sorted(facts) + sorted(name for name, count in counts.items() if count >= least and name not in facts))

    def matrix(self, documents: Sequence[Seen]) -> Matrix:
        """Rows of documents; text features weigh 1/sqrt(how many the document has in all), surface facts SURFACE_VALUE."""
        starts, columns, values = [0], [], []
        for seen in documents:
            text = seen.text()
            value = 1.0 / max(1, len(text)) ** 0.5
            for name in text:
                at = self.column.get(name)
                if at is not None:
                    columns.append(at)
                    values.append(value)
            for name in seen.facts:
                at = self.column.get(name)
                if at is not None:
                    columns.append(at)
                    values.append(SURFACE_VALUE)
            starts.append(len(columns))
        shape = (len(documents), len(self.names))
        made = sparse.csr_matrix((np.array(values), np.array(columns, dtype=np.int32), np.array(starts)), shape=shape)
        # Sets of strings have another order in every process; sorted rows make the sums, and so the weights, the same in all.
        made.sort_indices()
        return made


def documents(prompts: Iterable[str]) -> list[Seen]:
    return [extract(prompt) for prompt in prompts]


def softmax(scores: Floats) -> Floats:
    shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
    out: Floats = shifted / shifted.sum(axis=1, keepdims=True)
    return out


def fit_softmax(
    rows: Matrix, targets: Floats, weights: Floats, penalty: float, iterations: int = 80, start: tuple[Floats, Floats] | None = None
) -> tuple[Floats, Floats]:
    """(weights by column and class, bias by class) of least weighted cross-entropy against soft targets, with an L2 penalty."""
    count, classes = rows.shape[1], targets.shape[1]
    total = weights.sum()
    turned = rows.T.tocsr()

    def loss(flat: Floats) -> tuple[float, Floats]:
        table = flat[:-classes].reshape(count, classes)
        scores = rows @ table + flat[-classes:]
        top = scores.max(axis=1, keepdims=True)
        logs = scores - top - np.log(np.exp(scores - top).sum(axis=1, keepdims=True))
        value = -(weights[:, None] * targets * logs).sum() / total + 0.5 * penalty * (table * table).sum()
        errors = weights[:, None] * (np.exp(logs) - targets) / total
        slope = np.concatenate([(turned @ errors + penalty * table).ravel(), errors.sum(axis=0)])
        return float(value), slope

    first = np.zeros(count * classes + classes) if start is None else np.concatenate([start[0].ravel(), start[1]])
    found = minimize(loss, first, jac=True, method="L-BFGS-B", options={"maxiter": iterations, "maxcor": 8}).x
    return found[:-classes].reshape(count, classes), found[-classes:]


def fit_logistic(rows: Matrix, targets: Floats, weights: Floats, penalty: float, iterations: int = 80) -> tuple[Floats, float]:
    """(weights by column, bias) of least weighted log loss against targets in 0..1, with an L2 penalty."""
    total = weights.sum()
    turned = rows.T.tocsr()

    def loss(flat: Floats) -> tuple[float, Floats]:
        scores = rows @ flat[:-1] + flat[-1]
        value = (weights * (np.logaddexp(0.0, scores) - targets * scores)).sum() / total + 0.5 * penalty * (flat[:-1] ** 2).sum()
        errors = weights * (1.0 / (1.0 + np.exp(-scores)) - targets) / total
        return float(value), np.concatenate([turned @ errors + penalty * flat[:-1], [errors.sum()]])

    found = minimize(loss, np.zeros(rows.shape[1] + 1), jac=True, method="L-BFGS-B", options={"maxiter": iterations, "maxcor": 8}).x
    return found[:-1], float(found[-1])
