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
from neuroroute.classifier.difficulty import EXAM, Difficulty, Scale, length_of
from neuroroute.classifier.features import window
from neuroroute.classifier.labels import LABELS
from neuroroute.classifier.many import report, stream_of
from neuroroute.classifier.metrics import apgr, calibration, calls_for, interval, macro_f1
from neuroroute.classifier.model import Classifier
from neuroroute.classifier.recipe import Sheet, misread, originals

PAIR_SETS: Final = ("routellm_mmlu", "routellm_gsm8k")
SECOND_PAIRS: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "mmlu_pro": (
        ("Mixtral-8x7B-Instruct-v0.1", "Meta-Llama-3_1-70B-Instruct"),
        ("Meta-Llama-3-8B", "Meta-Llama-3-70B"),
        ("Qwen1.5-7B-Chat", "Qwen1.5-110B"),
    ),
    "llmrouter": (
        ("mistral-7b-instruct-v0.3", "llama-3.3-nemotron-super-49b-v1"),
        ("llama-3.1-8b-instruct", "llama-3.3-nemotron-super-49b-v1"),
        ("gemma-2-9b-it", "llama-3.1-nemotron-51b-instruct"),
    ),
}
"""(weak, strong) of a maker or of the usual use, chosen before they were measured."""
STREAM_PAIRS: Final = (
    (("llama-3.1-8b-instruct", "Meta-Llama-3_1-8B-Instruct"), ("llama-3.1-nemotron-51b-instruct", "Meta-Llama-3_1-70B-Instruct")),
    (("mistral-7b-instruct-v0.3", "Mistral-7B-Instruct-v0.2"), ("llama-3.3-nemotron-super-49b-v1", "Meta-Llama-3_1-70B-Instruct")),
    (("gemma-2-9b-it", "gemma-7b"), ("llama-3.1-nemotron-51b-instruct", "Meta-Llama-3-70B")),
)
"""(weak, strong), each by its name on LLMRouter and on MMLU-Pro: the same model, or the nearest that answered there."""
TASK_SHARE: Final = 150
MIXED_SETS: Final = ("routellm_mmlu", "routellm_gsm8k", "llmrouter/arc_challenge", "llmrouter/mbpp")
MIXED_SHARE: Final = 500
MANY_SETS: Final = ("mmlu_pro", "llmrouter")


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
    usable = originals(examples) & ~np.isnan(left[:, 0])
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
    ready = [Difficulty.of(header) for header in scales]
    for at in map(int, np.flatnonzero(originals(part.examples))):
        if part.examples[at].failed is not None:
            prompt = part.examples[at].prompt
            found[at] = ready[int(fold[at])].probability(scores[at, behind:].tolist(), posterior[at].tolist(), window(prompt), len(prompt))
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


def subject_figures(part: Sheet, draws: Sequence[tuple[fit.Places, fit.Floats]], header: Mapping[str, Any]) -> dict[str, Any]:
    """
    APGR over repeated draws of exam subjects that no fit saw: the mean, and what 95 of 100 other draws and samples of them would give.

    Three cuts: all subjects, without those whose answers were misread, without mathematics.
    """
    scale, wrong = Scale.of(header), misread(part.examples)
    even = [1.0 / len(LABELS)] * len(LABELS)
    dice = np.random.default_rng(7)
    values: dict[str, list[float]] = {"all": [], "without_misread_subjects": [], "without_mathematics": []}
    spread: dict[str, list[float]] = {name: [] for name in values}
    for places, scores in draws:
        drawn = [part.examples[int(at)] for at in places]
        score = np.array(
            [
                scale.probability(row.tolist(), even, (text := window(e.prompt)), length_of(EXAM, text, len(e.prompt)))
                for row, e in zip(scores, drawn, strict=True)
            ]
        )
        weak = 1.0 - np.array([e.failed for e in drawn], dtype=float)
        strong = weak + np.array([e.gained for e in drawn], dtype=float)
        cuts = {
            "all": np.ones(len(drawn), dtype=bool),
            "without_misread_subjects": np.array([e.fold_key not in wrong for e in drawn]),
            "without_mathematics": np.array([e.label != "math" for e in drawn]),
        }
        for name, chosen in cuts.items():
            s, w, g = score[chosen], weak[chosen], strong[chosen]
            values[name].append(apgr(s, w, g))
            spread[name] += [apgr(s[rows], w[rows], g[rows]) for rows in (dice.integers(0, len(s), len(s)) for _ in range(40))]
    return {
        "draws": len(draws),
        "misread_subjects": sorted(wrong),
        **{
            name: {
                "apgr": float(np.mean(found)),
                "apgr_95": (float(np.quantile(spread[name], 0.025)), float(np.quantile(spread[name], 0.975))),
                "apgr_of_draws": found,
            }
            for name, found in values.items()
        },
    }


