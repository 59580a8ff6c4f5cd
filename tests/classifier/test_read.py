"""The packaged weights, read as the gateway reads them."""

import time
import tracemalloc
from itertools import pairwise

import pytest

from neuroroute.classifier import LABELS, Classifier, Reading
from neuroroute.classifier.features import _CUT_OF, HEAD_CHARS, TAIL_CHARS, UNSPACED_LETTERS, extract, task_of, tokens, window
from neuroroute.classifier.lexicon import CONCEPT_OF


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier.load()


@pytest.mark.parametrize(
    ("prompt", "label", "language"),
    [
        ("Write a Python function that reverses a linked list.", "code", "en"),
        ("Fix this bug: TypeError: 'NoneType' object is not subscriptable\n\ndef f(x):\n    return x['a']", "code", "en"),
        ("Solve 3x + 7 = 22 and show the steps.", "math", "en"),
        ("Translate into German: the train is late again.", "translation", "en"),
        ("Traduce al inglés: el tren llega tarde otra vez.", "translation", "es"),
        (
            "Summarize the following article in three sentences:\n\nThe council met on Tuesday to discuss the new bridge.",
            "summarization",
            "en",
        ),
        ("Write a short poem about the sea in autumn.", "writing", "en"),
        ("Schreibe ein kurzes Gedicht über den Herbst.", "writing", "de"),
        ("You are a grumpy pirate captain. Stay in character and greet the new sailor.", "roleplay", "en"),
        ("What is the capital of Australia?", "factual_qa", "en"),
        ("¿Cuál es la capital de Australia?", "factual_qa", "es"),
        ("Classify the sentiment of this review as positive or negative: the food was cold.", "classification", "en"),
        ("把下面这句话翻译成英文：今天天气很好。", "translation", "zh"),
    ],
)
def test_plain_requests_get_their_label_and_language(classifier: Classifier, prompt: str, label: str, language: str) -> None:
    reading = classifier.read(prompt)
    assert (reading.label, reading.language) == (label, language)


def test_a_reading_is_a_probability_distribution_with_reasons(classifier: Classifier) -> None:
    reading = classifier.read("Write a haiku about rain")
    assert len(reading.posterior) == len(LABELS)
    assert sum(reading.posterior) == pytest.approx(1.0)
    assert reading.confidence == max(reading.posterior) == reading.posterior[LABELS.index(reading.label)]
    assert 0.0 < reading.difficulty < 1.0
    reasons = reading.reasons()
    assert reasons
    assert all(reasons)


@pytest.mark.parametrize(
    "prompt", ["", " ", "\n\n", "\x00", "\ud800", "🙂🙂🙂", "1", "?" * 5000, "a" * 100_000, "((((" * 3000, "https://x.y/" * 900]
)
def test_nothing_a_client_can_send_breaks_it(classifier: Classifier, prompt: str) -> None:
    assert isinstance(classifier.read(prompt), Reading)


def test_noise_is_not_labelled_with_confidence(classifier: Classifier) -> None:
    assert classifier.read("").abstained
    assert classifier.read("xqz vbn wrtl kkpz zzzt qqqq plmk").abstained


def test_a_harder_request_of_a_harder_kind_is_read_as_harder(classifier: Classifier) -> None:
    easy = classifier.read("hi, how are you today?").difficulty
    hard = classifier.read(
        "Implement a lock-free concurrent hash map in C++ with linearizable resize, and prove its correctness."
    ).difficulty
    assert hard > easy + 0.1


def test_courtesy_changes_nothing(classifier: Classifier) -> None:
    plain = classifier.read("translate this sentence to French: where is the station")
    for preface in ("Hi! ", "Hello, could you please help me? ", "Good morning. ", "Sorry to bother you, "):
        assert classifier.read(preface + "translate this sentence to French: where is the station").label == plain.label


def test_a_prompt_of_a_megabyte_takes_no_longer_than_its_window(classifier: Classifier) -> None:
    short, long = "word " * 240, "word " * 400_000
    best = {"short": 9.0, "long": 9.0}
    for name, prompt in (("short", short), ("long", long)):
        for _ in range(5):
            began = time.perf_counter()
            classifier.read(prompt)
            best[name] = min(best[name], time.perf_counter() - began)
    assert best["long"] < 3 * best["short"] + 0.002


def test_the_middle_of_a_long_prompt_is_not_read() -> None:
    first, last = "a " * (HEAD_CHARS // 2), " b" * (TAIL_CHARS // 2)
    assert "secret" not in window(first + "secret" * 50 + last)
    assert extract(first + "secret " * 500 + last).text() == extract(first + "hidden " * 500 + last).text()


@pytest.mark.parametrize("sign", ["東", "ひ", "ก"])
def test_a_sign_of_an_unspaced_script_takes_the_room_of_some_letters(sign: str) -> None:
    most = (HEAD_CHARS + TAIL_CHARS) // UNSPACED_LETTERS
    assert window(sign * most) == sign * most
    first, last = sign * (HEAD_CHARS // UNSPACED_LETTERS), "你" * (TAIL_CHARS // UNSPACED_LETTERS)
    for middle in (4, 400, 10_000):
        read = window(first + "密" * middle + last)
        assert read.startswith(first) and read.endswith(last)
        assert read.count("密") <= 1
    mixed = window("word " * 100 + sign * 5000)
    assert mixed.startswith("word ") and len(mixed) < HEAD_CHARS


def test_a_warm_classifier_reads_the_same(classifier: Classifier) -> None:
    prompt = "Write a function that sorts a list of words, please."
    before = classifier.read(prompt)
    _CUT_OF.clear()  # what other tests have filled keeps no more
    CONCEPT_OF.clear()
    classifier.warm()
    assert {"function", "list", "words"} <= _CUT_OF.keys() and CONCEPT_OF["function"] == "@code"
    assert classifier.read(prompt).posterior == before.posterior


def test_triples_of_signs_are_no_features() -> None:
    assert extract("把这句话翻译成英文").pairs.isdisjoint(pairwise(tokens("把这句话翻译成英文")))
    assert ("translate", "这个") in extract("please translate 这个 sentence for me").pairs


def test_the_loaded_weights_stay_small() -> None:
    from importlib import resources

    from neuroroute.classifier.table import unpack

    blob = (resources.files("neuroroute.classifier") / "weights" / "table.nrt").read_bytes()
    assert len(blob) < 2_000_000
    tracemalloc.start()
    table = unpack(blob)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(map(len, table.rows)) > 1000
    assert held < 10_000_000


def test_tokens_split_scripts_that_put_no_spaces_and_fold_numbers() -> None:
    assert tokens("Hello 1234 今天好") == ["hello", "04", "今天", "天好"]


def test_the_task_is_what_is_left_without_the_courtesies() -> None:
    assert task_of(tokens("Hello, could you please help me? Sort this list now. Thanks a lot!")) == tokens("Sort this list now")
    assert task_of(tokens("Thank you!")) == tokens("Thank you!")
