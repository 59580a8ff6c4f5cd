"""Texts with what gives people and systems away masked: credentials, e-mail addresses, numbers of cards, accounts and telephones."""

import re
from typing import Final

_PATTERNS: Final = (
    ("key", re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)),
    ("key", re.compile(r"\b(?:sk|pk|rk|nr|gsk|xai|hf|ghp|gho|ghs|glpat|xox[abprs]|npm|pypi)[-_][A-Za-z0-9_-]{16,}")),
    ("key", re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bAIza[A-Za-z0-9_-]{35}\b")),
    ("token", re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*")),
    ("token", re.compile(r"(?i)(?<=\bbearer )[A-Za-z0-9._~+/-]{16,}=*")),
    ("password", re.compile(r"(?i)(?<=://)[^\s/:@]{1,100}:[^\s/@]{1,200}(?=@)")),
    (
        "password",
        re.compile(r"(?i)\b(?:password|passwd|secret|api[_-]?key|access[_-]?token)\b[\"']?\s{0,4}[:=]\s{0,4}[\"']?[^\s\"',;]{6,}"),
    ),
    ("email", re.compile(r"\b[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}\b")),
    ("account", re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b")),
    ("number", re.compile(r"\b\d{3}-\d{2}-\d{4}\b")),
)
_CARD: Final = re.compile(r"\b\d(?:[ -]?\d){12,18}\b")
_PHONE: Final = re.compile(r"(?<![\w.])\+\d{1,3}(?:[ ().-]{0,2}\d){7,12}\b|(?<![\w.-])\(\d{3}\) ?\d{3}-\d{4}\b")


def redacted(text: str) -> str:
    """The text with a word in brackets in place of each, as [email]. What has no telling shape (names, addresses of houses) stays."""
    for word, pattern in _PATTERNS:
        text = pattern.sub(f"[{word}]", text)
    text = _CARD.sub(lambda match: "[card]" if _is_card(match[0]) else match[0], text)
    return _PHONE.sub("[phone]", text)


def _is_card(text: str) -> bool:
    """By its check digit (Luhn)."""
    digits = [int(char) for char in text if char.isdigit()]
    doubled = [sum(divmod(digit * 2, 10)) if place % 2 else digit for place, digit in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0
