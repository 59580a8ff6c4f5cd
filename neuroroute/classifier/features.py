"""What the classifier sees of a prompt: a set of short strings, made from a bounded window of its text.

Words, word pairs, four-letter stems, the first and last words marked by their place, pairs of characters where a script puts no spaces
between words, and a few dozen surface facts (length, code, formulae, choices, question form) in buckets. Nothing is hashed: a feature is
readable, so that a decision can be explained by the features that made it.

The text is folded to lower case once; the one regular expression is compiled without IGNORECASE, which costs 200 us per KB over prompts.
"""

import re
from bisect import bisect_left
from itertools import chain, pairwise
from operator import add
from sys import intern
from typing import Final, NamedTuple

from neuroroute.classifier.lexicon import CONCEPT_OF

HEAD_CHARS: Final = 500
TAIL_CHARS: Final = 250
UNSPACED_LETTERS: Final = 3
"""So many characters a sign of a script without spaces counts as: it says as much as some letters do, and costs as much to read as a word."""
FORM_CHARS: Final = 400
"""How much of the window the regular expressions of the form see: they cost more than the words."""
FIRST_WORDS: Final = 6
LAST_WORDS: Final = 4
PLACED_WORDS: Final = 24
CONCEPT_WORDS: Final = 24
MEANT_WORDS: Final = 96
SMALL_TALK_WORDS: Final = 10
SMALL_TALK: Final = frozenset(["@greet", "@thanks"])

_UNSPACED: Final = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uff66-\uff9f]+")
_WORDS: Final = re.compile(rf"{_UNSPACED.pattern}|[^\W\d_]+(?:['\u2019][^\W\d_]+)?|\d+|[^\w\s]")
"""A run of an unspaced script, a word, a number, or one sign: none of them holds a space."""

_POLITE: Final = frozenset(
    "hi hello hey please pls plz kindly thanks thank you could can would will u i'd i need want like to me the a an my your for help with dear there good morning so ok okay just"
    " hola por favor gracias puedes podrías bonjour salut merci stp pouvez vous peux tu pourriez bitte hallo danke kannst du können sie"
    " olá oi você pode obrigado ciao puoi potresti привет здравствуйте пожалуйста можешь можете cześć proszę lütfen merhaba tolong xin chào".split()
)
"""Words of courtesy in front of the task: the place marks start behind them."""

_COURTESY: Final = _POLITE | frozenset(
    "sorry bother question quick hope well are doing fine having great nice day kind afternoon evening assistant chatgpt gpt ai sir team everyone all friend mate yo"
    " be grateful appreciate if it don't mind do this following one wondering whether get hand moment minute when have time is here need's task request thing something"
    " buenos días tardes ayudarme con esto una pregunta jour s'il te plaît m'aider aider moi avec ça guten tag mir kurz helfen eine frage bom dia ajudar isso me uma"
    " buongiorno favore aiutarmi не могли бы вы помочь добрый день мне вопрос dzień dobry pomóc bana yardım eder misin bir soru bisa bantu saya bạn giúp mình với làm ơn"
    " مرحبا من فضلك السلام عليكم नमस्ते कृपया क्या आप मदद कर सकते हैं 你好 您好 请帮 帮帮 帮我 我吗 麻烦 烦你 请问 一下 こん んに にち ちは すみ みま ませ せん お願 願い いし しま ます 안녕하세요 안녕 부탁드려요 좀 도와주세요 ' ¿ ¡".split()
)
"""What a clause of nothing but courtesy is made of."""
_THANKS: Final = frozenset(
    "thanks thank you in advance please so much very a lot for your help time pls plz thx ty cheers appreciated kindly many gracias merci danke obrigado grazie спасибо ! . , :)".split()
)
_THANKED: Final = frozenset(
    [
        "thanks",
        "thank",
        "thx",
        "ty",
        "please",
        "pls",
        "plz",
        "cheers",
        "appreciated",
        "gracias",
        "merci",
        "danke",
        "obrigado",
        "grazie",
        "спасибо",
    ]
)
_CLAUSE_ENDS: Final = frozenset(".!?,:;-，。！？：、،؟")
_COURTESY_OR_END: Final = _COURTESY | _CLAUSE_ENDS
CLAUSE_WORDS: Final = 12
LEAST_TASK_WORDS: Final = 3

_CODE_WORDS: Final = "def class import return const let var function public static void select insert from".split()
_CAPITALS: Final = frozenset({"select", "insert", "from"})
"""Words of code in capitals alone."""


def _code_word(word: str) -> re.Pattern[str]:
    """The word by itself; the name of a closing tag counts as a sign."""
    return re.compile(rf"{word}(?<!\w{word})\b(?!(?<=</{word})>)")


