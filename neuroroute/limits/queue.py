"""
The queue before a provider whose limits are known: a call waits a moment for its turn instead of being refused by the provider.

Fair: those who wait are served in turn, one call each, however many calls one of them has. Short: who would wait too long, or stands
behind too many, is told at once, so that another provider can be asked.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from typing import Final

from neuroroute.core.dataclass import dataclass
from neuroroute.core.tasks import spawn
from neuroroute.limits.places import Places, SharedPlaces
from neuroroute.limits.rate import Check, Limiter, Unit, Verdict

WAIT_MAX_S: Final = 5.0
WAITING_MAX: Final = 500
_LOOK_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Full:
    """No turn in time. retry_after_s: when there may be one."""

    retry_after_s: float


class Turn:
    """The right to ask the provider once. `end` gives the place back and corrects the tokens, once however often it is called."""

    __slots__ = ("_ended", "_queue", "verdict")

    def __init__(self, queue: "Queue", verdict: Verdict | None) -> None:
        self._queue, self.verdict, self._ended = queue, verdict, False

    def end(self, used_tokens: int) -> None:
        if not self._ended:
            self._ended = True
            if self.verdict is not None:
                self.verdict.correct(used_tokens)
            self._queue.leave()


class Queue:
    """
    places: where those who had their turn run. checks: what holds per minute, in all processes that share a limiter.
    """

    def __init__(self, limiter: Limiter, checks: Sequence[Check], places: Places) -> None:
        self._limiter, self._checks, self._places = limiter, tuple(checks), places
        self._most_tokens = min([check.limit for check in checks if check.is_tokens], default=0)  # a larger call waits until all is free
        self._waiting: OrderedDict[str, deque[tuple[asyncio.Future[Turn | Full], int]]] = OrderedDict()
        self._count = 0
        self._serving = False

    def __len__(self) -> int:
        """Calls that wait."""
        return self._count

    def is_like(self, other: "Queue") -> bool:
        """Whether both hold the same limits."""
        return (self._checks, self._places.most) == (other._checks, other._places.most)

    def try_enter(self, tokens: int) -> Turn | None:
        """A turn, if nobody waits and the limits allow it now."""
        if self._count or self._places.full:
            return None
        verdict = self._limiter.try_admit(self._checks, min(tokens, self._most_tokens)) if self._checks else None
        if self._checks and (verdict is None or not verdict.admitted):
            return None
        self._places.running += 1
        return Turn(self, verdict)

    async def enter(self, who: str, tokens: int, most_s: float = WAIT_MAX_S) -> Turn | Full:
        """A turn, after at most `most_s`."""
        turn = self.try_enter(tokens)
        if turn is not None:
            return turn
        if self._count >= WAITING_MAX:
            return Full(1.0)
        future: asyncio.Future[Turn | Full] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(who, deque()).append((future, tokens))
        self._count += 1
        self.serve()
        try:
            async with asyncio.timeout(most_s):
                return await future
        except TimeoutError:
            if future.done() and not future.cancelled():
                return future.result()
            self._forget(who, future)
            return Full(most_s)
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and isinstance(given := future.result(), Turn):
                given.end(0)
            self._forget(who, future)
            raise

    def leave(self) -> None:
        self._places.leave()
        self.serve()

    def serve(self) -> None:
        """There may be a free place."""
        if self._count and not self._serving:
            self._serving = True
            spawn(self._turns(), name="provider queue")

    def _forget(self, who: str, future: "asyncio.Future[Turn | Full]") -> None:
        line = self._waiting.get(who)
        for entry in line or ():
            if entry[0] is future and line is not None:
                line.remove(entry)
                self._count -= 1
                if not line:
                    del self._waiting[who]
                return

    async def _turns(self) -> None:
        """Give turns as long as somebody waits and there is a free place."""
        try:
            while self._waiting:
                if self._places.full and not await self._is_there_room():
                    break
                if not self._waiting:
                    break
                who, line = next(iter(self._waiting.items()))
                verdict = None
                if self._checks:
                    verdict = await self._limiter.admit(self._checks, min(line[0][1], self._most_tokens))
                    if not verdict.admitted:
                        if _is_far(verdict):
                            self._turn_away(verdict.retry_after_s or WAIT_MAX_S)
                            break
                        await asyncio.sleep(min(verdict.retry_after_s or _LOOK_S, _LOOK_S))
                        continue
                self._give(who, Turn(self, verdict))
        finally:
            self._serving = False

    def _turn_away(self, retry_after_s: float) -> None:
        """Nobody who waits gets a turn in time."""
        for line in self._waiting.values():
            for future, _ in line:
                if not future.done():
                    future.set_result(Full(retry_after_s))
        self._waiting.clear()
        self._count = 0

    async def _is_there_room(self) -> bool:
        """Whether a place came from the store. Where they are shared it is asked again until nobody waits: others give places back unheard."""
        shared = self._places.shared
        if shared is None:
            return False
        while self._waiting and self._places.full:
            if not shared.away:
                await shared.ask([self._places])
            if self._places.full:
                await asyncio.sleep(_LOOK_S)
        return bool(self._waiting)

    def _give(self, who: str, turn: Turn) -> None:
        self._places.running += 1
        line = self._waiting.get(who)
        if not line:  # it left while the limiter was asked
            turn.end(0)
            return
        future, _ = line.popleft()
        self._count -= 1
        if line:
            self._waiting.move_to_end(who)
        else:
            del self._waiting[who]
        if future.done():
            turn.end(0)
        else:
            future.set_result(turn)


def _is_far(verdict: Verdict) -> bool:
    """Whether the next turn comes later than anybody waits. Tokens may be free before that: what a call did not use is given back."""
    check = verdict.refused_by
    return check is not None and not check.is_tokens and (verdict.retry_after_s or 0.0) > WAIT_MAX_S


class Queues:
    """The queues of all providers and models that have limits. Names: a provider's, `provider/model`."""

    def __init__(self, limiter: Limiter, shared: SharedPlaces | None = None) -> None:
        self._limiter, self._shared = limiter, shared
        self._queues: dict[str, Queue] = {}

    def configure(self, limits: Mapping[str, tuple[int, int, int]]) -> None:
        """limits: of each name, the requests and tokens per minute, and the calls at once, of all processes together; 0 = any number."""
        queues: dict[str, Queue] = {}
        for name, (requests, tokens, concurrency) in limits.items():
            checks = [Check("provider", name, requests)] if requests else []
            if tokens:
                checks.append(Check("provider", name, tokens, unit=Unit.TOKENS))
            queue = Queue(self._limiter, checks, self._places(name, concurrency))
            old = self._queues.get(name)
            queues[name] = old if old is not None and old.is_like(queue) else queue
        self._queues = queues

    def _places(self, name: str, most: int) -> Places:
        return Places(most) if self._shared is None or not most else self._shared.of(f"provider:{name}", most)

    def of(self, provider: str, target: str) -> Sequence[Queue]:
        """Those that a call of a target has to pass."""
        queues = self._queues
        if not queues:
            return ()
        return [queue for name in (provider, target) if (queue := queues.get(name)) is not None]

    def readings(self) -> list[tuple[str, tuple[str, ...], float]]:
        """For metrics: (name, label values, value)."""
        return [("neuroroute_provider_waiting", (name,), len(queue)) for name, queue in list(self._queues.items())]
