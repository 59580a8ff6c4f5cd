"""
What a call costs that is not sold by tokens: images by the piece, speech by the character, transcription by the minute.

The number is the provider's where its answer shows it (the images, the seconds), else the request's (what is to be spoken). Where neither tells,
the cost is unknown: None, never 0.
"""

from collections.abc import Mapping
from typing import Any, Final

from neuroroute.core import jsonbytes
from neuroroute.core.types import Price

_MILLION: Final = 1_000_000
_MOST_IMAGES: Final = 10
_BYTES_PER_S: Final = 1000
"""Of speech in the thinnest coding that is in use (Opus at 8 kbit/s): no upload lasts longer than its bytes by this."""


def units_nanousd(price: Price | None, path: str, body: Mapping[str, Any], answer: bytes) -> int | None:
    """The cost of a call below /v1; None where it is sold by tokens, its unit has no price, or nobody tells how many there were."""
    if price is None:
        return None
    if price.image_nanousd is not None and path.startswith("/images/"):
        made = _answered(answer).get("data")
        return len(made) * price.image_nanousd if isinstance(made, list) else None
    if price.characters_nanousd is not None and path == "/audio/speech":
        text = body.get("input")
        return _rounded(len(text) * price.characters_nanousd, _MILLION) if isinstance(text, str) else None
    if price.minute_nanousd is not None and path in ("/audio/transcriptions", "/audio/translations"):
        seconds = _seconds(_answered(answer))
        return None if seconds is None else _rounded(round(seconds * 1000) * price.minute_nanousd, 60_000)
    return None


def most_units_nanousd(price: Price | None, path: str, body: Mapping[str, Any], body_bytes: int) -> int:
    """The most that it can cost, before it is asked."""
    if price is None:
        return 0
    if price.image_nanousd is not None and path.startswith("/images/"):
        asked = body.get("n")
        return price.image_nanousd * (
            asked if isinstance(asked, int) and 0 < asked <= _MOST_IMAGES else 1 if body and asked is None else _MOST_IMAGES
        )
    if price.characters_nanousd is not None and path == "/audio/speech":
        return _rounded(len(str(body.get("input", ""))) * price.characters_nanousd, _MILLION)
    if price.minute_nanousd is not None and path in ("/audio/transcriptions", "/audio/translations"):
        return _rounded(body_bytes * price.minute_nanousd, _BYTES_PER_S * 60)
    return 0


def _answered(answer: bytes) -> Mapping[str, Any]:
    try:
        found = jsonbytes.loads(answer)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _seconds(answer: Mapping[str, Any]) -> float | None:
    """OpenAI says `usage: {type: duration, seconds}`, and `duration` in verbose JSON. Source: its API reference, 2026-11."""
    usage = answer.get("usage")
    told = usage.get("seconds") if isinstance(usage, dict) else None
    for value in (told, answer.get("duration")):
        try:
            seconds = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            continue
        if 0.0 <= seconds <= 1e6:
            return seconds
    return None


def _rounded(amount: int, of: int) -> int:
    return (amount + of // 2) // of