# These begin with letters or with a class of signs, which the engine skips to: what must stand before them is looked back at.
_CODE_SIGN: Final = re.compile(
    r"[`<{};=!(:&|](?:(?<=`)``|(?<=<)/\w+>|(?<=[{};])\s*\n|(?<==)[>=]|(?<=!)=|(?<=\()\)|(?<=:):|(?<=&)&|(?<=\|)\|)"
)
_CODE_WORD: Final = {word: _code_word(word) for word in [one.upper() if one in _CAPITALS else one for one in _CODE_WORDS]}
_CODE_WORD["#include"] = re.compile(r"#include(?<=\w#include)\b")
_FORMULA: Final = re.compile(
    r"[\\$=<>≤≥±×÷√∑∫^\d](?:(?<=\\)[a-zA-Z]+|(?<=\$)[^$\n]{1,80}\$|(?<=[=<>≤≥±×÷√∑∫^])|(?<=\d)(?<!\w\d)\d*\s*[-+*/]\s*\d+)"
)
"""A command of TeX, something between dollars, a sign of relation or operation, two numbers and an operator."""
_NUMBER: Final = re.compile(r"\d\d*(?:[.,]\d+)*")
_ASCII_NUMBER: Final = re.compile(r"[0-9][0-9]*(?:[.,][0-9]+)*")
_SENTENCE_END: Final = re.compile(r"[.!?。！？।\n](?:(?<=\n)|\s)")
_ASCII_SENTENCE_END: Final = re.compile(r"[.!?\n](?:(?<=\n)|\s)")
_CHOICES: Final = re.compile(r"(?:^|\n|\s)\(?([A-J])[).:]\s?\S")
_CHOICE_MARK: Final = re.compile(r"[A-J][).:]")
_QUOTES: Final = '"“”«»„「」『』'

# What a form can not be without: tokens that are looked for before its expressions are run, which cost ten times as much.
_CODE_TOKENS: Final = frozenset([*"`<{};=&|#", *_CODE_WORDS, *[f"{word}{sign}s" for word in _CODE_WORDS for sign in "'\u2019"]])
_FORMULA_TOKENS: Final = frozenset("\\ $ = < > ≤ ≥ ± × ÷ √ ∑ ∫ ^".split())
_OPERATORS: Final = frozenset("-+*/")
_CHOICE_TOKENS: Final = frozenset("abcdefghij")


class _Buckets(dict[int, str]):
    """A count -> the fact that it is: the name of its bucket. Found out once."""

    def __init__(self, name: str, *bounds: int) -> None:
        self._name, self._bounds = name, bounds

    def __missing__(self, count: int) -> str:
        name = f"#{self._name}:{bisect_left(self._bounds, count)}"
        if count <= self._bounds[-1]:
            self[count] = name
        return name


_FEW: Final = (0, 1, 2, 4, 8, 16)
_LENGTH: Final = _Buckets("len", 8, 16, 32, 60, 100, 160, 260, 420, 700, 1200, 2500, 6000)
_LINES: Final = _Buckets("lines", *_FEW)
_NUMBERS: Final = _Buckets("numbers", *_FEW)
_FORMULAS: Final = _Buckets("formula", *_FEW)
_CODES: Final = _Buckets("code", *_FEW)
_OPTIONS: Final = _Buckets("choices", 0, 1, 3, 4, 6)
_QUESTIONS: Final = _Buckets("questions", 0, 1, 2)
_QUOTED: Final = _Buckets("quotes", 0, 1, 2, 6)
_SENTENCES: Final = _Buckets("sentences", *_FEW)
_WORD_LENGTH: Final = _Buckets("wordlen", 5, 7, 8, 9, 10, 12)
_VARIETY: Final = _Buckets("variety", 4, 5, 6, 7, 8, 9)


class Seen(NamedTuple):
    """
    What is seen of a prompt. The sets are the features of its text, by kind; a feature counts once.

    words: words and concepts. pairs: of neighbouring words, and of neighbouring concepts. stems: of four letters. first, opening, lead: the
    first words and concepts, the first pairs of words, the very first word. last: the last words.
    facts: of the form, by name. spoken: the tokens in order. window: the text that was read.
    """

    words: set[str]
    pairs: set[tuple[str, str]]
    stems: set[str]
    first: set[str]
    opening: set[tuple[str, str]]
    lead: str
    last: set[str]
    facts: list[str]
    spoken: list[str]
    window: str

    @property
    def size(self) -> int:
        """How many features the text has."""
        words, pairs, stems, first, opening, lead, last, _, _, _ = self
        return len(words) + len(pairs) + len(stems) + len(first) + len(opening) + (lead != "") + len(last)

    def text(self) -> set[str]:
        """The features of the text by name; the kind shows in the name, as `place_of` reads it."""
        named = set(self.words)
        named.update([f"{a}+{b}" if a[0] == "@" and len(a) > 1 else f"{a} {b}" for a, b in self.pairs])
        named.update([f"{stem}*" for stem in self.stems])
        named.update([f"^{word}" for word in self.first])
        named.update([f"^{a} {b}" for a, b in self.opening])
        named.update([f"^^{self.lead}"] if self.lead else [])
        named.update([f"{word}$" for word in self.last])
        return named


