"""The kinds of prompt and the counts of a word problem."""

import pytest

from neuroroute.classifier.difficulty import (
    EXAM,
    KINDS,
    MEASURES,
    OPEN,
    PROBLEM,
    WIDE,
    Difficulty,
    Scale,
    choices_of,
    kind_of,
    measures,
)
from neuroroute.classifier.labels import LABELS


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Which is a metal?\nA. sulphur\nB. copper\nC. neon\nD. chlorine\nAnswer:", EXAM),
        ("Pick one: (A) red (B) blue", EXAM),
        ("Which?\nA. 1\nB. 2\nC. 3\nD. 4\nE. 5", EXAM),
        ("Which?\nA. 1\nB. 2\nC. 3\nD. 4\nE. 5\nF. 6", WIDE),
        (r"Tom has 3 apples and buys 4 more. How many has he? Put the answer in \boxed{}.", PROBLEM),
        ("Tom has 3 apples and buys 4 more. How many apples does he have?", PROBLEM),
        ("Is Python 3.12 faster than 3.11?\n```\nx = 1\n```", OPEN),
        ("Write a poem about the number 7", OPEN),
        ("What is $x$ if $3x + 4 = 19$?", OPEN),
        (r"What is \frac{3}{4} of 16?", OPEN),
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


def _flat(bias: float, **more: float) -> dict[str, object]:
    return {"bias": bias, "length": 0.0, "heads": [], "labels": [], "measures": [], "means": [], "spreads": [], **more}


def test_more_choices_make_a_question_harder_and_fewer_do_not_make_it_easier() -> None:
    read = Difficulty.of({kind: _flat(0.0, choices=1.0) for kind in KINDS})
    ten = "Which one?\n" + "\n".join(f"{letter}. {number}" for letter, number in zip("ABCDEFGHIJ", range(10), strict=True))
    four, two = ten[: ten.index("\nE.")], ten[: ten.index("\nC.")]
    assert [(kind_of(text), choices_of(text)) for text in (ten, four, two)] == [(WIDE, 10), (EXAM, 4), (EXAM, 2)]
    hard, usual, pair = (read.probability([], [], text, len(text)) for text in (ten, four, two))
    assert hard > usual == pair == pytest.approx(0.5)


def test_of_an_exam_question_what_is_told_counts_and_not_its_choices() -> None:
    read = Difficulty.of({kind: {**_flat(0.0), "length": 0.5} for kind in KINDS})
    brief, told = "Which is it?", "A man of forty comes with a cough, a fever and a rash. Which is it?"
    few, many = "\nA. flu\nB. measles", "\nA. influenza, of which there are many\nB. measles"

    def asked(text: str) -> float:
        return read.probability([], [], text, len(text))

    assert asked(told + few) > asked(brief + few)
    assert asked(told + few) == asked(told + many)


def test_numbers_in_a_question_make_a_word_problem_of_mathematics_alone() -> None:
    read = Difficulty.of({EXAM: _flat(0.0), WIDE: _flat(0.0), PROBLEM: _flat(2.0), OPEN: _flat(-2.0)})
    asked = "Ann has 3 cats and 4 dogs. How many animals are there?"
    sure = [1.0 if label == "math" else 0.0 for label in LABELS]
    other = [1.0 if label == "factual_qa" else 0.0 for label in LABELS]
    assert read.probability([], sure, asked, len(asked)) > 0.8
    assert read.probability([], other, asked, len(asked)) < 0.2
