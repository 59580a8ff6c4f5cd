"""Calls at once: per key, user, or any other subject; over all processes where they share a store."""

from collections.abc import Sequence

from neuroroute.core.clock import monotonic_s
from neuroroute.core.dataclass import dataclass
from neuroroute.limits.places import Places, SharedPlaces


@dataclass(frozen=True, slots=True)
class Cap:
    """At most `limit` running calls of one subject."""

    scope: str
    subject: str
    limit: int


class Slot:
    """The places that one running call holds. `release` gives them back, once however often it is called."""

    __slots__ = ("_owner", "_places")

    def __init__(self, owner: "Concurrency", places: Sequence[Places]) -> None:
        self._owner, self._places = owner, places

    def release(self) -> None:
        places, self._places = self._places, ()
        for one in places:
            one.leave()
        if places:
            self._owner.tidy()


class Concurrency:
    """The running calls. shared: through which processes share their caps; None = this process is alone."""

    def __init__(self, shared: SharedPlaces | None = None) -> None:
        self.shared = shared
        self._own: dict[tuple[str, str], Places] = {}

    def running(self, scope: str, subject: str) -> int:
        """In this process."""
        return self._of(Cap(scope, subject, 0)).running

    def take(self, caps: Sequence[Cap]) -> Slot | Cap | None:
        """A slot, or the cap that is full; then nothing was taken. None: `ask` must be awaited."""
        places = [self._of(cap) for cap in caps]
        lacking = False
        for cap, one in zip(caps, places, strict=True):
            if one.full:
                if self.shared is None or self.shared.away or monotonic_s() < one.refused_until_s:
                    return cap
                lacking = True
        if lacking:
            return None
        for one in places:
            one.running += 1
        return Slot(self, places)

    async def ask(self, caps: Sequence[Cap]) -> Slot | Cap:
        """The same with the right to ask the store, twice: what it gave the first time another call may have taken."""
        assert self.shared is not None
        for _ in range(2):
            await self.shared.ask([one for one in map(self._of, caps) if one.full])
            taken = self.take(caps)
            if taken is not None:
                return taken
        return next(cap for cap in caps if self._of(cap).full)

    def tidy(self) -> None:
        """Forget the subjects that run nothing, once there are many."""
        if len(self._own) > 1000:
            self._own = {subject: places for subject, places in self._own.items() if places.running}

    def readings(self) -> list[tuple[str, tuple[str, ...], float]]:
        """For metrics: (name, label values, value)."""
        return [("neuroroute_shared_places", (), self.shared.held)] if self.shared is not None else []

    def _of(self, cap: Cap) -> Places:
        if self.shared is not None:
            return self.shared.of(f"{cap.scope}:{cap.subject}", cap.limit)
        places = self._own.get((cap.scope, cap.subject))
        if places is None:
            places = self._own[cap.scope, cap.subject] = Places(cap.limit)
        places.most = cap.limit
        return places
