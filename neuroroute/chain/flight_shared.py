"""
Flights across workers and replicas: who asks what another worker is being asked reads its answer from Redis.

One small value per flight, under the key of the cache. Who sets it first leads; it writes there what came so far every PUBLISH_S, and at last
the answer. The others read it every LOOK_S. A value that vanishes frees who waits: a worker died, or the call ended in nothing to be shared.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from neuroroute.caching.entry import pack, unpack
from neuroroute.chain.flight import Flight, Flights
from neuroroute.core import jsonbytes
from neuroroute.core.clock import monotonic_s
from neuroroute.core.dataclass import dataclass, field
from neuroroute.core.errors import NeuroRouteError, StreamCut
from neuroroute.core.ids import new_id
from neuroroute.core.tasks import spawn
from neuroroute.routing.catalog import Catalog
from neuroroute.store.kv import KV, Arg, KVAway, Scripts

PUBLISH_S: Final = 0.25
LOOK_S: Final = 0.04
_ALIVE_S: Final = 10.0  # a leader that wrote nothing for so long is dead; a worker that only lacks its CPU for a few seconds is not
_BEAT_S: Final = 1.0
_ENDED_S: Final = 5.0  # for who came while it ran
_AWAY_S: Final = 1.0  # so long an outage of the store is waited through
_LONGEST_S: Final = 900.0
_CLAIM: Final = """
local value = redis.call('GET', KEYS[1])
if value and value ~= ARGV[1] and not string.find(value, '^{"state":"[db]') then return {0} end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {1}
"""
"""What is claimed, live is another's; done, broken is over: who comes then begins anew."""
_END: Final = """
local value = redis.call('GET', KEYS[1])
if value and not string.find(string.sub(value, 1, 100), ARGV[1], 1, true) then return {0} end
if ARGV[2] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return {1}
"""
"""The end of the flight with this name; nothing where another began since."""
_AGAIN_S: Final = 0.02
_HEARD: Final = ":heard"
_HEARD_S: Final = 1.0


class Store(KV, Scripts, Protocol):
    """What can be claimed atomically: Redis."""


@dataclass(frozen=True, slots=True)
class _Elsewhere:
    """A stream whose upstream another worker reads. event: how it told that it broke."""

    status: int
    headers: dict[str, str]
    event: list[bytes] = field(default_factory=list)

    def failure(self, error: NeuroRouteError) -> bytes:
        return b"".join(self.event)


