"""
The kept answers: a bounded map in the process, and behind it the key-value store that all workers and replicas share.

`look` is a plain call and costs less than 3 us; `look_behind` asks the shared store, for at most its time limit, and never fails: an outage is a
miss. `keep` is a plain call too; `run` (a tracked task) brings entries to the shared store.

Entries are dropped by tag everywhere: a drop is a moment, and an entry older than the last drop of one of its tags is none. The moments are
shared as one small value, merged by maximum, that every worker reads each second.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Final

from neuroroute.caching.entry import Entry, pack, unpack
from neuroroute.core.clock import unix_s
from neuroroute.core.dataclass import dataclass
from neuroroute.core.jsonbytes import dumps, loads
from neuroroute.store.kv import KV, KVAway
from neuroroute.store.kv_memory import ByteLRU

_log = logging.getLogger("neuroroute.cache")

PREFIX: Final = "prefix:"
"""Begins a drop by the beginning of models' names (`gpt-`, `openai/`)."""
_MAX_SHARE: Final = 8  # one entry is at most an eighth of the map
_WAITING_BYTES: Final = 16 << 20
_WAITING_SHARE: Final = 8  # what waits for the shared store takes at most an eighth of the memory, and the map the rest
_DROPS_KEY: Final = "drops"
_MOST_DROPS: Final = 10_000  # moments that are remembered; beyond it the oldest are forgotten
_DROPS_TTL_S: Final = 31 * 86_400
_DROPS_EVERY_S: Final = 1.0


@dataclass(slots=True)
class Counts:
    """Since the start of the process."""

    hits: int = 0
    hits_behind: int = 0
    misses: int = 0
    kept: int = 0
    dropped: int = 0
    away: int = 0
    unsent: int = 0  # not brought to the shared store: it was away or too slow


