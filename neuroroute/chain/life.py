"""
The life of one call, top to bottom.

    auth -> parse -> rate_limit -> (cache hit? answer) -> (asked already? join) -> classify -> plan -> reserve -> dispatch -> sink -> settle

Each stage is one function in one module of this package. It writes to `call`, or raises a `NeuroRouteError`. Nothing here knows HTTP
servers: bytes come from a `Source` and leave through a `Sink`. `auth` stands first, because it needs headers alone: who has no key
makes us read and parse nothing; and so does whom an overloaded worker sends away (`overload`).

Two rules hold the rest together. *Commit*: once the first byte of an answer is with the client there is no retry and no fallback; a
failure is told inside the stream. *Settle* runs once on every path and is a plain `def`: no cancellation can skip it.
"""

import asyncio
from types import TracebackType
from typing import Self

from neuroroute.chain import cache
from neuroroute.chain.answer import Sink, decide, follow, refuse, relay, replay, whole
from neuroroute.chain.auth import auth, may_ask
from neuroroute.chain.call import Call
from neuroroute.chain.dispatch import dispatch
from neuroroute.chain.flight import Flight, Lead, Telling
from neuroroute.chain.parse import parse
from neuroroute.chain.rate_limit import rate_limit
from neuroroute.chain.reserve import reserve
from neuroroute.chain.services import Services
from neuroroute.chain.settle import settle
from neuroroute.chain.tapes import Tape
from neuroroute.core.clock import monotonic_s
from neuroroute.core.errors import ClientGone, InternalError, NeuroRouteError, StreamCut
from neuroroute.core.tasks import spawn
from neuroroute.core.types import Reply


async def live(call: Call, sink: Sink, s: Services) -> None:
    """
    Serve one call and settle it, whatever happens.

    Raises CancelledError if the server cancels the handler (client gone, or shutdown); no other.
    """
    async with _Ending(call, sink, s) as ending:
        await auth(call, s)
        s.load.admit(call, s.metrics.running)
        may_ask(call)
        call.lap("auth")
        await parse(call, s)
        call.lap("parse")
        if call.outlives_client:
            ending.on_tape = ending.handed_over = True
        else:
            await _serve(call, sink, s, ending)
    if ending.on_tape:
        await play(_on_its_own(call, s), 0, sink)


async def _serve(call: Call, sink: Sink, s: Services, ending: "_Ending") -> None:
    """The rest of the life, from the limits to the last byte."""
    await rate_limit(call, s)
    call.lap("rate_limit")
    kept = await cache.find(call, s)
    call.lap("cache")
    if kept is not None:
        await replay(call, kept, sink, s)
    elif cache.may_share(call):
        await _share(call, sink, s, ending)
    else:
        await _fetch(call, sink, s, ending)


async def _fetch(call: Call, sink: Sink, s: Services, ending: "_Ending") -> None:
    """Nobody has the answer: a provider is asked."""
    if s.semantic.wants(call) and (kept := await s.semantic.find(call, s)) is not None:
        if call.flight is not None:
            call.flight.entry = kept
            call.flight.tell()
        await replay(call, kept, sink, s)
        return
    decide(call, s)
    await reserve(call, s)
    call.lap("reserve")
    async with dispatch(call, s) as answer:
        call.lap("model_generation")
        if isinstance(answer, Reply):
            await whole(call, answer, sink, s)
        else:
            ending.stream = answer
            await relay(call, answer, sink, s)


async def _share(call: Call, sink: Sink, s: Services, ending: "_Ending") -> None:
    """Join the call that asks the same at this moment, or be the one that others join."""
    assert call.cache_key is not None and call.catalog is not None
    while True:
        flight = s.flights.find(call.cache_key)
        if flight is None:
            flight = s.flights.open(call.cache_key)
            if not s.shared_flights.are_shared or await s.shared_flights.leads(call.cache_key, flight, call.catalog):
                call.flight = flight
                sink.stay(s.shared_flights.leave(call.cache_key, flight))
                await _fetch(call, Lead(flight, sink), s, ending)
                return
        if await _join(call, flight, sink, s, ending):
            return


async def _join(call: Call, flight: Flight, sink: Sink, s: Services, ending: "_Ending") -> bool:
    """
    What came so far at once, then the rest as it comes; it is paid for by who leads.

    False: the flight ended in what concerned its leader alone. Raises the error that the provider answered it with.
    """
    assert call.cache_key is not None
    began_s = monotonic_s()
    try:
        flight.passengers += 1
        while flight.entry is None and not flight.over and not (call.stream and flight.stream is not None):
            await flight.news()
        call.upstream_s += monotonic_s() - began_s
        if flight.is_void:
            return False
        call.cache_state, call.first_byte_s = "joined", monotonic_s()
        if call.stream and flight.stream is not None:
            ending.stream = flight.stream
            await follow(call, flight, flight.stream, sink, s)
        else:
            await replay(call, cache.joined(call, flight), sink, s)
        return True
    finally:
        flight.passengers -= 1
        s.flights.left(call.cache_key, flight)


def _on_its_own(call: Call, s: Services) -> Tape:
    """The call goes on in a task of its own; what it writes is on this tape."""
    assert call.principal is not None
    keep = call.steering.resumable or call.principal.on_disconnect == "detach"
    tape = s.tapes.open(call.request_id, call.principal.user_id, findable=keep)
    tape.running = spawn(_outlive(call, tape, s), name="stream that outlives its client")
    return tape


async def _outlive(call: Call, tape: Tape, s: Services) -> None:
    """A stream that goes on when its client's line is cut: it lives in a task of its own, and the client reads from its tape."""
    try:
        async with _Ending(call, tape, s) as ending:
            await _serve(call, tape, s, ending)
    finally:
        await tape.wake()


async def play(tape: Tape, after: int, sink: Sink) -> None:
    """What is on the tape after the first `after` events, then live, until its end."""
    try:
        await tape.began_or_done()
        if tape.body is not None:
            sink.whole(tape.status, tape.body, tape.headers)
            return
        await sink.start(tape.headers, tape.status)
        async for chunk in tape.follow(after):
            await sink.write(chunk)
        await sink.end()
    except StreamCut:
        sink.abort()
    except ClientGone:
        pass  # it may come back


class _Ending:
    """
    `async with` around a life, or the part of it before another task takes over: every way in which it can end, told to the client and booked.

    stream: the answer that has begun, which says in its own dialect that it broke. handed_over: another task lives on, and ends the call;
    on_tape: it is still to be started, and writes to a tape.
    """

    __slots__ = ("_call", "_s", "_sink", "handed_over", "on_tape", "stream")

    def __init__(self, call: Call, sink: Sink, s: Services) -> None:
        self._call, self._sink, self._s = call, sink, s
        self.handed_over = self.on_tape = False
        self.stream: Telling | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        call = self._call
        if self.handed_over:
            return False
        try:
            if isinstance(error, asyncio.CancelledError):
                call.error = ClientGone("the client left")
            elif isinstance(error, NeuroRouteError):
                call.error = error
            elif isinstance(error, Exception):  # a bug ends in an answer, a row and a log line
                call.error = InternalError.known_as(call.request_id)
                self._s.log.error("bug while serving %s", call.request_id, exc_info=error)
            if call.error is not None and not isinstance(call.error, ClientGone):
                await refuse(call, call.error, self._sink, self.stream)
        finally:
            settle(call, self._s)
            if call.flight is not None and call.cache_key is not None:
                self._s.flights.land(call.cache_key, call.flight, call.error)
        return isinstance(error, Exception)
