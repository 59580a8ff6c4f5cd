"""The queue before a provider with limits of its own: short waits are waited, long ones told at once."""

import asyncio
import time

from neuroroute.limits.places import Places
from neuroroute.limits.queue import WAIT_MAX_S, Full, Queue, Turn
from neuroroute.limits.rate import Check, Limiter, Unit


async def test_who_can_have_no_turn_in_time_is_told_at_once_and_when_it_will_be() -> None:
    queue = Queue(Limiter(), [Check("provider", "p", 2)], Places(0))
    assert [isinstance(await queue.enter("a", 0), Turn) for _ in range(2)] == [True, True]
    began_s = time.monotonic()
    told = await asyncio.gather(*[queue.enter(who, 0) for who in "abc"])
    assert time.monotonic() - began_s < 1.0, "the minute has begun: waiting for five seconds of it is of no use"
    assert all(isinstance(one, Full) and 50.0 < one.retry_after_s <= 60.0 for one in told) and len(queue) == 0


async def test_a_turn_that_comes_soon_is_waited_for() -> None:
    queue = Queue(Limiter(), [Check("provider", "p", 2, window_s=1.0)], Places(0))
    turns = [await queue.enter("a", 0) for _ in range(5)]
    assert all(isinstance(turn, Turn) for turn in turns)


async def test_tokens_that_a_call_did_not_use_are_waited_for() -> None:
    limiter = Limiter()
    queue = Queue(limiter, [Check("provider", "p", 1000, unit=Unit.TOKENS)], Places(0))
    first = await queue.enter("a", 900)
    waiting = asyncio.ensure_future(queue.enter("b", 900, WAIT_MAX_S))
    await asyncio.sleep(0.2)
    assert isinstance(first, Turn) and not waiting.done()
    first.end(10)
    assert isinstance(await waiting, Turn)