class ResponseCache:
    """
    max_bytes: of this process's memory, for the map and what waits for the shared store. shared: the store behind it, None = none.
    """

    def __init__(self, max_bytes: int, shared: KV | None = None, *, prefix: str = "cache:") -> None:
        self._waiting_most = min(_WAITING_BYTES, max_bytes // _WAITING_SHARE) if shared is not None else 0
        self._near: ByteLRU[Entry] = ByteLRU(max_bytes - self._waiting_most)
        self._shared, self._prefix = shared, prefix
        self._waiting: deque[tuple[bytes, bytes, float]] = deque()
        self._waiting_bytes = 0
        self._wake = asyncio.Event()
        self.on_drop: Callable[[str | None], None] = lambda tag: None
        """Tells the other processes of a drop, where there is no shared store."""
        self._asked: dict[bytes, asyncio.Future[None]] = {}
        self._drops: dict[str, float] = {}
        self._drops_changed = False
        self.counts = Counts()

    @property
    def held_bytes(self) -> int:
        """Held in this process, the entries' own cost included."""
        return self._near.bytes + self._waiting_bytes

    @property
    def evicted(self) -> int:
        return self._near.evicted

    @property
    def has_behind(self) -> bool:
        """Whether `look_behind` can find what `look` did not."""
        return self._shared is not None

    def __len__(self) -> int:
        return len(self._near)

    def readings(self) -> list[tuple[str, tuple[str, ...], float]]:
        """For metrics: (name, label values, value)."""
        return [
            ("neuroroute_cache_entries", (), len(self._near)),
            ("neuroroute_cache_bytes", (), self.held_bytes),
            ("neuroroute_cache_evictions", (), self._near.evicted),
        ]

    def look(self, key: bytes) -> Entry | None:
        entry = self._near.get(key)
        if entry is None:
            if self._shared is None:
                self.counts.misses += 1
            return None
        self.counts.hits += 1
        return entry

    def peek(self, key: bytes) -> Entry | None:
        """`look` that counts nothing."""
        return self._near.get(key)

    def other_form(self, key: bytes, entry: Entry) -> Entry | None:
        """The answer found under `key` in its other form: made at the first question, then kept beside it in this process."""
        beside = key + b"~"
        other = self._near.get(beside)
        if other is None or other.made_at_s != entry.made_at_s:
            other = entry.in_form(stream=not entry.stream)
            if other is not None:
                self._put(beside, other, entry.expires_at_s - unix_s())
        return other

    async def look_behind(self, key: bytes) -> Entry | None:
        """
        What another worker kept; from then on it is kept here too. Waits at most the store's time limit, and never raises KVAway.

        Who asks while another asks the same waits for that answer; and finds what this process kept in the meantime.
        """
        if self._shared is None:
            return None
        asked = self._asked.get(key)
        if asked is not None:
            await asyncio.wait([asked])
            return self._near.get(key)
        asked = self._asked[key] = asyncio.get_running_loop().create_future()
        try:
            return await self._fetch(key, self._shared) or self._near.get(key)
        finally:
            del self._asked[key]
            asked.set_result(None)

    async def _fetch(self, key: bytes, shared: KV) -> Entry | None:
        try:
            data = await shared.get(self._name(key))
        except KVAway:
            self.counts.away += 1
            self.counts.misses += 1
            return None
        entry = None if data is None else unpack(data)
        if entry is None or self.is_dropped(entry) or entry.expires_at_s <= unix_s():
            self.counts.misses += 1
            return None
        self.counts.hits += 1
        self.counts.hits_behind += 1
        self._put(key, entry, entry.expires_at_s - unix_s())
        return entry

    def keep(self, key: bytes, entry: Entry, ttl_s: float) -> None:
        """Keep a good, whole answer (see policy.Plan.keeps) for `ttl_s` seconds."""
        entry.expires_at_s = unix_s() + ttl_s
        self.counts.kept += 1
        self._put(key, entry, ttl_s)
        if self._shared is not None:
            data = pack(entry)
            if self._waiting and self._waiting_bytes + len(data) > self._waiting_most:
                self.counts.unsent += 1
                return
            self._waiting.append((key, data, ttl_s))
            self._waiting_bytes += len(data)
            self._wake.set()

    def drop(self, tag: str | None = None, *, told: bool = False) -> int:
        """
        Drop what carries `tag` (model:gpt-4o, key:key_..., ...), None = all; how many entries of this process that were.

        told: by another process, which tells all.
        """
        if not told:
            self.on_drop(tag)
        self._drops.pop(tag or "*", None)
        self._drops[tag or "*"] = unix_s()
        if len(self._drops) > _MOST_DROPS:
            del self._drops[next(iter(self._drops))]
        self._drops_changed = True
        self._wake.set()
        return self._sweep()

    def _merge(self, moments: dict[str, float]) -> None:
        news = {tag: at_s for tag, at_s in moments.items() if at_s > self._drops.get(tag, 0.0)}
        self._drops.update(news)
        if news:
            self._sweep()

    async def run(self) -> None:
        """Bring entries to the shared store and read the drops, for ever. Returns at once where there is no shared store."""
        while self._shared is not None:
            await self._send(self._shared)
            await self._share_drops(self._shared)
            try:
                await asyncio.wait_for(self._wake.wait(), _DROPS_EVERY_S)
            except TimeoutError:
                continue
            self._wake.clear()

    async def flush(self) -> None:
        """Returns when what was kept and dropped until now is in the shared store, or it is away."""
        if self._shared is not None:
            await self._send(self._shared)
            await self._share_drops(self._shared)

    def _name(self, key: bytes) -> str:
        return self._prefix + key.hex()

    def _put(self, key: bytes, entry: Entry, ttl_s: float) -> None:
        size = entry.size_bytes
        if size * _MAX_SHARE <= self._near.max_bytes:
            self._near.put(key, entry, size + len(key), ttl_s)
        else:
            self._near.pop(key)

    def is_dropped(self, entry: Entry) -> bool:
        """Whether it is older than the last drop of what it carries."""
        drops = self._drops
        if not drops:
            return False
        full_name = f"{entry.provider}/{entry.model}"
        if any(drops.get(tag, 0.0) >= entry.made_at_s for tag in (*entry.tags, f"model:{full_name}", "*")):
            return True
        names = (entry.model, full_name)
        begins = [(tag.removeprefix(PREFIX), at_s) for tag, at_s in drops.items() if at_s >= entry.made_at_s and tag.startswith(PREFIX)]
        return any(name.startswith(begin) for begin, _ in begins for name in names)

    def _sweep(self) -> int:
        count = self._near.drop(self.is_dropped)
        self.counts.dropped += count
        return count

    async def _send(self, shared: KV) -> None:
        while self._waiting:
            key, data, ttl_s = self._waiting.popleft()
            self._waiting_bytes -= len(data)
            try:
                await shared.set(self._name(key), data, ttl_s)
            except KVAway:
                self.counts.unsent += 1 + len(self._waiting)
                self._waiting.clear()
                self._waiting_bytes = 0

    async def _share_drops(self, shared: KV) -> None:
        try:
            known = _moments(await shared.get(self._prefix + _DROPS_KEY))
            self._merge(known)
            oldest_s = unix_s() - _DROPS_TTL_S
            self._drops = {tag: at_s for tag, at_s in self._drops.items() if at_s > oldest_s}
            if any(at_s > known.get(tag, 0.0) for tag, at_s in self._drops.items()):
                await shared.set(self._prefix + _DROPS_KEY, dumps(self._drops), _DROPS_TTL_S)
        except KVAway:
            self.counts.away += 1


def _moments(data: bytes | None) -> dict[str, float]:
    try:
        moments = loads(data) if data else {}
    except ValueError:
        return {}
    if not isinstance(moments, dict):
        return {}
    return {tag: float(at_s) for tag, at_s in moments.items() if isinstance(at_s, (int, float))}
