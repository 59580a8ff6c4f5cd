"""
The life of one call, top to bottom.

    auth -> parse -> rate_limit -> (cache hit? answer) -> (asked already? join) -> classify -> plan -> reserve -> dispatch -> sink -> settle

Each stage is one function in one module of this package. It writes to `call`, or raises a `NeuroRouteError`. Nothing here knows HTTP
servers: bytes come from a `Source` and leave through a `Sink`. `auth` stands first, because it needs headers alone: who has no key
makes us read and parse nothing.

Two rules hold the rest together. *Commit*: once the first byte of an answer is with the client there is no retry and no fallback; a
failure is told inside the stream. *Settle* runs once on every path and is a plain `def`: no cancellation can skip it.
"""

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Protocol, Self

from neuroroute.caching.responses import Entry
from neuroroute.chain import cache, replies, stored
from neuroroute.chain.auth import auth
from neuroroute.chain.call import Call
from neuroroute.chain.classify import classify
from neuroroute.chain.dispatch import Streaming, dispatch
from neuroroute.chain.flight import Flight, Lead, Telling
from neuroroute.chain.parse import parse
from neuroroute.chain.plan import plan, plan_pass
from neuroroute.chain.rate_limit import rate_limit
from neuroroute.chain.reserve import reserve
from neuroroute.chain.services import Services
from neuroroute.chain.settle import settle
from neuroroute.chain.tapes import Tape
from neuroroute.core.clock import monotonic_s
from neuroroute.core.errors import ClientGone, InternalError, NeuroRouteError, StreamCut
from neuroroute.core.tasks import spawn
from neuroroute.core.types import Dialect, Reply


class Sink(Protocol):
    """Where the answer goes. `whole` and `start` are called at most once, and not both."""

    def whole(self, status: int, body: bytes, headers: Mapping[str, str]) -> None: ...
    async def start(self, headers: Mapping[str, str], status: int = 200) -> None: ...
    async def write(self, chunk: bytes) -> None: ...
    async def end(self) -> None: ...
    def abort(self) -> None: ...


async def live(call: Call, sink: Sink, s: Services) -> None:
    """
    Serve one call and settle it, whatever happens.

    Raises CancelledError if the server cancels the handler (client gone, or shutdown); no other.
    """
    async with _Ending(call, sink, s) as ending:
        await auth(call, s)
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
        await _replay(call, kept, sink, s)
    elif cache.may_share(call):
        await _share(call, sink, s, ending)
    else:
        await _fetch(call, sink, s, ending)


async def _fetch(call: Call, sink: Sink, s: Services, ending: "_Ending") -> None:
    """Nobody has the answer: a provider is asked."""
    _decide(call, s)
    await reserve(call, s)
    async with dispatch(call, s) as answer:
        call.lap("model_generation")
        if isinstance(answer, Reply):
            await _whole(call, answer, sink, s)
        else:
            ending.stream = answer
            await _relay(call, answer, sink, s)


async def _share(call: Call, sink: Sink, s: Services, ending: "_Ending") -> None:
    """Join the call that asks the same at this moment, or be the one that others join."""
    assert call.cache_key is not None and call.catalog is not None
    while True:
        flight = s.flights.find(call.cache_key)
        if flight is None:
            flight = s.flights.open(call.cache_key)
            if await s.shared_flights.leads(call.cache_key, flight, call.catalog):
                ending.handed_over = True
                await _lead(call, flight, sink, s)
                return
        if await _join(call, flight, sink, s, ending):
            return


async def _lead(call: Call, flight: Flight, sink: Sink, s: Services) -> None:
    """Others may join this call, so it lives in a task of its own: when its client leaves it goes on for them."""
    assert call.cache_key is not None
    call.flight = flight
    task = flight.task = spawn(_fly(call, flight, sink, s), name="call that others may join")
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        flight.leader_left = True
        await s.shared_flights.hold(call.cache_key, flight)
        if s.flights.left(call.cache_key, flight):
            await asyncio.wait([task])  # until it is on the books
        raise


