"""What an answer says of its model: opinions, complaints weighed by what is expected, refusals, broken schemas."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroroute.routing.evidence import Complaints, Signal, conforms, loops, objects, opinion, refuses
from neuroroute.store.learned import Counts


def test_an_opinion_counts_as_its_score() -> None:
    assert [opinion(score) for score in (1.0, 0.5, 0.0, -1.0)] == [Counts(1, 0), Counts(0.5, 0), Counts(0, 0), Counts(0, 1)]


def drift(expected: float, true: float, of_good: float, answers: int = 20_000, seed: int = 3) -> Counts:
    """The counts of a model from which `expected` is expected and that is `true`; bad answers draw six times the complaints of good ones."""
    chance, complaints, good, bad = random.Random(seed), Complaints(), 0.0, 0.0
    for place in range(answers + 5000):
        share = of_good if chance.random() < true else 6 * of_good
        counts = complaints.weigh(expected, Signal.REFUSED if chance.random() < share else None)
        if place >= 5000:  # once the running share is known
            good, bad = good + counts.good, bad + counts.bad
    return Counts(good, bad)


@pytest.mark.parametrize("quality", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("of_good", [0.001, 0.03])
def test_a_model_that_is_as_expected_stays_however_patient_its_users_are(quality: float, of_good: float) -> None:
    counts = drift(quality, quality, of_good)
    assert counts.good / (counts.good + counts.bad) == pytest.approx(quality, abs=0.12)


def test_a_model_that_is_worse_than_its_neighbours_falls() -> None:
    complaints, chance, good, bad = Complaints(), random.Random(5), 0.0, 0.0
    for _ in range(20_000):
        for true in (0.85, 0.85, 0.85, 0.5):  # all are expected to be .85
            complaint = chance.random() < (0.02 if chance.random() < true else 0.12)
            counts = complaints.weigh(0.85, Signal.RETRIED if complaint else None)
            if true == 0.5:
                good, bad = good + counts.good, bad + counts.bad
    assert good / (good + bad) < 0.80


def test_one_quiet_answer_says_little_and_one_complaint_more() -> None:
    quiet, complaint = Complaints().weigh(0.75, None), Complaints().weigh(0.75, Signal.LEFT)
    assert quiet.bad == complaint.good == 0.0 and 0.01 < quiet.good < 0.15 and 0.3 < complaint.bad < 1.0
    assert Complaints().weigh(0.75, Signal.BROKEN) == Counts(0.0, 1.0)


def test_a_late_complaint_takes_the_quiet_answer_back() -> None:
    complaints = Complaints()
    quiet = complaints.weigh(0.75, None)
    late = complaints.late(0.75)
    assert quiet.good + late.good == pytest.approx(0.0, abs=0.002) and late.bad > 0.3


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.sampled_from([None, *Signal])), max_size=60))
def test_counts_are_never_more_than_an_answer(answers: list[tuple[float, Signal | None]]) -> None:
    complaints = Complaints()
    for quality, signal in answers:
        counts = complaints.weigh(quality, signal)
        assert 0.0 <= counts.good <= 1.0 and 0.0 <= counts.bad <= 1.0


@pytest.mark.parametrize(
    "text",
    ["I'm sorry, but I can't help with that.", "I’m sorry, but I cannot assist with that request.", "Sorry, I am unable to do this.",
     "As an AI language model, I can't have opinions.", "I cannot help with this.", "Es tut mir leid, dabei kann ich nicht helfen.",
     "Lo siento, pero no puedo ayudar con eso.", "抱歉，我无法回答这个问题。", "I won't provide that."],
)  # fmt: skip
def test_refusals_are_known(text: str) -> None:
    assert refuses(text)


@pytest.mark.parametrize(
    "text",
    ["Sure! Here it is.", "The function cannot help here, since ...", "I can't wait to show you this.", "Sorry for the delay: here is the text.",
     "", "You can say: I'm sorry, but I can't come.", "I'm sorry to hear that. Here is what you can do:", "x" * 100_000],
)  # fmt: skip
def test_answers_are_no_refusals(text: str) -> None:
    assert not refuses(text)


PERSON = {
    "type": "object",
    "required": ["name", "age"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer"},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}},
        "friend": {"anyOf": [{"$ref": "#/$defs/friend"}, {"type": "null"}]},
    },
    "$defs": {"friend": {"type": "object", "required": ["name"], "properties": {"name": {"type": ["string", "null"]}}}},
}


@pytest.mark.parametrize(
    "value",
    [{"name": "a", "age": 3}, {"name": "a", "age": 3.0, "tags": []}, {"name": "a", "age": 1, "tags": ["a", "b"], "friend": None},
     {"name": "a", "age": 1, "friend": {"name": None, "more": 1}}],
)  # fmt: skip
def test_what_keeps_a_schema(value: object) -> None:
    assert conforms(value, PERSON)


@pytest.mark.parametrize(
    "value",
    [[], "text", None, {"name": "a"}, {"name": 1, "age": 1}, {"name": "a", "age": True}, {"name": "a", "age": 1.5}, {"name": "a", "age": 1, "x": 1},
     {"name": "a", "age": 1, "tags": ["c"]}, {"name": "a", "age": 1, "friend": {}}, {"name": "a", "age": 1, "friend": 7}],
)  # fmt: skip
def test_what_breaks_a_schema(value: object) -> None:
    assert not conforms(value, PERSON)


def test_odd_schemas_are_taken_to_be_kept() -> None:
    for schema in (
        {},
        {"type": 7},
        {"$ref": "http://elsewhere"},
        {"$ref": "#/$defs/gone"},
        {"type": "thing"},
        {"properties": 3, "required": "x"},
        {"enum": 3},
    ):
        assert conforms({"a": 1}, schema), schema
    endless = {"$ref": "#"}
    assert conforms({"a": 1}, endless)
    deep: dict[str, object] = {}
    at = deep
    for _ in range(3000):
        at["items"] = {}
        at = at["items"]  # type: ignore[assignment]
    assert conforms([[]], deep)
    assert conforms([1] * 100_000, {"type": "array", "items": {"type": "integer"}}), "bounded work"


@pytest.mark.parametrize(
    "text",
    [
        "No, that's wrong.", "that is not what I asked for", "This doesn't work", "It still doesn't compile", "Hmm... try again", "Wrong!",
        "You made a mistake in line 3", "Your code is incorrect, it prints 3", "Sorry, but the answer is not right",
        "Das ist leider falsch", "Falsch.", "Es funktioniert immer noch nicht", "Nein, das stimmt so nicht", "Versuche es noch einmal",
        "Non, c'est toujours faux", "Ça ne marche pas", "Eso no es correcto", "No funciona.", "Non è corretto", "Está errado", "Não funciona",
        "Неправильно!", "Нет, это не так", "Попробуй ещё раз", "不对，再想想", "错了", "違います", "間違っています", "틀렸어요",
    ],
)  # fmt: skip
def test_objections_are_known(text: str) -> None:
    assert objects(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "No, thanks", "No", "Is that wrong?", "Why is it wrong to lie?", "That is right", "That's not bad at all", "wrong way driver penalties",
        "try again later is what the error says", "Das ist nicht schlecht", "Es ist kalt", "C'est pas mal", "Está lloviendo en Madrid",
        "No es por nada, pero gracias", "不对称加密是什么?", "違う国に住みたい", "Неправильно ли врать?", "again " * 200,
    ],
)  # fmt: skip
def test_what_is_no_objection(text: str) -> None:
    assert not objects(text)


def test_a_model_that_loops_is_seen_at_its_end() -> None:
    assert loops("Well. " + "I think that the answer is that the answer is what it is. " * 8)
    assert loops("哈密瓜很甜很甜的。" * 60)
    for text in (
        "",
        "word " * 3,
        "-" * 500,
        "|---|---|\n" * 60,
        "0, " * 200,
        "".join(f"Line {i} is not like line {i + 1} at all.\n" for i in range(80)),
    ):
        assert not loops(text), text[:20]
