"""Images by the piece, speech by the character, transcription by the minute; what nobody tells is unknown, never free."""

import pytest

from neuroroute.accounting.units import most_units_nanousd, units_nanousd
from neuroroute.core.types import Price

PRICE = Price.of(0.0, 0.0, image=0.04, minute=0.006, characters=15.0)


@pytest.mark.parametrize(
    ("path", "body", "answer", "cost"),
    [
        ("/images/generations", {}, b'{"data": [{}, {}]}', 80_000_000),
        ("/images/edits", {}, b'{"data": []}', 0),
        ("/images/generations", {"n": 2}, b"", None),
        ("/images/generations", {}, b"[1]", None),
        ("/audio/speech", {"input": "abcd"}, b"\x00\xff", 60_000),
        ("/audio/speech", {"input": 7}, b"", None),
        ("/audio/transcriptions", {}, b'{"usage": {"seconds": 30}}', 3_000_000),
        ("/audio/transcriptions", {}, b'{"duration": "60.0", "usage": {"total_tokens": 3}}', 6_000_000),
        ("/audio/transcriptions", {}, b'{"duration": -1}', None),
        ("/audio/transcriptions", {}, b'{"duration": NaN}', None),
        ("/audio/transcriptions", {}, b"only text", None),
        ("/embeddings", {"input": "x"}, b"{}", None),
    ],
)
def test_the_price_of_what_was_made(path: str, body: dict[str, object], answer: bytes, cost: int | None) -> None:
    assert units_nanousd(PRICE, path, body, answer) == cost
    assert units_nanousd(Price.of(1.0, 2.0), path, body, answer) is None and units_nanousd(None, path, body, answer) is None
    if cost:
        assert most_units_nanousd(PRICE, path, {"n": 2, **body}, 1_000_000) >= cost
    assert most_units_nanousd(None, path, body, 1) == 0


def test_the_most_is_reserved_where_the_request_does_not_bound_it() -> None:
    assert most_units_nanousd(PRICE, "/images/generations", {"prompt": "x"}, 50) == 40_000_000
    assert most_units_nanousd(PRICE, "/images/edits", {}, 5_000_000) == 400_000_000, "a form is not read"
    assert most_units_nanousd(PRICE, "/audio/transcriptions", {}, 60_000) == 6_000_000
