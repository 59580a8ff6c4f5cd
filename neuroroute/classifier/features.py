"""What the classifier sees of a prompt: a set of short strings, made from a bounded window of its text.

Words, word pairs, four-letter stems, the first and last words marked by their place, pairs of characters where a script puts no spaces
between words, and a few dozen surface facts (length, code, formulae, choices, question form) in buckets. Nothing is hashed: a feature is
readable, so that a decision can be explained by the features that made it.

The text is folded to lower case once; the one regular expression is compiled without IGNORECASE, which costs 200 us per KB over prompts.
"""

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from neuroroute.classifier.lexicon import concepts

HEAD_CHARS: Final = 800
TAIL_CHARS: Final = 400
FORM_CHARS: Final = 400
"""How much of the window the regular expressions of the form see: they cost more than the words."""
FIRST_WORDS: Final = 6
LAST_WORDS: Final = 4
CONCEPT_WORDS: Final = 24
MEANT_WORDS: Final = 96
SMALL_TALK_WORDS: Final = 10
SMALL_TALK: Final = frozenset(["@greet", "@thanks"])

_WORDS: Final = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uff66-\uff9f]+|[^\W\d_]+(?:['\u2019][^\W\d_]+)?|\d+|[^\w\s]")
"""A run of an unspaced script, a word, a number, or one sign."""

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
CLAUSE_WORDS: Final = 12
LEAST_TASK_WORDS: Final = 3

_LENGTHS: Final = (8, 16, 32, 60, 100, 160, 260, 420, 700, 1200, 2500, 6000)
_CODE: Final = re.compile(
    r"```|</\w+>|\b(?:def|class|import|return|const|let|var|function|public|static|void|SELECT|INSERT|FROM|#include)\b|[{};]\s*\n|=>|==|!=|\(\)|::|&&|\|\|"
)
_CHOICES: Final = re.compile(r"(?:^|\n|\s)\(?([A-J])[).:]\s?\S")
_FORMULA: Final = re.compile(r"\\[a-zA-Z]+|\$[^$\n]{1,80}\$|[=<>≤≥±×÷√∑∫^]|\b\d+\s*[-+*/]\s*\d+")
_NUMBER: Final = re.compile(r"\d+(?:[.,]\d+)*")
_QUOTED: Final = re.compile(r"[\"“”«»„「」『』]")
_SENTENCE_END: Final = re.compile(r"[.!?。！？।]\s|\n")


def window(prompt: str) -> str:
    """The part of the prompt that is read: all of a short one, the first and last characters of a long one."""
    if len(prompt) <= HEAD_CHARS + TAIL_CHARS:
        return prompt
    return f"{prompt[:HEAD_CHARS]}\n{prompt[-TAIL_CHARS:]}"


def _bucket(count: int, bounds: tuple[int, ...]) -> int:
    for place, bound in enumerate(bounds):
        if count <= bound:
            return place
    return len(bounds)


def _unspaced(first: str) -> bool:
    return "\u0e00" <= first <= "\u0e7f" or "\u3040" <= first <= "\u9fff" or "\uff66" <= first <= "\uff9f"


def tokens(text: str) -> list[str]:
    """Words in order, folded; an unspaced run as its overlapping pairs of characters; a number as its count of digits."""
    found: list[str] = []
    for word in _WORDS.findall(text.lower()):
        first = word[0]
        if first >= "\u0e00" and _unspaced(first):
            found.extend([word] if len(word) == 1 else [word[at : at + 2] for at in range(len(word) - 1)])
        elif first.isdigit():
            found.append(f"0{min(len(word), 5)}")
        else:
            found.append(word)
    return found


def surface(prompt: str, text: str, words: list[str]) -> list[str]:
    """The facts of the form: each a `#name` or `#name:bucket`."""
    few = (0, 1, 2, 4, 8, 16)
    form = text[:FORM_CHARS]
    facts = [
        f"#len:{_bucket(len(prompt), _LENGTHS)}",
        f"#lines:{_bucket(text.count(chr(10)), few)}",
        f"#numbers:{_bucket(len(_NUMBER.findall(form)), few)}",
        f"#formula:{_bucket(len(_FORMULA.findall(form)), few)}",
        f"#code:{_bucket(len(_CODE.findall(form)), few)}",
        f"#choices:{_bucket(len(_CHOICES.findall(form)), (0, 1, 3, 4, 6))}",
        f"#questions:{_bucket(text.count('?') + text.count('？') + text.count('؟'), (0, 1, 2))}",
        f"#quotes:{_bucket(len(_QUOTED.findall(form)), (0, 1, 2, 6))}",
        f"#sentences:{_bucket(len(_SENTENCE_END.findall(form)), few)}",
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
        letters = sum(map(len, words))
        facts.append(f"#wordlen:{_bucket(letters * 2 // len(words), (5, 7, 8, 9, 10, 12))}")
        facts.append(f"#variety:{_bucket(10 * len(set(words)) // len(words), (4, 5, 6, 7, 8, 9))}")
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
        stop = next((at for at in range(start, min(start + CLAUSE_WORDS, end)) if words[at] in _CLAUSE_ENDS), None)
        if stop is None or end - stop - 1 < LEAST_TASK_WORDS or not _COURTESY.issuperset(words[start:stop]):
            break
        start = stop + 1
    last = end
    while last - start > LEAST_TASK_WORDS and words[last - 1] in _THANKS:
        last -= 1
    if not _THANKED.isdisjoint(words[last:end]):
        end = last
    return words[start:end]


@dataclass(frozen=True, slots=True)
class Seen:
    """`text`: features counted once each; `facts`: of the form; `words`: the tokens in order; `window`: the text that was read."""

    text: set[str]
    facts: list[str]
    words: list[str]
    window: str


def extract(prompt: str) -> Seen:
    """What is seen of a prompt; nothing beyond its window counts but the length."""
    text = window(prompt)
    spoken = tokens(text)
    words = task_of(spoken)
    found = set(words)
    found.update([f"{a} {b}" for a, b in pairwise(words)])
    found.update([f"{word[:4]}*" for word in words if len(word) > 4])
    task = [word for word in words[:24] if word not in _POLITE][:FIRST_WORDS]
    found.update([f"^{word}" for word in task])
    if task:
        found.add(f"^^{task[0]}")
        found.update([f"^{a} {b}" for a, b in pairwise(task[:3])])
    found.update([f"{word}$" for word in words[-LAST_WORDS:]])
    meant = concepts(words if len(words) <= MEANT_WORDS else words[: MEANT_WORDS - CONCEPT_WORDS] + words[-CONCEPT_WORDS:])
    if len(words) > SMALL_TALK_WORDS:
        meant = [concept for concept in meant if concept not in SMALL_TALK]
    found.update([concept for concept in meant if concept])
    begun = [concept for concept in meant[:CONCEPT_WORDS] if concept]
    if begun:
        found.update([f"^{concept}" for concept in begun])
        found.update([f"{a}+{b}" for a, b in pairwise(begun)])
    return Seen(found, surface(prompt, text, words), spoken, text)