KINDS: Final = ("words", "pairs", "stems", "first", "opening", "lead", "last", "facts")
"""The kinds of features, named as in `Seen`."""
WORDS, PAIRS, STEMS, FIRST, OPENING, LEAD, LAST, FACTS = range(len(KINDS))


def place_of(name: str) -> tuple[int, str | tuple[str, str]]:
    """(kind, what stands in that set of a `Seen`) of a feature by its name."""
    if len(name) == 1:
        return WORDS, name
    if name[0] == "#" and name[1].isalpha():
        return FACTS, name
    a, space, b = name.partition(" ")
    if space:
        return (OPENING, (a[1:], b)) if a[0] == "^" and len(a) > 1 else (PAIRS, (a, b))
    if name[0] == "^":
        return (LEAD, name[2:]) if name[1] == "^" and len(name) > 2 else (FIRST, name[1:])
    if name[0] == "@" and name[1] != "$":
        a, plus, b = name.partition("+")
        return (PAIRS, (a, b)) if plus else (WORDS, name)
    if name[-1] == "$":
        return LAST, name[:-1]
    return (STEMS, name[:-1]) if name[-1] == "*" else (WORDS, name)


def window(prompt: str) -> str:
    """The part of the prompt that is read: all of a short one, the first and last characters of a long one, fewer of unspaced scripts."""
    most = HEAD_CHARS + TAIL_CHARS
    if len(prompt) * UNSPACED_LETTERS <= most:
        return prompt
    text = prompt if len(prompt) <= most else f"{prompt[:HEAD_CHARS]}\n{prompt[-TAIL_CHARS:]}"
    if text.isascii():
        return text
    letters = len(text) + (UNSPACED_LETTERS - 1) * sum(map(len, _UNSPACED.findall(text)))
    if letters <= most + 1:
        return text
    return f"{text[: HEAD_CHARS * len(text) // letters]}\n{text[-(TAIL_CHARS * len(text) // letters) :]}"


def _is_unspaced(sign: str) -> bool:
    return "\u0e00" <= sign <= "\u0e7f" or "\u3040" <= sign <= "\u9fff" or "\uff66" <= sign <= "\uff9f"


_SIZES: Final = ("00", "01", "02", "03", "04", "05")
_SIZE_TOKENS: Final = frozenset(_SIZES)
MOST_KEPT: Final = 20_000
LONGEST_KEPT: Final = 24


class _Cuts(dict[str, tuple[str, ...]]):
    """
    What stands between two spaces, folded -> its tokens. Nearly all of it was seen before: up to MOST_KEPT pieces of usual length are kept.

    Tokens that are kept are interned, as the names in the table are: the same word is the same object, which a look-up is done with at once.
    """

    def __missing__(self, piece: str) -> tuple[str, ...]:
        found: list[str] = []
        for word in [piece] if piece.isalpha() and (piece.isascii() or max(piece) < "\u0e00") else _WORDS.findall(piece):
            if len(word) == 1:
                found.append(_SIZES[1] if word.isdigit() and not _is_unspaced(word) else word)
            elif word >= "\u0e00" and _is_unspaced(word[0]):
                found += map(add, word, word[1:])
            else:
                found.append(_SIZES[min(len(word), 5)] if word[0].isdigit() else word)
        if len(piece) > LONGEST_KEPT:
            return tuple(found)
        if len(self) >= MOST_KEPT:
            self.clear()
        cut = self[piece] = tuple(map(intern, found))
        return cut


_CUT_OF: Final = _Cuts()


def tokens(text: str) -> list[str]:
    """Words in order, folded; an unspaced run as its overlapping pairs of characters; a number as its count of digits."""
    return list(chain.from_iterable(map(_CUT_OF.__getitem__, text.lower().split())))


