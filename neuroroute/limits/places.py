"""
Calls at once, counted over all processes: places that the common store gives out, so that a cap is one number wherever its calls run.

To the store a place is a unit of a lease (see `leases`) that is never spent: each contact gives back what was held and takes again what is still
used, so what a killed process held is free after PLACE_LEASE_S. A process keeps a few free places of a large cap, so that most calls ask nobody;
of a small one it keeps none, and what a call leaves goes back at once: what lies free here might be all that a call elsewhere needs. So a cap below
SPARE places for each process costs a call up to two round trips (measured with 4 processes and four fifths of the cap in use: 2.0 of a cap of 1 to 4,
1.6 of 16, 1.2 of 32, 0.5 of 64, 0.2 of 200), at most one of which it waits for. While the store is away each process has its part.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from neuroroute.core.clock import monotonic_s
from neuroroute.core.patience import patience
from neuroroute.core.tasks import spawn
from neuroroute.limits.leases import HOLDER_TTL_S, LEASE_SCRIPT, RECOVERY_S
from neuroroute.store.kv import Arg, KVAway, Scripts

PLACE_LEASE_S: Final = 4.0
_WINDOW_MS: Final = 1000
"""How much longer than its lease a place is counted that nobody renewed."""
BEAT_S: Final = 0.5
GIVE_BACK_S: Final = 0.01
"""What is left within this goes back together."""
REFUSED_S: Final = 0.03
SPARE: Final = 8
"""One in so many places of a cap may lie free, in all processes together."""
_TAG: Final = "{limits}places-"


class Places:
    """
    Calls of one subject: `most` at once, 0 = any number.

    shared: through which processes share it; None = it is this one's own. held: what the store gave; granted, bucket: as it knows them.
    """

    __slots__ = ("bucket", "granted", "held", "most", "name", "need", "refused_until_s", "running", "shared")

    def __init__(self, most: int = 0, shared: "SharedPlaces | None" = None, name: str = "") -> None:
        self.most, self.shared, self.name = most, shared, name
        self.running = self.held = self.granted = self.bucket = self.need = 0
        self.refused_until_s = 0.0

    @property
    def full(self) -> bool:
        """Whether no more call may run now; where they are shared the store may have more (`SharedPlaces.ask`)."""
        if not self.most:
            return False
        return self.running >= (self.most if self.shared is None else self.shared.allowed(self))

    def leave(self) -> None:
        """A call is over."""
        self.running -= 1
        if self.shared is not None:
            self.shared.left(self)


class SharedPlaces:
    """
    The contact of one process with the store. holder: its name there; holders: processes that share, at least; wait_s: the longest that a call
    waits for the store.
    """

    def __init__(self, store: Scripts, holder: str, *, holders: int = 1, wait_s: float = 0.05) -> None:
        self._store, self._holder, self._holders, self._least, self._wait_s = store, holder, holders, holders, wait_s
        self._places: dict[str, Places] = {}
        self._lacking: dict[str, Places] = {}
        self._turn: asyncio.Future[None] | None = None
        self._line = asyncio.Lock()
        self._asking = False
        self._marker = 0
        self.away = False
        self.trips = 0

    def __len__(self) -> int:
        return len(self._places)

    def of(self, name: str, most: int) -> Places:
        """The places of a subject. most: in all processes together."""
        places = self._places.get(name)
        if places is None:
            places = self._places[name] = Places(most, self, name)
        places.most = most
        return places

    def allowed(self, places: Places) -> int:
        return max(places.most // self._holders, 1) if self.away else places.held

    async def ask(self, lacking: Sequence[Places]) -> None:
        """Fetch a place of each; what came is in `full`. The question may have to wait for the one before: returns after twice `wait_s` at most."""
        for places in lacking:
            places.need += 1
            self._places[places.name] = self._lacking[places.name] = places
        if self._turn is None:
            self._turn = asyncio.get_running_loop().create_future()
        turn = self._turn
        self._go(0.0)
        await asyncio.wait((turn,), timeout=2 * self._wait_s + 0.01)

    def left(self, places: Places) -> None:
        """What lies free now goes back, unless it is a spare one."""
        if not self.away and places.held - places.running > self._spare(places):
            self._lacking.setdefault(places.name, places)
            self._go(GIVE_BACK_S)

    async def run(self) -> None:
        """Renew what is held, for ever."""
        while True:
            await asyncio.sleep(BEAT_S)
            await self.beat()

    async def beat(self) -> None:
        """Once. Never raises KVAway."""
        for name, places in list(self._places.items()):
            if not (places.running or places.granted or places.need):
                del self._places[name]
        busy = list(self._places.items())
        for at in range(0, max(len(busy), int(self.away)), 100):
            await self._contact(dict(busy[at : at + 100]))

    def _spare(self, places: Places) -> int:
        return places.most // (SPARE * self._holders)

    def _go(self, after_s: float) -> None:
        if not self._asking:
            self._asking = True
            spawn(self._fetch(after_s), name="limits-places")

    async def _fetch(self, after_s: float) -> None:
        try:
            if after_s:
                await asyncio.sleep(after_s)
            while self._lacking:
                lacking, self._lacking = self._lacking, {}
                turn, self._turn = self._turn, None
                try:
                    await self._contact(lacking)
                finally:
                    if turn is not None and not turn.done():
                        turn.set_result(None)
        finally:
            self._asking = False

    async def _contact(self, some: dict[str, Places]) -> None:
        async with self._line:
            args: list[Arg] = [self._holder, self._marker, int(HOLDER_TTL_S * 1000), int(RECOVERY_S * 1000)]
            told = []
            for places in some.values():
                need, places.need = places.need, 0
                spare = self._spare(places)
                keep = max(min(places.held, places.running + spare), places.running)
                places.held = min(places.held, keep)
                told.append((keep, need))
                args += (places.most, _WINDOW_MS, int(PLACE_LEASE_S * 1000), places.bucket, places.granted, 0, keep, need, 1, spare)
            self.trips += 1
            try:
                async with patience(self._wait_s):
                    answer = await self._store.run(LEASE_SCRIPT, [_TAG + "marker", _TAG + "holders", *[_TAG + name for name in some]], args)
            except (KVAway, TimeoutError):
                self.away = True
                return
            now_s, self.away, self._marker = monotonic_s(), False, answer[0]
            self._holders = max(answer[1], self._least)
            for at, (places, (keep, need)) in enumerate(zip(some.values(), told, strict=True)):
                bucket, extra = answer[2 + 4 * at : 4 + 4 * at]
                places.bucket, places.granted = bucket, keep + extra
                places.held = keep + extra
                if need > extra:
                    places.refused_until_s = now_s + REFUSED_S

    @property
    def held(self) -> int:
        """Places of all subjects."""
        return sum([places.held for places in list(self._places.values())])