def second_pairs(part: Sheet, difficulty: fit.Floats) -> dict[str, Any]:
    """
    APGR for other pairs of models than the one that exam difficulty was fitted on, on sets of many models; their mean.

    `mean_of_known_tasks`: what an order would get that knew each task's own gain, as the mean over the set's pairs: about the most that one
    score for all pairs can reach without telling questions of a task apart.
    """
    found: dict[str, Any] = {}
    samples, known = [], []
    for name, pairs in SECOND_PAIRS.items():
        rows = np.flatnonzero([example.source == name for example in part.examples] & ~np.isnan(difficulty))
        answers = [np.array([_answers(part.examples[at], *pair) for at in rows], dtype=float).T for pair in pairs]
        gains = np.nanmean([strong - weak for weak, strong in answers], axis=0)
        groups = np.array([part.examples[at].group for at in rows])
        levels = np.array([gains[groups == group].mean() for group in groups])
        for (first, second), (weak, strong) in zip(pairs, answers, strict=True):
            asked = ~np.isnan(weak + strong)
            s, w, g = difficulty[rows][asked], weak[asked], strong[asked]
            dice = np.random.default_rng(7)
            sample = [apgr(s[lot], w[lot], g[lot]) for lot in (dice.integers(0, len(s), len(s)) for _ in range(300))]
            samples.append(sample)
            known.append(apgr(levels[asked], w, g))
            low, high = np.quantile(sample, (0.025, 0.975))
            found[f"{name}: {first} < {second}"] = {"prompts": len(s), "apgr": apgr(s, w, g), "apgr_95": (low, high)}
    found["mean"] = float(np.mean([entry["apgr"] for entry in found.values()]))
    found["mean_95"] = tuple(np.quantile(np.mean(samples, axis=0), (0.025, 0.975)))
    found["mean_of_known_tasks"] = float(np.mean(known))
    return found


def stream_of_tasks(part: Sheet, difficulty: fit.Floats) -> dict[str, Any]:
    """
    A stand-in for a stream of many tasks: TASK_SHARE prompts each of the fields of MMLU-Pro and the tasks of LLMRouter in one order, for pairs
    of models that answered both sets or have a near relative there; the mean and the spread over samples.
    """
    keys = np.array([example.fold_key if example.source in SECOND_PAIRS else "" for example in part.examples])
    pools = [np.flatnonzero((keys == key) & ~np.isnan(difficulty)) for key in sorted(set(keys) - {""})]
    found: dict[str, Any] = {"tasks": len(pools), "prompts_of_each": TASK_SHARE}
    everything = []
    for weak, strong in STREAM_PAIRS:
        dice = np.random.default_rng(7)
        sample = []
        for _ in range(200):
            rows = np.concatenate([dice.choice(pool, TASK_SHARE, replace=True) for pool in pools])
            answered = np.array([(_any_of(part.examples[at], weak), _any_of(part.examples[at], strong)) for at in rows], dtype=float)
            asked = ~np.isnan(answered.sum(axis=1))
            sample.append(apgr(difficulty[rows][asked], *answered[asked].T))
        everything.append(sample)
        low, high = np.quantile(sample, (0.025, 0.975))
        found[f"{' or '.join(weak)} < {' or '.join(strong)}"] = {"apgr": float(np.mean(sample)), "apgr_95": (low, high)}
    found["mean"] = float(np.mean(everything))
    found["mean_95"] = tuple(np.quantile(np.mean(everything, axis=0), (0.025, 0.975)))
    return found


def _any_of(example: Example, models: Sequence[str]) -> float | None:
    return next((value for model in models if (value := (example.quality or {}).get(model)) is not None), None)


def _answers(example: Example, first: str, second: str) -> tuple[float | None, float | None]:
    quality = example.quality or {}
    return quality.get(first), quality.get(second)


def mixed_stream(part: Sheet, difficulty: fit.Floats) -> dict[str, Any]:
    """
    A stand-in for a mixed stream: up to MIXED_SHARE prompts each of exam questions, word problems, science questions and programming,
    in one order by difficulty; the mean and the spread over samples. Every prompt was outside the fit that read it.
    """
    keys = np.array([f"{example.source}/{example.group}" if example.source == "llmrouter" else example.source for example in part.examples])
    ready = ~np.isnan(difficulty)
    weak = 1.0 - np.array([np.nan if example.failed is None else example.failed for example in part.examples])
    strong = weak + np.array([np.nan if example.gained is None else example.gained for example in part.examples])
    pools = [np.flatnonzero(ready & (keys == key)) for key in MIXED_SETS]
    dice = np.random.default_rng(7)
    found = []
    for _ in range(200):
        rows = np.concatenate([dice.choice(pool, min(MIXED_SHARE, len(pool)), replace=True) for pool in pools])
        found.append(apgr(difficulty[rows], weak[rows], strong[rows]))
    return {
        "sets": list(MIXED_SETS),
        "prompts_of_each": [min(MIXED_SHARE, len(pool)) for pool in pools],
        "apgr": float(np.mean(found)),
        "apgr_95": (float(np.quantile(found, 0.025)), float(np.quantile(found, 0.975))),
    }


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
