"""The kinds of prompt and the counts of a word problem."""

import pytest

from neuroroute.classifier.difficulty import EXAM, MEASURES, OPEN, PROBLEM, Scale, kind_of, measures


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Which is a metal?\nA. sulphur\nB. copper\nC. neon\nD. chlorine\nAnswer:", EXAM),
        ("Pick one: (A) red (B) blue", EXAM),
        ("Tom has 3 apples and buys 4 more. How many apples does he have?", PROBLEM),
        ("Is Python 3.12 faster than 3.11?\n```\nx = 1\n```", OPEN),
        ("Write a poem about the number 7", OPEN),
        ("Plan A. failed, what now?", OPEN),
        ("", OPEN),
    ],
)
def test_the_form_tells_the_kind(text: str, kind: str) -> None:
    assert kind_of(text) == kind


def test_the_measures_are_as_many_as_their_names_and_count_what_they_say() -> None:
    found = dict(
        zip(MEASURES, measures("Ann pays $3.50 for each of 4 pens, twice as much as Bob. If she has $20, how much is left?"), strict=True)
    )
    assert (found["dollars"], found["each"], found["multiples"], found["if"], found["fractions"]) == (2.0, 1.0, 1.0, 1.0, 1.0)
    assert len(measures("")) == len(MEASURES)


def test_a_scale_is_a_logistic_of_heads_labels_and_measures() -> None:
    scale = Scale.of({"bias": -1.0, "length": 0.0, "heads": [2.0], "labels": [0.0, 3.0], "measures": [], "means": [], "spreads": []})
    assert scale.probability([0.5], [1.0, 0.0], "", 0) == pytest.approx(0.5)
    assert scale.probability([0.5], [0.0, 1.0], "", 0) > 0.9
    assert scale.probability([1e9], [0.0, 0.0], "", 0) < 1.0


def test_where_length_counts_a_longer_prompt_is_harder() -> None:
    scale = Scale.of({"bias": 0.0, "length": 0.5, "heads": [], "labels": [], "measures": [], "means": [], "spreads": []})
    assert scale.probability([], [], "", 0) == scale.probability([], [], "", 1) == pytest.approx(0.5)
    assert scale.probability([], [], "", 400) > scale.probability([], [], "", 100) > 0.5
