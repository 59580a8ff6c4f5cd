"""What is masked in a text that is kept, and what is not."""

import pytest

from neuroroute.core.redaction import redacted


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("use sk-proj-abcdefghij0123456789 here", "use [key] here"),
        ("nr_abcdefghijklmnop1234567890", "[key]"),
        ("AKIAIOSFODNN7EXAMPLE", "[key]"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY----- ok", "[key] ok"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE that is cut off", "[key]"),
        ("jwt eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.SflKxwRJSMeKKF2", "jwt [token]"),
        ("Authorization: Bearer abcdefghijklmnopqrstuv", "Authorization: Bearer [token]"),
        ("postgres://ada:hunter2@db.example.com/x", "postgres://[password]@db.example.com/x"),
        ("password: hunter2hunter2, then", "[password], then"),
        ('{"api_key": "abcdef123456"}', '{"[password]"}'),
        ("write to ada.l+x@mail.example.co.uk today", "write to [email] today"),
        ("DE89 3704 0044 0532 0130 00", "[account]"),
        ("card 4111 1111 1111 1111.", "card [card]."),
        ("ssn 078-05-1120", "ssn [number]"),
        ("call +49 (30) 1234567 or (555) 123-4567", "call [phone] or [phone]"),
    ],
)
def test_masked(text: str, masked: str) -> None:
    assert redacted(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "The answer is 4111111111111112, by the check digit no card.",
        "def f(x): return x @ y  # 3.14159265358979",
        "2026-11-27 10:00, version 1.2.3, 1000000 rows, sk-short",
        "What is a password? A secret is what you keep.",
    ],
)
def test_left_alone(text: str) -> None:
    assert redacted(text) == text
