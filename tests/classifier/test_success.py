"""From a reading to P(good answer) per model, and to lines of answers."""

import pytest

from neuroroute.classifier import LABELS, Classifier, success
from neuroroute.classifier.batch import answer, answers

CODE = tuple(1.0 if label == "code" else 0.0 for label in LABELS)
HALF = tuple(0.5 if label in ("code", "chat") else 0.0 for label in LABELS)


def test_at_mean_difficulty_a_model_is_as_good_as_the_catalogue_says() -> None:
    assert success({"code": 0.7}, CODE, 0.4, mean_difficulty={"code": 0.4}) == pytest.approx(0.7)


def test_the_harder_the_prompt_the_less_likely_the_success() -> None:
    chances = [success({"code": 0.7}, CODE, difficulty) for difficulty in (0.1, 0.3, 0.6, 0.9)]
    assert chances == sorted(chances, reverse=True)
    assert chances[0] > 0.8
    assert chances[-1] < 0.3


def test_the_posterior_mixes_the_labels_and_default_fills_the_gaps() -> None:
    assert success({"code": 0.9, "default": 0.5}, HALF, 0.4, mean_difficulty={"code": 0.4, "chat": 0.4}) == pytest.approx(0.7)
    assert success({}, CODE, 0.4, mean_difficulty={"code": 0.4}) == pytest.approx(0.5)


def test_without_trust_the_difficulty_is_not_heard() -> None:
    assert success({"code": 0.7}, CODE, 0.99, trust=0.0) == pytest.approx(0.7)


@pytest.mark.parametrize("quality", [0.0, 1.0])
@pytest.mark.parametrize("difficulty", [0.0, 1.0])
def test_the_extremes_stay_probabilities(quality: float, difficulty: float) -> None:
    assert 0.0 < success({"default": quality}, CODE, difficulty) < 1.0


def test_a_batch_line_has_the_fields_and_the_quality_of_its_candidates() -> None:
    classifier = Classifier.load()
    line = {"id": 7, "prompt": "Write a SQL query that joins three tables", "candidates": ["strong", "weak", "stranger"]}
    reply = answer(classifier, line, {"strong": {"default": 0.9}, "weak": {"default": 0.4}})
    assert set(reply) == {"id", "score", "category", "lang", "us", "quality"}
    assert (reply["id"], reply["category"], reply["lang"]) == (7, "code", "en")
    assert reply["us"] > 0
    assert reply["quality"]["strong"] > reply["quality"]["stranger"] > reply["quality"]["weak"]


def test_a_batch_line_may_bring_its_own_qualities_and_bad_prompts_do_not_stop_the_batch() -> None:
    replies = list(
        answers(
            Classifier.load(),
            [{"id": "a", "prompt": None}, {"id": "b", "prompt": "hi", "candidates": {"m": {"default": 0.8}}}, {"prompt": "x"}],
            {},
        )
    )
    assert [reply["id"] for reply in replies] == ["a", "b", None]
    assert replies[1]["quality"]["m"] > 0.6
    assert "quality" not in replies[0]