class SharedFlights:
    """store: None = one worker alone."""

    def __init__(self, flights: Flights, store: Store | None = None) -> None:
        self._flights, self._store = flights, store
        self._away_s = 0.0  # since when the store is; 0 = it is not

    async def leads(self, key: bytes, flight: Flight, catalog: Catalog) -> bool:
        """
        Whether this worker leads a flight just opened; then others can read it there until it ends. Otherwise it fills with what another leads.

        Without a store, or while it is away, each worker leads its own.
        """
        store = self._store
        if store is None:
            return True
        try:
            claimed = await self._claim(store, key, name := new_id("flt"), flight)
        except BaseException:  # its client left meanwhile: who joined asks anew
            self._flights.land(key, flight, None)
            raise
        if claimed:
            spawn(self._publish(key, name, flight, store), name="flight for other workers")
        else:
            spawn(self._mirror(key, flight, catalog, store), name="flight of another worker")
        return claimed

    async def _claim(self, store: Store, key: bytes, name: str, flight: Flight) -> bool:
        claimed = _head("claimed", name)
        answer = await self._insist(store, _CLAIM, key, [claimed, int(_ALIVE_S * 1000)], lambda: flight.passengers > 0)
        return answer is None or answer[0] == 1

    async def _insist(
        self, store: Store, script: str, key: bytes, args: Sequence[Arg], is_wanted: Callable[[], bool] = lambda: True
    ) -> list[int] | None:
        """
        The script's answer; None: the store is away for long, or this is not wanted any more.

        In the first second of an outage it is tried again: it may be a burst of equal calls that keeps the loop from reading the answer. The
        other calls of such a burst have joined after one turn of the loop; nobody waits for a call that is alone.
        """
        while True:
            try:
                answer = await store.run(script, [_place(key)], args)
                self._away_s = 0.0
                return answer
            except KVAway:
                self._away_s = self._away_s or monotonic_s()
            if monotonic_s() - self._away_s > _AWAY_S:
                return None
            await asyncio.sleep(0)
            if not is_wanted():
                return None
            await asyncio.sleep(_AGAIN_S)

    @property
    def are_shared(self) -> bool:
        return self._store is not None

    def leave(self, key: bytes, flight: Flight) -> Callable[[], None]:
        """What is to be done when the client of the leader is gone: the call goes on for those who joined, here or at other workers."""

        def left() -> None:
            flight.leader_left = True
            if self._store is None:
                self._flights.left(key, flight)
            else:
                spawn(self._hold(key, flight), name="flight whose leader left")

        return left

    async def _publish(self, key: bytes, name: str, flight: Flight, store: Store) -> None:
        published, landed = 0, flight.landed()
        written_s = monotonic_s()
        while not flight.over:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PUBLISH_S):
                    await landed.wait()
            if flight.over or (len(flight.pieces) == published and monotonic_s() - written_s < _BEAT_S):
                continue
            count, now_s = len(flight.pieces), monotonic_s()
            with contextlib.suppress(KVAway):
                await store.set(_place(key), _live(flight, name), _ALIVE_S)
                published, written_s = count, now_s
        # Who reads along and is not told waits until the value expires, and is cut off then.
        await self._insist(store, _END, key, [name, _end(flight, name), int(_ENDED_S * 1000)])

    async def _mirror(self, key: bytes, flight: Flight, catalog: Catalog, store: Store) -> None:
        error: NeuroRouteError | None = None
        deadline_s = monotonic_s() + _LONGEST_S
        name, looked, away_s = "", False, 0.0
        try:
            while monotonic_s() < deadline_s:
                try:
                    value = await store.get(_place(key))
                    await store.set(_place(key) + _HEARD, b"1", _HEARD_S)
                except KVAway:
                    away_s = away_s or monotonic_s()
                    if monotonic_s() - away_s > _AWAY_S:
                        break
                    await asyncio.sleep(LOOK_S)
                    continue
                away_s = 0.0
                if value is None:
                    break
                head, _, body = value.partition(b"\n")
                told = jsonbytes.loads(head)
                name = name or told["name"]
                if told["name"] != name:
                    break
                if told["state"] == "done":
                    flight.entry = unpack(body)
                    break
                if told["state"] == "broken":
                    if isinstance(flight.stream, _Elsewhere):
                        flight.stream.event.append(told["event"].encode())
                    break
                if looked and not flight.passengers:
                    break
                looked = True
                if told["state"] == "live":
                    _take(flight, told, body, catalog)
                await asyncio.sleep(LOOK_S)
            if flight.entry is None and flight.stream is not None:
                error = StreamCut("the stream broke off at another worker")
        finally:
            self._flights.land(key, flight, error)

    async def _hold(self, key: bytes, flight: Flight) -> None:
        """As long as other workers listen, they count as one who joined."""
        flight.passengers += 1
        try:
            while not flight.over and await self._is_heard(key):  # noqa: ASYNC110 - what is waited for happens elsewhere
                await asyncio.sleep(_HEARD_S / 2)
        finally:
            flight.passengers -= 1
            self._flights.left(key, flight)

    async def _is_heard(self, key: bytes) -> bool:
        try:
            return self._store is not None and await self._store.get(_place(key) + _HEARD) is not None
        except KVAway:
            return False


def _head(state: str, name: str, **more: object) -> bytes:
    """The first line of a value. State and name stand first: the scripts read them there."""
    return jsonbytes.dumps({"state": state, "name": name, **more}) + b"\n"


def _live(flight: Flight, name: str) -> bytes:
    if flight.stream is None:
        return _head("claimed", name)
    head = {
        "status": flight.stream.status,
        "headers": dict(flight.stream.headers),
        "target": flight.target.name if flight.target is not None else "",
        "sizes": [len(piece) for piece in flight.pieces],
    }
    return _head("live", name, **head) + b"".join(flight.pieces)


def _end(flight: Flight, name: str) -> bytes:
    """Empty: there is nothing to be shared."""
    if flight.entry is not None:
        return _head("done", name) + pack(flight.entry)
    if flight.stream is not None and flight.error is not None:
        return _head("broken", name, event=flight.stream.failure(flight.error).decode("utf-8", "replace"))
    return b""


def _take(flight: Flight, told: dict[str, object], body: bytes, catalog: Catalog) -> None:
    sizes, status, headers = told["sizes"], told["status"], told["headers"]
    if not isinstance(sizes, list) or not isinstance(status, int) or not isinstance(headers, dict):
        return
    if flight.stream is None:
        found = catalog.entry(str(told["target"]))
        flight.begin(_Elsewhere(status, headers), found.target if found is not None else None)
    if sum(sizes) > flight.size_bytes:
        flight.add(body[flight.size_bytes :])


def _place(key: bytes) -> str:
    return f"flight:{key.hex()}"
