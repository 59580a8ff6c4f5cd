"""Solvers of the training script: sparse design matrices, softmax and binary logistic regression by L-BFGS. Needs the extra `[train]`."""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from neuroroute.classifier.features import Seen, extract

Matrix: TypeAlias = sparse.csr_matrix
Floats: TypeAlias = NDArray[np.float64]
Singles: TypeAlias = NDArray[np.float32]
Places: TypeAlias = NDArray[np.signedinteger]
Flags: TypeAlias = NDArray[np.bool_]

MEMORY: Final = 8
SEARCHES: Final = 12
BLOCK: Final = 1024
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


def fit_softmax(rows: Matrix, targets: Floats, weights: Floats, penalty: float, iterations: int = 80) -> tuple[Floats, Floats]:
    """(weights by column and class, bias by class) of least weighted cross-entropy against soft targets, with an L2 penalty."""
    columns, inner, turned = _narrowed(rows)
    count, classes = inner.shape[1], targets.shape[1]
    shares = (weights / weights.sum()).astype(np.float32)[:, None]
    truth = targets.astype(np.float32)

    def loss(flat: Singles) -> tuple[float, Singles]:
        table = flat[:-classes].reshape(count, classes)
        scores = inner @ table + flat[-classes:]
        scores -= scores.max(axis=1, keepdims=True)
        grown = np.exp(scores)
        totals = grown.sum(axis=1, keepdims=True)
        scores -= np.log(totals)
        grown /= totals
        grown -= truth
        grown *= shares
        slope = np.empty_like(flat)
        np.multiply(table, np.float32(penalty), out=slope[:-classes].reshape(count, classes))
        slope[:-classes].reshape(count, classes)[...] += turned @ grown
        slope[-classes:] = grown.sum(axis=0)
        value = -float((shares * truth * scores).sum(dtype=np.float64)) + 0.5 * penalty * inner_product(flat[:-classes], flat[:-classes])
        return value, slope

    found = minimise(loss, np.zeros((count + 1) * classes, dtype=np.float32), iterations).astype(np.float64)
    table = np.zeros((rows.shape[1], classes))
    table[columns] = found[:-classes].reshape(count, classes)
    return table, found[-classes:]


def fit_logistic(rows: Matrix, targets: Floats, weights: Floats, penalty: float, iterations: int = 80) -> tuple[Floats, float]:
    """(weights by column, bias) of least weighted log loss against targets in 0..1, with an L2 penalty."""
    columns, inner, turned = _narrowed(rows)
    shares, truth = (weights / weights.sum()).astype(np.float32), targets.astype(np.float32)

    def loss(flat: Singles) -> tuple[float, Singles]:
        scores = inner @ flat[:-1] + flat[-1]
        value = float((shares * (np.logaddexp(np.float32(0.0), scores) - truth * scores)).sum(dtype=np.float64))
        errors = shares * (np.float32(1.0) / (np.float32(1.0) + np.exp(-scores)) - truth)
        slope = np.append(turned @ errors + np.float32(penalty) * flat[:-1], errors.sum())
        return value + 0.5 * penalty * inner_product(flat[:-1], flat[:-1]), slope

    found = minimise(loss, np.zeros(inner.shape[1] + 1, dtype=np.float32), iterations).astype(np.float64)
    table = np.zeros(rows.shape[1])
    table[columns] = found[:-1]
    return table, float(found[-1])


def _narrowed(rows: Matrix) -> tuple[Places, Matrix, Matrix]:
    """(the columns that any row has, the rows on these, the same turned): the weights of all others stay 0, whatever is fitted."""
    columns = np.flatnonzero(np.bincount(rows.indices, minlength=rows.shape[1]))
    inner = rows[:, columns].tocsr().astype(np.float32)
    return columns, inner, inner.T.tocsr()


def inner_product(a: Singles, b: Singles) -> float:
    """
    Summed in single precision by blocks, in double over them: as exact as the fits need, at the speed of memory. Never by BLAS, whose order of
    summing, and so its last digits, depends on how many cores the machine has.
    """
    whole = len(a) - len(a) % BLOCK
    blocks = np.einsum("ij,ij->i", a[:whole].reshape(-1, BLOCK), b[:whole].reshape(-1, BLOCK))
    return float(blocks.sum(dtype=np.float64)) + float(np.einsum("i,i->", a[whole:], b[whole:]))


def minimise(loss: Callable[[Singles], tuple[float, Singles]], start: Singles, iterations: int) -> Singles:
    """L-BFGS with a backtracking search, for a smooth convex `loss` that gives its value and slope. Source: Nocedal, Wright, algorithm 7.4."""
    at, (value, slope) = start, loss(start)
    pairs: deque[tuple[Singles, Singles, float]] = deque(maxlen=MEMORY)
    for _ in range(iterations):
        course = slope.copy()
        shares = []
        for step, turn, curve in reversed(pairs):
            share = inner_product(step, course) / curve
            course -= np.float32(share) * turn
            shares.append(share)
        if pairs:
            step, turn, curve = pairs[-1]
            course *= np.float32(curve / inner_product(turn, turn))
        for (step, turn, curve), share in zip(pairs, reversed(shares), strict=True):
            course += np.float32(share - inner_product(turn, course) / curve) * step
        fall = inner_product(slope, course)
        if fall <= 0.0:
            break
        length = 1.0 if pairs else min(1.0, 1.0 / fall**0.5)
        for _ in range(SEARCHES):
            tried = at - np.float32(length) * course
            reached, turned = loss(tried)
            if reached <= value - 1e-4 * length * fall:
                break
            length = max(0.1 * length, min(0.5 * length, 0.5 * length * length * fall / (reached - value + length * fall)))
        else:
            break
        step, turn = tried - at, turned - slope
        curve = inner_product(step, turn)
        if curve > 1e-10 * inner_product(turn, turn):
            pairs.append((step, turn, curve))
        at, value, slope = tried, reached, turned
    return at
