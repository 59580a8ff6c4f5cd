"""
Which parameters a family of models takes.

One table per maker, first match wins. A name that no row knows is taken for the newest kind, which refuses most: leaving a parameter out
costs a nuance, sending a refused one costs the answer.

Source: platform.claude.com model, migration and API version pages; platform.openai.com reasoning guide; langchain-anthropic 1.7 (read 2026-11).
"""

import re
from functools import lru_cache
from typing import Final, Literal

from neuroroute.core.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Claude:
    """
    sampling: temperature and top_p: both, only one of them at a time, or none.
    thinking: how reasoning is asked for: by a token budget, by effort, or not at all.
    thinks: only if asked, by default (it can be told not to), or always.
    formats: takes output_config.format.
    forced_tools: takes tool_choice any and tool (while it does not think).
    max_output_tokens: what it writes at most, where the catalogue does not say.
    """

    sampling: Literal["both", "one", "none"]
    thinking: Literal["budget", "effort", "none"]
    thinks: Literal["asked", "default", "always"]
    formats: bool
    forced_tools: bool
    max_output_tokens: int


_CLAUDES: Final = (
    (re.compile(r"claude-(2|instant|3-(opus|sonnet|haiku))"), Claude("both", "none", "asked", False, True, 4096)),
    (re.compile(r"claude-3-5"), Claude("both", "none", "asked", False, True, 8192)),
    (re.compile(r"claude-3-7"), Claude("both", "budget", "asked", False, True, 64_000)),
    (re.compile(r"claude-opus-4-1"), Claude("one", "budget", "asked", True, True, 32_000)),
    (re.compile(r"claude-(opus|sonnet|haiku)-4-5"), Claude("one", "budget", "asked", True, True, 64_000)),
    (re.compile(r"claude-(opus|sonnet|haiku)-4-6"), Claude("one", "effort", "asked", True, True, 64_000)),
    (re.compile(r"claude-(opus|sonnet|haiku)-4-[7-9](\D|$)"), Claude("none", "effort", "asked", True, True, 64_000)),
    (re.compile(r"claude-(4-opus|opus-4)(\D|$)"), Claude("both", "budget", "asked", False, True, 32_000)),
    (re.compile(r"claude-(4-sonnet|(sonnet|haiku)-4)(\D|$)"), Claude("both", "budget", "asked", False, True, 64_000)),
    (re.compile(r"claude-(opus|sonnet)-5(-\d{8})?$"), Claude("none", "effort", "default", True, True, 64_000)),
    (re.compile(r"claude-(fable|mythos)-(5|preview)(-\d{8})?$"), Claude("none", "effort", "always", True, True, 64_000)),
)
_NEWEST_CLAUDE: Final = Claude("none", "effort", "always", True, False, 64_000)
_NOT_CLAUDE: Final = Claude("both", "none", "asked", False, True, 8192)  # other models behind the Messages API, e.g. of LM Studio

_CACHED_FROM: Final = (
    (re.compile(r"(fable|mythos|opus)-5(\D|$)"), 512),
    (re.compile(r"(opus-4-[56]|haiku-4-5)(\D|$)"), 4096),
    (re.compile(r"opus-4-7|3-haiku|3-5-haiku"), 2048),
    (re.compile(r"claude"), 1024),
)
"""Tokens that a beginning must have for Anthropic's prompt cache to hold it. Source: its prompt caching page (read 2026-11)."""

_OPENAI_REASONING: Final = re.compile(r"(?:^|/)(?:o[1-9](?:$|-)|gpt-(?:[5-9]|[1-9]\d)|codex)")


@lru_cache(maxsize=1024)  # names of upstream models: few
def claude(model: str) -> Claude:
    """What a model behind the Messages API takes. `model`: the provider's name for it."""
    name = model.lower().replace(".", "-")
    for pattern, family in _CLAUDES:
        if pattern.search(name):
            return family
    return _NEWEST_CLAUDE if "claude" in name else _NOT_CLAUDE


@lru_cache(maxsize=1024)
def least_cached_tokens(model: str) -> int | None:
    """How long a beginning must be for a Claude model's prompt cache; None for what is no Claude, which may refuse marks."""
    name = model.lower().replace(".", "-")
    return next((tokens for pattern, tokens in _CACHED_FROM if pattern.search(name)), None) if "claude" in name else None


@lru_cache(maxsize=1024)
def openai_reasoning(model: str) -> bool:
    """Whether an OpenAI-type model refuses max_tokens, stop and any temperature, and takes max_completion_tokens and reasoning_effort."""
    return _OPENAI_REASONING.search(model.lower()) is not None
