"""Prompts as other hands would have typed them: slips of the keyboard, odd spacing, other case, courtesies around the task."""

from collections.abc import Callable
from random import Random
from typing import Final

_PREFACES: Final[dict[str, tuple[str, ...]]] = {
    "en": (
        "Hi! ", "Hello, ", "Please ", "Could you please help me with this: ", "Hi there, I hope you are well. ", "Good morning! ", "I need your help. ",
        "Can you do this for me? ", "Hey, quick question: ", "Sorry to bother you, but ", "I was wondering whether you could help. ", "Dear assistant, ",
        "Kindly help: ", "If you don't mind, ", "I'd be grateful if you could do the following. ", "ok so ", "Would you be so kind: ",
    ),
    "es": ("Hola, ", "Por favor, ", "Buenos días. ", "¿Podrías ayudarme con esto? "),
    "fr": ("Bonjour, ", "S'il te plaît, ", "Pourriez-vous m'aider ? ", "Salut ! "),
    "de": ("Hallo, ", "Bitte ", "Guten Tag! ", "Könntest du mir kurz helfen? "),
    "pt": ("Olá, ", "Por favor, ", "Bom dia! ", "Você pode me ajudar? "),
    "it": ("Ciao, ", "Per favore, ", "Buongiorno. ", "Potresti aiutarmi? "),
    "ru": ("Привет! ", "Пожалуйста, ", "Здравствуйте. ", "Не могли бы вы помочь? "),
    "zh": ("你好，", "请", "麻烦你，", "请帮帮我。"),
    "ja": ("こんにちは。", "すみません、", "お願いします。"),
    "ko": ("안녕하세요. ", "부탁드려요. ", "좀 도와주세요. "),
    "tr": ("Merhaba, ", "Lütfen ", "Bana yardım eder misin? "),
    "vi": ("Xin chào, ", "Làm ơn ", "Bạn giúp mình với: "),
    "id": ("Halo, ", "Tolong ", "Bisa bantu saya? "),
    "pl": ("Cześć, ", "Proszę, ", "Dzień dobry. "),
    "ar": ("مرحبا، ", "من فضلك، ", "السلام عليكم. "),
    "hi": ("नमस्ते, ", "कृपया ", "क्या आप मदद कर सकते हैं? "),
}  # fmt: skip
_ENDINGS: Final = (" Thanks!", " thank you", " Thank you in advance.", " please", " thx", " Thanks so much for your help!", " pls")
_NEIGHBOURS: Final[dict[str, str]] = dict(
    zip("qwertyuiopasdfghjklzxcvbnm", ("wa qe wr et ry tu yi uo ip o sq ad sf dg fh gj hk jl k xs zc xv cb vn bm n").split(), strict=True)
)


def typos(prompt: str, dice: Random, share: float = 0.12) -> str:
    """About `share` of the words of four letters and more get one slip: two letters swapped, one lost, doubled or missed."""
    words = prompt.split(" ")
    for place, word in enumerate(words):
        if len(word) < 4 or not word.isalpha() or dice.random() > share:
            continue
        at = dice.randrange(1, len(word) - 1)
        kind = dice.randrange(4)
        if kind == 0:
            words[place] = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        elif kind == 1:
            words[place] = word[:at] + word[at + 1 :]
        elif kind == 2:
            words[place] = word[:at] + word[at] + word[at:]
        else:
            words[place] = word[:at] + dice.choice(_NEIGHBOURS.get(word[at], word[at])) + word[at + 1 :]
    return " ".join(words)


def spacing(prompt: str, dice: Random) -> str:
    """Doubled spaces, blank lines around, spaces lost behind punctuation."""
    kind = dice.randrange(4)
    if kind == 0:
        return prompt.replace(" ", "  ")
    if kind == 1:
        return f"\n\n  {prompt}\n\n"
    if kind == 2:
        return prompt.replace(", ", ",").replace(". ", ".")
    return "".join("  " if letter == " " and dice.random() < 0.2 else letter for letter in prompt)


def case(prompt: str, dice: Random) -> str:
    return dice.choice((str.lower, str.upper, str.title, str.capitalize, str.swapcase))(prompt)


def polite(prompt: str, dice: Random, lang: str = "en") -> str:
    """A preface in the language of the prompt, a courtesy behind it, or both."""
    preface = dice.choice(_PREFACES.get(lang, _PREFACES["en"]))
    body = prompt if not prompt[:2].istitle() or dice.random() < 0.5 else prompt[:1].lower() + prompt[1:]
    ending = dice.choice(_ENDINGS) if lang == "en" and dice.random() < 0.4 else ""
    return preface + body + ending


KINDS: Final[dict[str, Callable[[str, Random, str], str]]] = {
    "typos": lambda prompt, dice, lang: typos(prompt, dice),
    "spacing": lambda prompt, dice, lang: spacing(prompt, dice),
    "case": lambda prompt, dice, lang: case(prompt, dice),
    "polite": polite,
}


def messy(prompt: str, dice: Random, lang: str) -> str:
    """One or two of the kinds, by lot."""
    chosen = dice.sample(sorted(KINDS), dice.choice((1, 1, 2)))
    for kind in chosen:
        prompt = KINDS[kind](prompt, dice, lang)
    return prompt


_WRAPS: Final = (
    "{}",
    "I have this question from my course: {}",
    "can someone explain this one to me?\n{}",
    "Help me with my homework.\n\n{}",
    "{}\nPlease explain your answer.",
    "Question:\n{}",
    "{} Think step by step.",
    "my teacher asked: {} what would you answer",
)


def asked_in_chat(question: str, dice: Random) -> str:
    """An exam question as a person would bring it: sometimes without its choices, with words around it."""
    stem = question
    cut = question.find("\nA. ")
    if cut > 20 and dice.random() < 0.6:
        stem = question[:cut]
    return dice.choice(_WRAPS).format(stem.removesuffix("\nAnswer:").strip())
