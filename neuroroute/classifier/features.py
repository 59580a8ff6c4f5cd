"""What the classifier sees of a prompt: a set of short strings, made from a bounded window of its text.

Words, word pairs, four-letter stems, the first and last words marked by their place, pairs of characters where a script puts no spaces
between words, and a few dozen surface facts (length, code, formulae, choices, question form) in buckets. Nothing is hashed: a feature is
readable, so that a decision can be explained by the features that made it.

The text is folded to lower case once; the one regular expression is compiled without IGNORECASE, which costs 200 us per KB over prompts.
"""

import re
from bisect import bisect_left
from itertools import pairwise
from typing import Final, NamedTuple

from neuroroute.classifier.lexicon import CONCEPT_OF

HEAD_CHARS: Final = 800
TAIL_CHARS: Final = 400
FORM_CHARS: Final = 400
"""How much of the window the regular expressions of the form see: they cost more than the words."""
FIRST_WORDS: Final = 6
LAST_WORDS: Final = 4
PLACED_WORDS: Final = 24
CONCEPT_WORDS: Final = 24
MEANT_WORDS: Final = 96
SMALL_TALK_WORDS: Final = 10
SMALL_TALK: Final = frozenset(["@greet", "@thanks"])

_WORDS: Final = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uff66-\uff9f]+|[^\W\d_]+(?:['\u2019][^\W\d_]+)?|\d+|[^\w\s]")
"""A run of an unspaced script, a word, a number, or one sign."""
_ASCII_WORDS: Final = re.compile(r"[a-z]+(?:'[a-z]+)?|[0-9]+|[^a-z0-9_\s]")
"""The same for lower-case ASCII, in half the time."""

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

_LENGTHS: Final = (8, 16, 32, 60, 100, 160, 260, 420, 700, 1200, 2500, 6000)
_CODE: Final = re.compile(
    r"```|</\w+>|\b(?:def|class|import|return|const|let|var|function|public|static|void|SELECT|INSERT|FROM|#include)\b|[{};]\s*\n|=>|==|!=|\(\)|::|&&|\|\|"
)
_CHOICES: Final = re.compile(r"(?:^|\n|\s)\(?([A-J])[).:]\s?\S")
_FORMULA: Final = re.compile(r"\\[a-zA-Z]+|\$[^$\n]{1,80}\$|[=<>≤≥±×÷√∑∫^]|\b\d+\s*[-+*/]\s*\d+")
_NUMBER: Final = re.compile(r"\d+(?:[.,]\d+)*")
_QUOTES: Final = '"“”«»„「」『』'
_SENTENCE_END: Final = re.compile(r"[.!?。！？।]\s|\n")
_DIGIT: Final = re.compile(r"[0-9]")
_CHOICE_MARK: Final = re.compile(r"[A-J][).:]")

# What a form can not be without: tokens that are looked for before its expression is run, which costs ten times as much.
_CODE_WORDS: Final = "def class import return const let var function public static void select insert from".split()
_CODE_SIGNS: Final = frozenset([*"`<{};=&|#", *_CODE_WORDS, *[f"{word}{sign}s" for word in _CODE_WORDS for sign in "'\u2019"]])
_FORMULA_SIGNS: Final = frozenset("\\ $ = < > ≤ ≥ ± × ÷ √ ∑ ∫ ^".split())
_OPERATORS: Final = frozenset("-+*/")


def _buckets(name: str, *bounds: int) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """(bounds, the names of the facts that a count up to each bound is, and of one beyond)."""
    return bounds, tuple(f"#{name}:{place}" for place in range(len(bounds) + 1))


_FEW: Final = (0, 1, 2, 4, 8, 16)
_LENGTH: Final = _buckets("len", *_LENGTHS)
_LINES: Final = _buckets("lines", *_FEW)
_NUMBERS: Final = _buckets("numbers", *_FEW)
_FORMULAS: Final = _buckets("formula", *_FEW)
_CODES: Final = _buckets("code", *_FEW)
_OPTIONS: Final = _buckets("choices", 0, 1, 3, 4, 6)
_QUESTIONS: Final = _buckets("questions", 0, 1, 2)
_QUOTED: Final = _buckets("quotes", 0, 1, 2, 6)
_SENTENCES: Final = _buckets("sentences", *_FEW)
_WORD_LENGTH: Final = _buckets("wordlen", 5, 7, 8, 9, 10, 12)
_VARIETY: Final = _buckets("variety", 4, 5, 6, 7, 8, 9)


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
    """The part of the prompt that is read: all of a short one, the first and last characters of a long one."""
    if len(prompt) <= HEAD_CHARS + TAIL_CHARS:
        return prompt
    return f"{prompt[:HEAD_CHARS]}\n{prompt[-TAIL_CHARS:]}"


def _unspaced(first: str) -> bool:
    return "\u0e00" <= first <= "\u0e7f" or "\u3040" <= first <= "\u9fff" or "\uff66" <= first <= "\uff9f"


_SIZES: Final = ("00", "01", "02", "03", "04", "05")


def tokens(text: str) -> list[str]:
    """Words in order, folded; an unspaced run as its overlapping pairs of characters; a number as its count of digits."""
    if text.isascii():
        words: list[str] = _ASCII_WORDS.findall(text.lower())
        if _DIGIT.search(text) is None:
            return words
        return [word if word[0] > "9" or word[0] < "0" else _SIZES[min(len(word), 5)] for word in words]
    found: list[str] = []
    for word in _WORDS.findall(text.lower()):
        first = word[0]
        if first >= "\u0e00" and _unspaced(first):
            found.extend([word] if len(word) == 1 else [word[at : at + 2] for at in range(len(word) - 1)])
        elif first.isdigit():
            found.append(_SIZES[min(len(word), 5)])
        else:
            found.append(word)
    return found


def _named(bucket: tuple[tuple[int, ...], tuple[str, ...]], count: int) -> str:
    return bucket[1][bisect_left(bucket[0], count)]


def surface(prompt: str, text: str, words: list[str], different: set[str], spoken: set[str]) -> list[str]:
    """The facts of the form: each a `#name` or `#name:bucket`. words, different: of the task. spoken: all tokens of the text."""
    form, ascii_only, without = text[:FORM_CHARS], text.isascii(), spoken.isdisjoint
    numbers = 0 if ascii_only and _DIGIT.search(form) is None else len(_NUMBER.findall(form))
    formula = not without(_FORMULA_SIGNS) or (numbers > 0 and not without(_OPERATORS))
    code = not without(_CODE_SIGNS) or "()" in form or "::" in form
    questions = text.count("?") if ascii_only else text.count("?") + text.count("？") + text.count("؟")
    facts = [
        _named(_LENGTH, len(prompt)),
        _named(_LINES, text.count("\n")),
        _named(_NUMBERS, numbers),
        _named(_FORMULAS, len(_FORMULA.findall(form)) if formula else 0),
        _named(_CODES, len(_CODE.findall(form)) if code else 0),
        _named(_OPTIONS, 0 if _CHOICE_MARK.search(form) is None else len(_CHOICES.findall(form))),
        _named(_QUESTIONS, questions),
        _named(_QUOTED, form.count('"') if ascii_only else sum(map(form.count, _QUOTES))),
        _named(_SENTENCES, len(_SENTENCE_END.findall(form))),
    ]
    end = text.rstrip()[-1:]
    if end and not end.isalnum():
        facts.append(f"#end:{end}")
    first_line = text.lstrip().partition("\n")[0]
    if len(first_line) < len(text) - 40:
        facts.append("#headed")
        if first_line.rstrip().endswith((":", "：")):
            facts.append("#headed:colon")
        if "\n\n" in text:
            facts.append("#paragraphs")
    if words:
        facts.append(_named(_WORD_LENGTH, sum(map(len, words)) * 2 // len(words)))
        facts.append(_named(_VARIETY, 10 * len(different) // len(words)))
    if "|" in text and text.count("|") > 6:
        facts.append("#table")
    if '{"' in text or '": ' in text:
        facts.append("#json")
    if "http" in text:
        facts.append("#url")
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
    pairs = set(pairwise(words))
    pairs.update(pairwise(begun))
    opening, lead = set(pairwise(task[:3])), task[0] if task else ""
    return Seen(found, pairs, stems, {*task, *begun}, opening, lead, set(words[-LAST_WORDS:]), facts, spoken, text)
