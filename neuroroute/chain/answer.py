"""
How the answer leaves: whole, piece by piece, kept, joined, or as a refusal.

The books are closed before the last bytes go out, so that no client can hold an answer that is not on them.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

from neuroroute.caching.entry import Entry
from neuroroute.chain import cache, owned, replies, stored
from neuroroute.chain.call import Call
from neuroroute.chain.classify import classify
from neuroroute.chain.dispatch import Streaming
from neuroroute.chain.flight import Flight, Telling
from neuroroute.chain.plan import plan, plan_pass
from neuroroute.chain.services import Services
from neuroroute.chain.settle import settle
from neuroroute.core.errors import ClientGone, NeuroRouteError
from neuroroute.core.types import Dialect, Reply


class Sink(Protocol):
    """Where the answer goes. `whole` and `start` are called at most once, and not both."""

    def whole(self, status: int, body: bytes, headers: Mapping[str, str]) -> None: ...
    async def start(self, headers: Mapping[str, str], status: int = 200) -> None: ...
    async def write(self, chunk: bytes) -> None: ...
    async def end(self) -> None: ...
    def abort(self) -> None: ...
    def stay(self, left: Callable[[], None]) -> None:
        """From now on a client that leaves does not end the call: `left` is told instead."""
        ...


def decide(call: Call, s: Services) -> None:
    if call.dialect is Dialect.PASS:
        plan_pass(call, s)
        return
    classify(call, s)
    call.lap("classification")
    plan(call, s)
    call.lap("routing")


async def whole(call: Call, reply: Reply, sink: Sink, s: Services) -> None:
    """The books are closed before the answer leaves, so that no client can hold an unbilled one."""
    call.answer = reply.body
    settle(call, s)
    if call.dialect is Dialect.PASS:
        reply = await owned.answered(call, reply, s)
    elif owned.stores_chat(call):
        await owned.chat(call, reply.body, s)
    cache.keep(call, reply, s)
    await stored.keep(call, reply.body, s)
    sink.whole(reply.status, replies.with_explanation(call, reply, s), replies.whole_headers(call, reply))


async def relay(call: Call, stream: Streaming, sink: Sink, s: Services) -> None:
    """Every piece goes on as it comes; here too the books are closed before the last one leaves."""
    if call.dialect is Dialect.PASS:
        owned.refuse_long_list(call)
    elif owned.stores_chat(call):
        await owned.chat(call, stream.first, s)
    await sink.start(replies.stream_headers(call, stream.headers), stream.status)
    call.committed, call.answer = True, stream.text
    recording = cache.Recording(call, stream, s)
    explains, held = replies.explains(call), b""  # what waits for the explanation
    chunk = stream.first
    while not stream.done:
        recording.add(chunk)
        if held or (explains and replies.tells(call, chunk)):
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


async def replay(call: Call, kept: Entry, sink: Sink, s: Services) -> None:
    """An answer that is there already goes out: same ids, same usage; with today's decision where the call wants to see it."""
    if call.steering.explain:
        decide(call, s)
    settle(call, s)
    if not kept.stream:
        reply = Reply(kept.body, call.usage, kept.status, {"content-type": kept.content_type})
        sink.whole(reply.status, replies.with_explanation(call, reply, s), replies.whole_headers(call, reply))
        return
    await sink.start(replies.stream_headers(call))
    call.committed = True
    await sink.write(replies.last_chunk(call, kept.rest(usage=cache.wants_usage(call)), s))
    await sink.end()


async def refuse(call: Call, error: NeuroRouteError, sink: Sink, stream: Telling | None) -> None:
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


async def follow(call: Call, flight: Flight, stream: Telling, sink: Sink, s: Services) -> None:
    """A stream that another call leads. Its end is the call's own: the usage event and the decision only where they were asked for."""
    call.target = flight.target
    if call.steering.explain:
        decide(call, s)
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
