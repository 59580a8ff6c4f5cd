"""
What a call costs, in integers of 10^-9 USD.

Prices are nano-dollars per million tokens and counts are integers, so sums are exact and rounded once, half up. An unknown price gives None,
never 0.
"""

from dataclasses import replace
from typing import Final

from neuroroute.core.types import Price, Usage

_MILLION: Final = 1_000_000


def cost_nanousd(price: Price | None, usage: Usage) -> int | None:
    """
    The price of `usage`.

    Cached and newly cached tokens are part of prompt_tokens and cost their own price where it is known, the input price where not.
    """
    if price is None:
        return None
    cached, written = usage.cached_tokens, usage.cache_write_tokens
    cached_price = price.input_nanousd if price.cached_input_nanousd is None else price.cached_input_nanousd
    write_price = price.input_nanousd if price.cache_write_nanousd is None else price.cache_write_nanousd
    total = (
        (usage.prompt_tokens - cached - written) * price.input_nanousd
        + cached * cached_price
        + written * write_price
        + usage.completion_tokens * price.output_nanousd
    )
    return (total + _MILLION // 2) // _MILLION


def baseline_nanousd(price: Price | None, usage: Usage) -> int | None:
    """What the same tokens would have cost at the baseline model's price, without its cache: the other model has not seen the prefix."""
    return cost_nanousd(price, replace(usage, cached_tokens=0, cache_write_tokens=0))


def saved_nanousd(baseline: int | None, cost: int | None) -> int | None:
    """What routing or the cache saved; negative where it cost more; None where either is unknown."""
    return None if baseline is None or cost is None else baseline - cost


def most_nanousd(price: Price | None, prompt_tokens: int, max_output_tokens: int) -> int | None:
    """The most that a call can cost before it is asked: nothing cached, everything written to the cache, the whole output used."""
    if price is None:
        return None
    dearest = max(price.input_nanousd, price.cache_write_nanousd or 0)
    return (prompt_tokens * dearest + max_output_tokens * price.output_nanousd + _MILLION // 2) // _MILLION


def bounded(usage: Usage, *, prompt_cap: int, completion_cap: int) -> tuple[Usage, bool]:
    """
    `usage` as a provider may report it at all, and whether it had to be changed.

    Negative counts become 0, counts above the caps (what the request and the model allow) the caps; parts are never more than their whole.
    """
    if (
        0 <= usage.cached_tokens + usage.cache_write_tokens <= usage.prompt_tokens <= prompt_cap
        and 0 <= usage.reasoning_tokens <= usage.completion_tokens <= completion_cap
        and usage.cached_tokens >= 0 <= usage.cache_write_tokens
    ):
        return usage, False
    prompt = min(max(usage.prompt_tokens, 0), prompt_cap)
    completion = min(max(usage.completion_tokens, 0), completion_cap)
    cached = min(max(usage.cached_tokens, 0), prompt)
    written = min(max(usage.cache_write_tokens, 0), prompt - cached)
    reasoning = min(max(usage.reasoning_tokens, 0), completion)
    return Usage(prompt, completion, cached, written, reasoning, usage.source), True
