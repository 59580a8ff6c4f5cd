"""The quick ways by which features are cut, against plain expressions that say what is meant."""

import random
import re
from collections.abc import Iterator

import pytest

from neuroroute.classifier.features import MOST_KEPT, extract, tokens

WORD = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uff66-\uff9f]+|[^\W\d_]+(?:['\u2019][^\W\d_]+)?|\d+|[^\w\s]")
FORMS = {
    "formula": re.compile(r"\\[a-zA-Z]+|\$[^$\n]{1,80}\$|[=<>≤≥±×÷√∑∫^]|\b\d+\s*[-+*/]\s*\d+"),
    "numbers": re.compile(r"\d+(?:[.,]\d+)*"),
    "sentences": re.compile(r"[.!?。！？।]\s|\n"),
    "choices": re.compile(r"(?:^|\n|\s)\(?([A-J])[).:]\s?\S"),
    "code": re.compile(
        r"```|</\w+>|\b(?:def|class|import|return|const|let|var|function|public|static|void|SELECT|INSERT|FROM|#include)\b"
        r"|[{};]\s*\n|=>|==|!=|\(\)|::|&&|\|\|"
    ),
}
FEW = (0, 1, 2, 4, 8, 16)
BOUNDS = {"choices": (0, 1, 3, 4, 6)}
SIGNS = "</ < > _ => == != () :: && || { } ; ` ``` - + * A) B. (C: J: | ? . ! $ ^ = \\frac </def> x#include #include 1 2.5 ٣ ก๑ ' ’s “ ” « 。 ؟ : ： ² é 你好 İ ß".split()
WORDS = "def class from FROM select SELECT import let don't http x a i".split()
PIECES = [*SIGNS, *WORDS, "\n", "\n\n", " ", "\t", ". ", "!\r\n", "\x1c", "\u3000", '"']


@pytest.fixture(params=range(20))
def texts(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    dice = random.Random(request.param)
    yield ["".join(dice.choice(PIECES) for _ in range(dice.randrange(60))) for _ in range(300)]


def _plain(text: str) -> Iterator[str]:
    for word in WORD.findall(text.lower()):
        if re.match(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uff66-\uff9f]", word):
            yield from [word] if len(word) == 1 else [word[at : at + 2] for at in range(len(word) - 1)]
        else:
            yield f"0{min(len(word), 5)}" if word[0].isdigit() else word


def test_text_is_cut_the_same_piece_by_piece_and_whole(texts: list[str]) -> None:
    for text in texts:
        assert tokens(text) == list(_plain(text)), text


def test_the_form_is_counted_as_the_plain_expressions_count_it(texts: list[str]) -> None:
    for with_marks in texts:
        text = with_marks.replace("'", "").replace("\u2019", "")  # a word of code with an apostrophe behind is looked for in code alone
        facts = dict(fact[1:].split(":", 1) for fact in extract(text).facts if fact.count(":") == 1)
        for name, expression in FORMS.items():
            count = len(expression.findall(text[:400]))
            bucket = sum(count > bound for bound in BOUNDS.get(name, FEW))
            assert facts[name] == str(bucket), (name, text)


def test_words_that_nobody_will_say_again_do_not_fill_the_memory() -> None:
    from neuroroute.classifier import features

    for at in range(MOST_KEPT + 10):
        tokens(f"w{at}x")
    tokens("y" * 500)
    assert len(features._CUT_OF) <= MOST_KEPT
    assert "y" * 500 not in features._CUT_OF
    assert tokens("Sort it.") == ["sort", "it", "."]