async def _fly(call: Call, flight: Flight, sink: Sink, s: Services) -> None:
    assert call.cache_key is not None
    try:
        lead = Lead(flight, sink)
        async with _Ending(call, lead, s) as ending:
            await _fetch(call, lead, s, ending)
    finally:
        s.flights.land(call.cache_key, flight, call.error)


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
            await _follow(call, flight, flight.stream, sink, s)
        else:
            await _replay(call, cache.joined(call, flight), sink, s)
        return True
    finally:
        flight.passengers -= 1
        s.flights.left(call.cache_key, flight)


async def _follow(call: Call, flight: Flight, stream: Telling, sink: Sink, s: Services) -> None:
    """A stream that another call leads. Its end is the call's own: the usage event and the decision only where they were asked for."""
    call.target = flight.target
    if call.steering.explain:
        _decide(call, s)
    await sink.start(replies.stream_headers(call, stream.headers), stream.status)
    call.committed = True
    seen = sent_bytes = 0
    while seen < len(flight.pieces) or not (flight.entry or flight.over):
        if seen == len(flight.pieces):
            await flight.news()
            continue
        chunk = b"".join(flight.pieces[seen:])
        seen = len(flight.pieces)
        sent_bytes += len(chunk)
        await sink.write(chunk)
    entry = cache.joined(call, flight)
    settle(call, s)
    if rest := replies.last_chunk(call, entry.rest(sent_bytes, usage=cache.wants_usage(call)), s):
        await sink.write(rest)
    await sink.end()


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
                call.error = InternalError(f"Something went wrong here; it is on record as {call.request_id}.")
                self._s.log.error("bug while serving %s", call.request_id, exc_info=error)
            if call.error is not None and not isinstance(call.error, ClientGone):
                await _refuse(call, call.error, self._sink, self.stream)
        finally:
            settle(call, self._s)
        return isinstance(error, Exception)


def _decide(call: Call, s: Services) -> None:
    if call.dialect is Dialect.PASS:
        plan_pass(call, s)
        return
    classify(call, s)
    call.lap("classification")
    plan(call, s)
    call.lap("routing")


async def _whole(call: Call, reply: Reply, sink: Sink, s: Services) -> None:
    """The books are closed before the answer leaves, so that no client can hold an unbilled one."""
    call.answer = reply.body
    settle(call, s)
    cache.keep(call, reply, s)
    await stored.keep(call, reply.body, s)
    sink.whole(reply.status, replies.with_explanation(call, reply, s), replies.whole_headers(call, reply))


async def _relay(call: Call, stream: Streaming, sink: Sink, s: Services) -> None:
    """Every piece goes on as it comes; here too the books are closed before the last one leaves."""
    await sink.start(replies.stream_headers(call, stream.headers), stream.status)
    call.committed, call.answer = True, stream.text
    recording = cache.Recording(call, stream, s)
    held = b""  # what waits for the explanation
    chunk = stream.first
    while not stream.done:
        recording.add(chunk)
        if held or (b'"usage":{' in chunk and replies.explains(call)):
            held += chunk
        else:
            await sink.write(chunk)
        chunk = await stream.next()
    settle(call, s)
    recording.keep(chunk)
    await stored.keep(call, stream.answer or stream.first, s)
    if rest := replies.last_chunk(call, held + chunk, s):
        await sink.write(rest)
    await sink.end()


async def _replay(call: Call, kept: Entry, sink: Sink, s: Services) -> None:
    """An answer that is there already goes out: same ids, same usage; with today's decision where the call wants to see it."""
    if call.steering.explain:
        _decide(call, s)
    settle(call, s)
    if not kept.stream:
        reply = Reply(kept.body, call.usage, kept.status, {"content-type": kept.content_type})
        sink.whole(reply.status, replies.with_explanation(call, reply, s), replies.whole_headers(call, reply))
        return
    await sink.start(replies.stream_headers(call))
    call.committed = True
    await sink.write(replies.last_chunk(call, kept.rest(usage=cache.wants_usage(call)), s))
    await sink.end()


async def _refuse(call: Call, error: NeuroRouteError, sink: Sink, stream: Telling | None) -> None:
    if not call.committed:
        sink.whole(error.status, replies.error_body(call, error), replies.error_headers(call, error))
    elif stream is not None:
        try:
            if event := stream.failure(error):
                await sink.write(event)
                await sink.end()
            else:
                sink.abort()  # a clean end would pass for a whole answer
        except ClientGone:
            pass  # the failure is on record already; there is no one left to tell
