"""
Usage objects of the dialects: read them with suspicion, write them in the dialect that the client speaks.

A number that can not be a token count (negative, a float, a bool, beyond 10^9) makes the whole report worthless: it is ignored, `source`
is "absurd", and the tokens are counted by ourselves later. A provider's report must never refill a budget.
Source: OpenAI and Anthropic API references (2026-11); DeepSeek's prompt_cache_hit_tokens: its API reference (2026-11).
"""

from typing import Any, Final

from neuroroute.core.types import Usage

MOST_TOKENS: Final = 10**9
ABSURD: Final = "absurd"


def openai_usage(value: Any) -> Usage:
    """From a chat, completions, embeddings or responses `usage`; both spellings of the counters are understood."""
    if not isinstance(value, dict):
        return Usage()
    prompt = value.get("prompt_tokens", value.get("input_tokens"))
    completion = value.get("completion_tokens", value.get("output_tokens"))
    if prompt is None and completion is None:
        prompt = value.get("total_tokens")
    prompt, completion = _count(prompt), _count(completion)
    if prompt is None or completion is None:
        return Usage(source=ABSURD)
    if not (prompt or completion):
        return Usage()
    if len(value) == 3 and "total_tokens" in value:  # the two counts and their sum: there are no details
        return Usage(prompt, completion, source="provider")
    read = (
        _part(value, ("prompt_tokens_details", "input_tokens_details"), "cached_tokens")
        or _count(value.get("prompt_cache_hit_tokens"))
        or 0
    )
    write = _part(value, ("prompt_tokens_details", "input_tokens_details"), "cache_write_tokens")
    thought = _part(value, ("completion_tokens_details", "output_tokens_details"), "reasoning_tokens")
    read = min(read, prompt)
    return Usage(prompt, completion, read, min(write, prompt - read), min(thought, completion), "provider")


def anthropic_usage(value: Any, before: dict[str, Any] | None = None) -> Usage:
    """
    From a message's `usage`, whose input_tokens does not count the cached ones.

    before: the counters of message_start, which message_delta completes or overwrites.
    """
    if not isinstance(value, dict):
        value = {}
    merged = {**(before or {}), **{k: v for k, v in value.items() if v is not None}}
    if "input_tokens" not in merged and "output_tokens" not in merged:
        return Usage()
    counts = [_count(merged.get(k)) for k in ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")]
    fresh, read, write, output = counts
    if fresh is None or read is None or write is None or output is None or fresh + read + write > MOST_TOKENS:
        return Usage(source=ABSURD)
    if not (fresh or read or write or output):
        return Usage()
    thought = min(_part(merged, ("output_tokens_details",), "thinking_tokens"), output)
    return Usage(fresh + read + write, output, read, write, thought, "provider")


def as_chat(usage: Usage) -> dict[str, Any]:
    prompt_details = {"cached_tokens": usage.cached_tokens}
    if usage.cache_write_tokens:
        prompt_details["cache_write_tokens"] = usage.cache_write_tokens
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": prompt_details,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def as_messages(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens - usage.cache_write_tokens,
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
    }


def as_responses(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": usage.cache_write_tokens},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def _count(value: Any) -> int | None:
    """A believable token count, 0 for an absent one, None for nonsense."""
    if value is None:
        return 0
    if type(value) is int and 0 <= value <= MOST_TOKENS:  # `type` and not isinstance: a bool is an int
        return value
    return None


def _part(value: dict[str, Any], places: tuple[str, ...], key: str) -> int:
    for place in places:
        details = value.get(place)
        if isinstance(details, dict):
            return _count(details.get(key)) or 0
    return 0
