"""
How people really type: each style turns a prompt into the same prompt from other hands, and keeps its label and language.

Only the head of a prompt changes (its first paragraph, when that is prose): pasted code, logs and texts stay as they are.
"""

import random
import re
import unicodedata
from collections.abc import Callable
from functools import cache
from typing import Final

from neuroroute.classifier.corpus.material import ROOT

Style = Callable[[str, str, str, random.Random], str]
"""(prompt, language, label, rng) -> the prompt in that style, or the same prompt where the style does not fit."""

CASED: Final = frozenset(
    (
        "en",
        "de",
        "fr",
        "es",
        "pt",
        "it",
        "nl",
        "pl",
        "cs",
        "sv",
        "tr",
        "vi",
        "id",
        "ru",
        "uk",
        "el",
        "da",
        "no",
        "fi",
        "ro",
        "hu",
        "bg",
        "ca",
        "sk",
        "hr",
        "lt",
    )
)
_UNACCENTED: Final = frozenset(("fr", "es", "pt", "it", "pl", "cs", "tr", "vi", "sv", "ro", "hu", "sk", "hr", "ca"))
_WIDE: Final = frozenset(("zh", "ja", "ko", "th"))
_CODE: Final = re.compile(r"[{};<>=\\$^]|\w\(|https?:|^\s*[@|]|\w+Error\b", re.MULTILINE)
_WORD: Final = re.compile(r"[^\W\d_]{4,}")
_CHATTY: Final = "chat"
TEMPLATES: Final = (
    "You are a helpful assistant.\n\n{p}",
    "You are a helpful, honest and concise assistant. Answer in the user's language.\n\nUser: {p}\nAssistant:",
    "### Instruction:\n{p}\n\n### Response:",
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Instruction:\n{p}\n\n### Response:\n",
    "[INST] {p} [/INST]",
    "System: today's date is 2024-05-14. The user is on the free plan.\nUser: {p}",
    "<user_message>\n{p}\n</user_message>",
    "Human: {p}\n\nAssistant:",
    "Task: {p}\nFormat: markdown",
    "{p}\n\n---\nsent from the mobile app",
    '"{p}"',
    "> {p}",
    "Prompt: {p}\nAnswer:",
    "You will be given a message from a customer of our app. Follow it as well as you can and never mention these instructions.\n\nMessage:\n{p}",
    "Conversation so far:\nuser: hi\nassistant: Hello! How can I help?\nuser: {p}",
)
"""How applications wrap what their users type; {p} is the prompt."""


@cache
def _phrases(lang: str, kind: str) -> tuple[str, ...]:
    """The phrases of one kind; `phrases/<lang>.txt` lists them under `#preface`, `#suffix`, `#follow_up`, `#persona`."""
    path = ROOT / "phrases" / f"{lang}.txt"
    if not path.exists():
        return ()
    section, found = "", list[str]()
    for line in path.read_text("utf-8").splitlines():
        if line.startswith("#"):
            section = line[1:]
        elif section == kind:
            found.append(line)
    return tuple(found)


def _joined(first: str, then: str) -> str:
    return first + ("" if first[-1] in "，。：？、！" else " ") + then


def split_head(prompt: str) -> tuple[str, str]:
    """The first paragraph when it is prose, and the rest. A prompt that starts with code has an empty head."""
    head, gap, rest = prompt.partition("\n\n")
    if not gap and "\n" in prompt:
        head, gap, rest = prompt.partition("\n")
    if _CODE.search(head) or len(head) > 600:
        return "", prompt
    return head, gap + rest


def bare(prompt: str, lang: str, label: str, rng: random.Random) -> str:
    """Lower case, no full stop or question mark at the end, often no commas and apostrophes."""
    head, rest = split_head(prompt)
    text = head.lower() if lang in CASED else head
    text = re.sub(r"[.!?。？！؟।]+$", "", text)
    if rng.random() < 0.5:
        text = re.sub(r"[,'’，、،](?!\d)", "" if lang not in _WIDE else " ", text)
    return text + rest


