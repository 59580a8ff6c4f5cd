"""
Which calls may be answered from the cache, which answers are kept, and for how long.

| strategy | kept |
|---|---|
| default | every whole success to a call that names no temperature or 0 and asks for one answer |
| aggressive | also temperature above 0, several answers and tool calls; AGGRESSIVE_TTL_FACTOR times as long |
| minimal | only calls with temperature 0 (or embeddings) and prompts of at most MINIMAL_PROMPT_CHARS characters |
| none | nothing |

A temperature above 0 asks for variety: giving the same words again would break that wish. An answer that calls tools is not kept under default
and minimal: given twice, it would act twice. Errors, cut streams and answers without an end are never kept.
"""

from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

from neuroroute.caching.keys import Share
from neuroroute.core.dataclass import dataclass
from neuroroute.core.types import Dialect

AGGRESSIVE_TTL_FACTOR: Final = 12
MINIMAL_PROMPT_CHARS: Final = 2000
MAX_TTL_S: Final = 30 * 86_400

CACHED_DIALECTS: Final = frozenset({Dialect.CHAT, Dialect.MESSAGES, Dialect.RESPONSES, Dialect.COMPLETIONS, Dialect.EMBEDDINGS})
_TOOL_ENDS: Final = frozenset({"tool_calls", "function_call", "tool_use"})
_GOOD_ENDS: Final = frozenset({"stop", "length", "end_turn", "stop_sequence", "max_tokens", "completed", "incomplete", "refusal"})


class Strategy(StrEnum):
    DEFAULT = "default"
    AGGRESSIVE = "aggressive"
    MINIMAL = "minimal"
    NONE = "none"


class Directive(StrEnum):
    """What a caller may ask of the cache for one call."""

    DEFAULT = "default"
    NO_STORE = "no-store"  # neither look up nor keep
    REFRESH = "refresh"  # keep the answer without looking up
    ONLY = "only"  # look up and never ask a provider


@dataclass(slots=True)
class Rules:
    """What holds for all calls; the configuration may change it while calls run."""

    ttl_s: float
    share: Share


@dataclass(frozen=True, slots=True)
class Plan:
    """What the cache does for one call. ttl_s: how long the answer is kept."""

    read: bool
    write: bool
    ttl_s: float
    tool_calls: bool = False

    def keeps(self, finish_reason: str, dialect: Dialect) -> bool:
        """Whether a successful answer that ended so is kept."""
        if not self.write:
            return False
        if dialect is Dialect.EMBEDDINGS or finish_reason in _GOOD_ENDS:
            return True
        return self.tool_calls and finish_reason in _TOOL_ENDS


OFF: Final = Plan(False, False, 0.0)


def plan(
    strategy: Strategy,
    ttl_s: float,
    dialect: Dialect,
    body: Mapping[str, Any],
    *,
    prompt_chars: int = 0,
    directive: str = Directive.DEFAULT,
    call_ttl_s: float | None = None,
) -> Plan:
    """
    What the cache does for this call.

    call_ttl_s: the call's own time to live, 0 = do not keep. A call that asks for `refresh` or `only`, or brings its own time, is taken at its
    word: temperature, number of answers and tool calls do not matter then.
    """
    if directive == Directive.NO_STORE or dialect not in CACHED_DIALECTS or strategy is Strategy.NONE:
        return OFF
    asked = directive in (Directive.REFRESH, Directive.ONLY) or call_ttl_s is not None
    if not asked and not _eligible(strategy, dialect, body, prompt_chars):
        return OFF
    if body.get("background") or body.get("previous_response_id") or body.get("conversation"):
        return OFF  # the provider keeps the rest of the input: equal bodies are not equal calls
    if not asked:
        return _usual(strategy, ttl_s)
    keep_s = ttl_s * AGGRESSIVE_TTL_FACTOR if strategy is Strategy.AGGRESSIVE else ttl_s
    if call_ttl_s is not None:
        keep_s = call_ttl_s
    keep_s = min(keep_s, MAX_TTL_S)
    return Plan(
        read=directive != Directive.REFRESH,
        write=directive != Directive.ONLY and keep_s > 0,
        ttl_s=keep_s,
        tool_calls=asked or strategy is Strategy.AGGRESSIVE,
    )


@lru_cache(maxsize=64)
def _usual(strategy: Strategy, ttl_s: float) -> Plan:
    """Of a call that asks for nothing of its own."""
    keep_s = min(ttl_s * AGGRESSIVE_TTL_FACTOR if strategy is Strategy.AGGRESSIVE else ttl_s, MAX_TTL_S)
    return Plan(read=True, write=keep_s > 0, ttl_s=keep_s, tool_calls=strategy is Strategy.AGGRESSIVE)


def _eligible(strategy: Strategy, dialect: Dialect, body: Mapping[str, Any], prompt_chars: int) -> bool:
    if strategy is Strategy.AGGRESSIVE:
        return True
    if dialect is not Dialect.EMBEDDINGS:
        temperature = body.get("temperature")
        if temperature is not None and temperature != 0:
            return False
        if temperature is None and strategy is Strategy.MINIMAL:
            return False
        if body.get("n") not in (None, 1) or body.get("best_of") not in (None, 1):
            return False
    return strategy is Strategy.DEFAULT or prompt_chars <= MINIMAL_PROMPT_CHARS