def surface(prompt: str, text: str, words: list[str], different: set[str], spoken: set[str]) -> list[str]:
    """The facts of the form: each a `#name` or `#name:bucket`. words, different: of the task. spoken: all tokens of the text."""
    form, ascii_only, without, lines = text[:FORM_CHARS], text.isascii(), spoken.isdisjoint, text.count("\n")
    numbers = formulas = codes = 0
    if not ascii_only:
        numbers = len(_NUMBER.findall(form))
    elif not without(_SIZE_TOKENS):
        numbers = len(_ASCII_NUMBER.findall(form))
    if not without(_FORMULA_TOKENS) or (numbers and not without(_OPERATORS)):
        formulas = len(_FORMULA.findall(form))
    if not without(_CODE_TOKENS) or "()" in form or "::" in form:
        codes = len(_CODE_SIGN.findall(form)) + sum(
            [len(expression.findall(form)) for word, expression in _CODE_WORD.items() if word in form]
        )
    choices = not without(_CHOICE_TOKENS) and _CHOICE_MARK.search(form) is not None
    questions = text.count("?") if ascii_only else text.count("?") + text.count("？") + text.count("؟")
    facts = [
        _LENGTH[len(prompt)],
        _LINES[lines],
        _NUMBERS[numbers],
        _FORMULAS[formulas],
        _CODES[codes],
        _OPTIONS[len(_CHOICES.findall(form)) if choices else 0],
        _QUESTIONS[questions],
        _QUOTED[form.count('"') if ascii_only else sum(map(form.count, _QUOTES))],
        _SENTENCES[len((_ASCII_SENTENCE_END if ascii_only else _SENTENCE_END).findall(form))],
    ]
    end = text.rstrip()[-1:]
    if end and not end.isalnum():
        facts.append(f"#end:{end}")
    if lines or text[:1].isspace():
        facts += _headed(text)
    if words:
        facts.append(_WORD_LENGTH[sum(map(len, words)) * 2 // len(words)])
        facts.append(_VARIETY[10 * len(different) // len(words)])
    if "|" in text and text.count("|") > 6:
        facts.append("#table")
    if '{"' in text or '": ' in text:
        facts.append("#json")
    if "http" in text:
        facts.append("#url")
    return facts


def _headed(text: str) -> list[str]:
    """Whether much follows the first line, which is then a head."""
    first_line = text.lstrip().partition("\n")[0]
    if len(first_line) >= len(text) - 40:
        return []
    facts = ["#headed"]
    if first_line.rstrip().endswith((":", "：")):
        facts.append("#headed:colon")
    if "\n\n" in text:
        facts.append("#paragraphs")
    return facts


def task_of(words: list[str]) -> list[str]:
    """The words without the clauses of courtesy in front and the thanks behind; a prompt of courtesies alone stays as it is."""
    start, end = 0, len(words)
    for _ in range(2):
        if start >= end or words[start] not in _COURTESY_OR_END:
            break
        stop = next((at for at in range(start, min(start + CLAUSE_WORDS, end)) if words[at] in _CLAUSE_ENDS), None)
        if stop is None or end - stop - 1 < LEAST_TASK_WORDS or not _COURTESY.issuperset(words[start:stop]):
            break
        start = stop + 1
    last = end
    while last - start > LEAST_TASK_WORDS and words[last - 1] in _THANKS:
        last -= 1
    if last < end and not _THANKED.isdisjoint(words[last:end]):
        end = last
    return words[start:end] if start or end < len(words) else words


def extract(prompt: str) -> Seen:
    """What is seen of a prompt; nothing beyond its window counts but the length."""
    text = window(prompt)
    spoken = tokens(text)
    words = task_of(spoken)
    found = set(words)
    facts = surface(prompt, text, words, found, found if words is spoken else set(spoken))
    stems = {word[:4] for word in found if len(word) > 4}
    task = [word for word in words[:PLACED_WORDS] if word not in _POLITE][:FIRST_WORDS]
    told = words if len(words) <= MEANT_WORDS else words[: MEANT_WORDS - CONCEPT_WORDS] + words[-CONCEPT_WORDS:]
    named = list(map(CONCEPT_OF.__getitem__, told))
    meant = set(named)
    meant.discard("")
    if len(words) > SMALL_TALK_WORDS and not meant.isdisjoint(SMALL_TALK):
        meant -= SMALL_TALK
        named = [concept for concept in named if concept not in SMALL_TALK]
    begun = list(filter(None, named[:CONCEPT_WORDS]))
    found |= meant
    pairs = set(pairwise(begun))
    if text.isascii() or len(words) * 2 < len(text):  # a token of an unspaced script is a pair already: triples were learnt by heart
        pairs.update(pairwise(words))
    opening, lead = set(pairwise(task[:3])), task[0] if task else ""
    return Seen(found, pairs, stems, {*task, *begun}, opening, lead, set(words[-LAST_WORDS:]), facts, spoken, text)