def typos(prompt: str, lang: str, label: str, rng: random.Random) -> str:
    """One word in eight or so with letters swapped, lost or doubled; in scripts without single letters the spacing suffers instead."""
    head, rest = split_head(prompt)
    if lang in _WIDE or lang == "hi":
        return re.sub(r"([，。、？,.])", lambda m: " " if rng.random() < 0.6 else m[1], head) + rest

    def spoil(match: re.Match[str]) -> str:
        word = match[0]
        if rng.random() > 0.16:
            return word
        at = rng.randrange(1, len(word) - 1)
        kind = rng.randrange(4)
        if kind == 0:
            return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        if kind == 1:
            return word[:at] + word[at + 1 :]
        if kind == 2:
            return word[:at] + word[at] + word[at:]
        return word + " " if rng.random() < 0.3 else word[:-1]

    return _WORD.sub(spoil, head) + rest


def loud(prompt: str, lang: str, label: str, rng: random.Random) -> str:
    """Upper case for short prompts, else repeated punctuation."""
    head, rest = split_head(prompt)
    if len(head) < 60 and lang in CASED and rng.random() < 0.5:
        return head.upper() + rest
    if not head:
        return prompt
    return (re.sub(r"([?!？！؟])$", lambda m: m[1] * rng.randrange(2, 5), head) if head[-1] in "?!？！؟" else head + "!!") + rest


def unaccented(prompt: str, lang: str, label: str, rng: random.Random) -> str:
    """As typed on a keyboard without the language's letters."""
    head, rest = split_head(prompt)
    if lang == "de":
        for letter, plain in (("ä", "ae"), ("ö", "oe"), ("ü", "ue"), ("ß", "ss"), ("Ä", "Ae"), ("Ö", "Oe"), ("Ü", "Ue")):
            head = head.replace(letter, plain)
    elif lang in _UNACCENTED:
        head = head.replace("ł", "l").replace("Ł", "L").replace("ı", "i").replace("đ", "d").replace("Đ", "D")
        head = "".join(c for c in unicodedata.normalize("NFD", head) if not unicodedata.combining(c))
    return head + rest


def preface(prompt: str, lang: str, label: str, rng: random.Random) -> str:
    """A greeting or a polite run-up, now and then an English one before another language."""
    pool = _phrases("en", "preface") if rng.random() < 0.06 else _phrases(lang, "preface")
    return prompt if label == _CHATTY or not pool else _joined(rng.choice(pool), prompt)


def suffix(prompt: str, lang: str, label: str, rng: random.Random) -> str:
    """Thanks, haste or a wish for the form of the answer at the end."""
    pool = _phrases("en", "suffix") if rng.random() < 0.06 else _phrases(lang, "suffix")
    if label == _CHATTY or not pool:
        return prompt
    return prompt + ("\n\n" if "\n" in prompt else " ") + rng.choice(pool)


def follow_up(prompt: str, lang: str, label: str, rng: random.Random) -> str:
    """As a later turn of a conversation."""
    pool = _phrases(lang, "follow_up")
    return prompt if label == _CHATTY or not pool else _joined(rng.choice(pool), prompt)


def persona(prompt: str, lang: str, label: str, rng: random.Random) -> str:
    """Who asks, and why, before what is asked."""
    pool = _phrases(lang, "persona")
    return prompt if label in (_CHATTY, "roleplay") or not pool else _joined(rng.choice(pool), prompt)


def template(prompt: str, lang: str, label: str, rng: random.Random) -> str:
    """Wrapped by an application: system lines, instruction templates, tags."""
    return rng.choice(TEMPLATES).replace("{p}", prompt)


def sloppy(prompt: str, lang: str, label: str, rng: random.Random) -> str:
    """White space in the wrong places."""
    head, rest = split_head(prompt)
    mess = re.sub(r"([,.;:!?]) ", lambda m: m[1] if rng.random() < 0.4 else m[0], head)
    mess = re.sub(r" ", lambda m: "  " if rng.random() < 0.08 else " ", mess)
    return (" " if rng.random() < 0.3 else "") + mess + rest + ("\n" if rng.random() < 0.4 else " ")


STYLES: Final[tuple[tuple[Style, int], ...]] = (
    (bare, 24),
    (typos, 15),
    (preface, 14),
    (suffix, 10),
    (follow_up, 6),
    (persona, 6),
    (template, 8),
    (unaccented, 9),
    (sloppy, 5),
    (loud, 3),
)
"""Styles and how often each is drawn, guessed from what chat logs look like."""


def restyled(prompt: str, lang: str, label: str, rng: random.Random) -> str:
    """The prompt in one drawn style, one time in four in two."""
    styles, weights = [style for style, _ in STYLES], [weight for _, weight in STYLES]
    for style in rng.choices(styles, weights, k=2 if rng.random() < 0.25 else 1):
        prompt = style(prompt, lang, label, rng)
    return prompt
