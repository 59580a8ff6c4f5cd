"""
Who answered a conversation last: what stickiness needs to know, for a bounded number of conversations of one worker.

The key says which conversation it is (a session that the client names, or a hash that the caller makes of its beginning); it must hold the
API key's id, so that no tenant's conversation steers another's. What is lost with the worker costs a provider's cached prefix, no more.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from neuroroute.routing.decision import NEW_THREAD, Thread

PREFIX_CACHED_S: Final = 300.0
"""How long providers keep a prefix at least. Source: Anthropic and OpenAI, prompt caching, 5 minutes; checked 2026-11."""


@dataclass(frozen=True, slots=True)
class _Last:
    target: str
    prompt_tokens: int
    at_s: float


class Threads:
    """The last `most` conversations that were answered within `ttl_s`, O(1)."""

    def __init__(self, most: int = 20_000, ttl_s: float = 3600.0) -> None:
        self._most, self._ttl_s = most, ttl_s
        self._last: OrderedDict[bytes, _Last] = OrderedDict()

    def find(self, key: bytes, now_s: float, *, tool_loop: bool = False, stalled: bool = False) -> Thread:
        """What is known of the conversation; a new thread if nothing is."""
        last = self._last.get(key)
        if last is None or now_s - last.at_s > self._ttl_s:
            return NEW_THREAD
        cached = last.prompt_tokens if now_s - last.at_s <= PREFIX_CACHED_S else 0
        return Thread(last.target, cached, tool_loop, stalled)

    def answered(self, key: bytes, target: str, prompt_tokens: int, now_s: float) -> None:
        """`target` (`Target.name`) answered a prompt of this size."""
        self._last[key] = _Last(target, prompt_tokens, now_s)
        self._last.move_to_end(key)
        if len(self._last) > self._most:
            self._last.popitem(last=False)

    def __len__(self) -> int:
        return len(self._last)
