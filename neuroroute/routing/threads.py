"""
Who answered a conversation last: what stickiness needs to know, for a bounded number of conversations of one worker.

The key says which conversation it is (a session that the client names, or a hash that the caller makes of its beginning); it must hold the
API key's id, so that no tenant's conversation steers another's. What is lost with the worker costs a provider's cached prefix, no more.
"""

from collections import OrderedDict
from typing import Final

from neuroroute.core.dataclass import dataclass
from neuroroute.core.types import Usage
from neuroroute.routing.decision import NEW_THREAD, Thread

PREFIX_CACHED_S: Final = 300.0
"""How long providers keep a prefix at least. Source: Anthropic and OpenAI, prompt caching, 5 minutes; checked 2026-11."""
LEAST_CACHED_TOKENS: Final = 1024
"""Below it no provider that caches by itself holds a prefix. Source: OpenAI, prompt caching; checked 2026-11."""
_GUESS: Final = 0.5  # of a prompt that is found again, where nothing was seen yet: guess, and one answer outweighs it
_GUESS_WEIGHT: Final = 0.5
_FORGETS: Final = 0.9  # what was seen counts a tenth less with each further answer


@dataclass(frozen=True, slots=True)
class _Last:
    target: str
    prompt_tokens: int
    held_tokens: int  # what the provider said that it found in its cache or wrote there
    at_s: float
    stalled: bool
    raised: bool


class Threads:
    """
    The last `most` conversations that were answered within `ttl_s`, O(1).

    How much of a prefix a provider will find again is what it reported: what it wrote, where it says so, and else the share of earlier
    prompts that it found when their conversations went on.
    """

    def __init__(self, most: int = 20_000, ttl_s: float = 3600.0) -> None:
        self._most, self._ttl_s = most, ttl_s
        self._last: OrderedDict[bytes, _Last] = OrderedDict()
        self._found: dict[str, tuple[float, float]] = {}  # target -> shares of prompts that were found again: their sum, their weight

    def find(self, key: bytes, now_s: float, *, tool_loop: bool = False, stalled: bool = False) -> Thread:
        """What is known of the conversation; a new thread if nothing is."""
        last = self._last.get(key)
        if last is None or now_s - last.at_s > self._ttl_s:
            return NEW_THREAD
        held = self._held(last) if now_s - last.at_s <= PREFIX_CACHED_S else 0
        return Thread(last.target, held, tool_loop, stalled or last.stalled, last.raised)

    def answered(self, key: bytes, target: str, used: Usage, now_s: float, *, stalled: bool = False, raised: bool = False) -> None:
        """`target` (`Target.name`) answered, and reported this usage. stalled, raised: as of a `Thread`."""
        last = self._last.get(key)
        if (
            last is not None
            and last.target == target
            and last.prompt_tokens >= LEAST_CACHED_TOKENS
            and now_s - last.at_s <= PREFIX_CACHED_S
            and used.source == "provider"
        ):
            total, weight = self._found.get(target, (0.0, 0.0))
            share = min(used.cached_tokens / last.prompt_tokens, 1.0)
            self._found[target] = (total * _FORGETS + share, weight * _FORGETS + 1.0)
        self._last[key] = _Last(target, used.prompt_tokens, used.cached_tokens + used.cache_write_tokens, now_s, stalled, raised)
        self._last.move_to_end(key)
        if len(self._last) > self._most:
            self._last.popitem(last=False)

    def _held(self, last: _Last) -> int:
        total, weight = self._found.get(last.target, (0.0, 0.0))
        if last.prompt_tokens < LEAST_CACHED_TOKENS or (last.held_tokens and not weight):
            return last.held_tokens
        share = (total + _GUESS * _GUESS_WEIGHT) / (weight + _GUESS_WEIGHT)
        return max(last.held_tokens, int(share * last.prompt_tokens))

    def __len__(self) -> int:
        return len(self._last)
