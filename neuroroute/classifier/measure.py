"""The figures of the card: every one from fits that saw nothing of what they are measured on."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from time import thread_time_ns
from typing import Any, Final

import numpy as np

from neuroroute.classifier import fit
from neuroroute.classifier.augment import KINDS as MESSES
from neuroroute.classifier.data import Example
from neuroroute.classifier.difficulty import KINDS, Scale
from neuroroute.classifier.features import window
from neuroroute.classifier.labels import LABELS
from neuroroute.classifier.many import report, stream_of
from neuroroute.classifier.metrics import apgr, calibration, calls_for, interval, macro_f1
from neuroroute.classifier.model import Classifier
from neuroroute.classifier.recipe import Sheet

PAIR_SETS: Final = ("routellm_mmlu", "routellm_gsm8k")
MANY_SETS: Final = ("mmlu_pro", "llmrouter")


def first_of_each(examples: Sequence[Example]) -> fit.Flags:
    """True where an example is the original, False where it is a messy copy of one before it."""
    seen: set[str] = set()
    return np.array([not (example.id in seen or seen.add(example.id)) for example in examples])  # type: ignore[func-returns-value]


def label_figures(posterior: fit.Floats, truth: Sequence[str]) -> dict[str, Any]:
    """Accuracy and macro F1 with their intervals, expected calibration error and its plot."""
    said = [LABELS[at] for at in posterior.argmax(axis=1)]
    right = np.array([a == b for a, b in zip(said, truth, strict=True)])
    error, plot = calibration(posterior.max(axis=1), right)

    def f1(rows: Any) -> float:
        return macro_f1([truth[at] for at in rows], [said[at] for at in rows])

    return {
        "prompts": len(truth),
        "accuracy": float(right.mean()),
        "accuracy_95": interval(lambda rows: float(right[rows].mean()), len(right)),
        "macro_f1": macro_f1(truth, said),
        "macro_f1_95": interval(f1, len(right), 60),
        "expected_calibration_error": error,
        "calibration_plot": plot,
    }


def labels_by_source(examples: Sequence[Example], left: fit.Floats, posterior: fit.Floats) -> dict[str, Any]:
    """One source left out at a time, then all English and all other languages together; `left`: NaN where no source was left out."""
    usable = first_of_each(examples) & ~np.isnan(left[:, 0])
    sources = np.array([example.source for example in examples])
    english = np.array([example.lang == "en" for example in examples])
    cuts = {source: usable & (sources == source) for source in sorted(set(sources[usable]))}
    cuts |= {"english": usable & english, "other_languages": usable & ~english, "all": usable}
    return {
        name: label_figures(posterior[chosen], [examples[at].label for at in map(int, np.flatnonzero(chosen))])
        for name, chosen in cuts.items()
    }


def held_out_difficulty(
    part: Sheet, scores: fit.Floats, posterior: fit.Floats, scales: Sequence[Mapping[str, Any]], fold: fit.Places
) -> fit.Floats:
    """Difficulty as the classifier would have read it: heads and scales from fits without the prompt's fold. NaN where nothing was measured."""
    behind = len(LABELS)
    found = np.full(len(part.examples), np.nan)
    ready = [{kind: Scale.of(header[kind]) for kind in KINDS} for header in scales]
    for at in map(int, np.flatnonzero(first_of_each(part.examples))):
        if part.examples[at].failed is not None:
            scale = ready[int(fold[at])][KINDS[int(part.kinds[at])]]
            found[at] = scale.probability(scores[at, behind:].tolist(), posterior[at].tolist(), window(part.examples[at].prompt))
    return found


def pair_figures(part: Sheet, difficulty: fit.Floats, fold: fit.Places) -> dict[str, Any]:
    """APGR and CPT of the pair on its two sets, and on both as one stream."""
    sources = np.array([example.source for example in part.examples])
    weak = 1.0 - np.array([np.nan if example.failed is None else example.failed for example in part.examples])
    strong = weak + np.array([np.nan if example.gained is None else example.gained for example in part.examples])
    ready = ~np.isnan(difficulty)
    words = np.array([example.label != "math" for example in part.examples])
    cuts = [(name, ready & (sources == name)) for name in PAIR_SETS]
    cuts += [("routellm_mmlu_without_mathematics", cuts[0][1] & words), ("both", ready & np.isin(sources, PAIR_SETS))]
    found: dict[str, Any] = {}
    for name, chosen in cuts:
        s, w, g = difficulty[chosen], weak[chosen], strong[chosen]

        def area(rows: Any, s: fit.Floats = s, w: fit.Floats = w, g: fit.Floats = g) -> float:
            return apgr(s[rows], w[rows], g[rows])

        parts = [
            (int(rows.sum()), apgr(s[rows], w[rows], g[rows])) for rows in (fold[chosen] == place for place in sorted(set(fold[chosen])))
        ]
        needed = np.maximum(g - w, 0.0)
        error, plot = calibration(s, needed)
        found[name] = {
            "prompts": len(s), "apgr": apgr(s, w, g), "apgr_95": interval(area, len(s)), "apgr_of_folds": [value for _, value in parts],
            "apgr_mean_of_folds": sum(count * value for count, value in parts) / len(s), "cpt_50": calls_for(s, w, g, 0.5), "cpt_80": calls_for(s, w, g, 0.8),
            "expected_calibration_error": error, "calibration_plot": plot,
        }  # fmt: skip
    return found


def many_figures(part: Sheet, difficulty: fit.Floats, posterior: fit.Floats, slope: float) -> dict[str, Any]:
    """The cost-quality reports of many models."""
    found: dict[str, Any] = {}
    for name in MANY_SETS:
        rows = [at for at, example in enumerate(part.examples) if example.source == name and not np.isnan(difficulty[at])]
        labels = [part.examples[at].label for at in rows]
        means = {
            label: float(np.mean([difficulty[at] for at, said in zip(rows, labels, strict=True) if said == label])) for label in set(labels)
        }
        chosen = [part.examples[at] for at in rows]
        found[name] = report(stream_of(name, chosen, posterior[rows], difficulty[rows], slope, means))
        if found[name]["models_that_answered_all"] < found[name]["models"]:
            whole = stream_of(name, chosen, posterior[rows], difficulty[rows], slope, means, whole=True)
            found[f"{name}_models_that_answered_all"] = report(whole)
    return found


def robustness(classifier: Classifier, examples: Sequence[Example]) -> dict[str, float]:
    """The share of prompts that keep their label under each kind of mess; `examples` should not have been trained on."""
    dice = Random(11)
    plain = [classifier.read(example.prompt).label for example in examples]
    return {
        kind: sum(classifier.read(mess(e.prompt, dice, e.lang)).label == label for e, label in zip(examples, plain, strict=True))
        / len(plain)
        for kind, mess in MESSES.items()
    }


def latency(classifier: Classifier, prompts: Sequence[str]) -> dict[str, float]:
    """Microseconds of one core that a reading takes, one prompt at a time, the best of three runs of each prompt."""
    spent = []
    for prompt in prompts:
        best = 1e12
        for _ in range(3):
            began = thread_time_ns()
            classifier.read(prompt)
            best = min(best, (thread_time_ns() - began) / 1000.0)
        spent.append(best)
    return {"median_us": float(np.median(spent)), "p99_us": float(np.quantile(spent, 0.99)), "prompts": float(len(spent))}


def size_of(folder: Path) -> int:
    return (folder / "table.nrt").stat().st_size
