"""Catalogues, principals and classifications for tests of routing."""

from collections.abc import Iterable

from neuroroute.core.types import LABELS, Classification, Price, Principal, Protocol, Provider, Role
from neuroroute.routing.build import DeclaredModel
from neuroroute.routing.facts import KnownModels

NOTHING_KNOWN = KnownModels({}, {}, "2026-11-23")
CALLER = Principal("key_a", "usr_a", Role.USER)


def provider(name: str, protocol: Protocol = Protocol.OPENAI, key: str | None = "sk-test") -> Provider:
    return Provider(name, protocol, f"http://{name}.test/v1", api_key=key)


def model(
    name: str,
    quality: float = 0.7,
    usd: float | None = 1.0,
    *,
    at: str = "one",
    abilities: Iterable[str] = ("tools",),
    window: int | None = 100_000,
    most: int | None = 8_000,
    cached_usd: float | None = None,
    kind: str | None = None,
    fallbacks: tuple[str, ...] = (),
) -> DeclaredModel:
    """A declared model; output costs four times the input."""
    return DeclaredModel(
        name=name,
        provider=at,
        kind=kind,
        price=None if usd is None else Price.of(usd, 4 * usd, cached_usd),
        context_window_tokens=window,
        max_output_tokens=most,
        abilities=frozenset(abilities),
        quality={"default": quality},
        fallbacks=fallbacks,
    )


def seen(
    label: str = "code",
    *,
    difficulty: float = 0.35,
    confidence: float = 0.9,
    needs: Iterable[str] = (),
    tokens: int = 500,
    abstained: bool = False,
    language: str = "en",
) -> Classification:
    rest = (1.0 - confidence) / (len(LABELS) - 1)
    posterior = tuple(confidence if name == label else rest for name in LABELS)
    return Classification(label, confidence, difficulty, language, frozenset(needs), tokens, posterior, abstained)
