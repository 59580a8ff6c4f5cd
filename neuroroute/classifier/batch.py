"""Readings of many prompts, for files and pipes: what `neuroroute route --batch` writes per line."""

from collections.abc import Iterable, Iterator, Mapping
from time import perf_counter_ns
from typing import Any, Final

from neuroroute.classifier.model import Classifier
from neuroroute.classifier.success import success

Catalogue = Mapping[str, Mapping[str, float]]
_FIRST: Final = "Write a function that adds 2 and 3."


def answer(classifier: Classifier, question: Mapping[str, Any], catalogue: Catalogue) -> dict[str, Any]:
    """
    `{id, score, category, lang, us}` for `{id, prompt}`; score = P(needs the strong model), us = microseconds of the reading.

    Where the question has `candidates` (names of models, or a mapping from name to quality per label), `quality: {model: p}` is added;
    models that neither the question nor `catalogue` (model -> quality per label) knows get the prior alone.
    """
    prompt = question.get("prompt")
    began = perf_counter_ns()
    reading = classifier.read(prompt if isinstance(prompt, str) else "")
    spent_us = (perf_counter_ns() - began) / 1000.0
    reply: dict[str, Any] = {
        "id": question.get("id"),
        "score": round(reading.difficulty, 9),
        "category": reading.label,
        "lang": reading.language,
        "us": round(spent_us, 1),
    }
    candidates = question.get("candidates")
    if candidates:
        given: Mapping[str, Any] = candidates if isinstance(candidates, Mapping) else {}
        reply["quality"] = {
            model: round(
                success(
                    given.get(model) or catalogue.get(model) or {},
                    reading.posterior,
                    reading.difficulty,
                    mean_difficulty=classifier.mean_difficulty,
                    trust=0.5 if reading.abstained else 1.0,
                ),
                6,
            )
            for model in candidates
        }
    return reply


def answers(classifier: Classifier, questions: Iterable[Mapping[str, Any]], catalogue: Catalogue) -> Iterator[dict[str, Any]]:
    """One answer per question, as each is read."""
    classifier.read(_FIRST)  # what a process does once is no part of the first prompt's time
    for question in questions:
        yield answer(classifier, question, catalogue)
