"""How many calls at once a target bears is found out by how it takes them."""

import asyncio
import random

import pytest

from neuroroute.limits.queue import Turn
from neuroroute.limits.rate import Limiter
from neuroroute.limits.throttle import FLOOR, LIFT_S, Throttle


def running(throttle: Throttle, calls: int) -> None:
    throttle.places.running = calls


def test_there_is_no_bound_until_a_target_says_that_it_is_too_much() -> None:
    throttle = Throttle(Limiter())
    running(throttle, 1000)
    for _ in range(100):
        throttle.began(200.0, 1.0)
        throttle.answered(200.0, 50, 1.0)
    assert throttle.places.most == 0 and not throttle.is_full


def test_refusals_of_one_round_lower_it_once_and_never_below_the_floor() -> None:
    throttle = Throttle(Limiter())
    running(throttle, 100)
    for _ in range(20):
        throttle.refused(10.0, 9.0)
    assert throttle.places.most == 70
    running(throttle, 70)
    throttle.refused(11.5, 10.5)
    assert throttle.places.most == 49
    for second in range(12, 40):
        running(throttle, throttle.places.most + 1)
        throttle.refused(second + 1.0, second + 1.0)
    assert throttle.places.most == FLOOR


def test_good_answers_raise_it_by_one_a_round_and_time_lifts_it() -> None:
    throttle = Throttle(Limiter())
    running(throttle, 20)
    throttle.refused(1.0, 0.5)
    assert throttle.places.most == 14
    running(throttle, 14)
    for _ in range(15):
        throttle.answered(200.0, 50, 2.0)
    assert throttle.places.most == 15
    running(throttle, 3)
    for _ in range(100):
        throttle.answered(200.0, 50, 2.0)
    assert throttle.places.most == 15, "what is not in use tells nothing"
    throttle.answered(200.0, 50, 1.0 + LIFT_S + 1)
    assert throttle.places.most == 0


def test_answers_that_begin_much_later_lower_it_and_few_calls_at_once_do_not() -> None:
    for calls, bound in ((40, True), (4, False)):
        throttle = Throttle(Limiter())
        running(throttle, calls)
        for _ in range(200):
            throttle.began(100.0, 1.0)
        for _ in range(30):
            throttle.began(900.0, 5.0)
        assert bool(throttle.places.most) is bound


def whole(throttle: Throttle, rng: random.Random, *, times: float = 1.0, tokens: tuple[int, int] = (5, 800)) -> None:
    """One whole answer of a target that takes 300 ms and 12 ms a token, a third more or less, `times` as long."""
    length = rng.randint(*tokens)
    throttle.answered((300.0 + 12.0 * length) * rng.uniform(0.67, 1.33) * times, length, 5.0)


@pytest.mark.parametrize(("calls", "times", "bound"), [(40, 4.0, True), (4, 4.0, False), (40, 1.5, False)])
def test_whole_answers_that_take_much_longer_for_their_tokens_lower_it(calls: int, times: float, bound: bool) -> None:
    throttle, rng = Throttle(Limiter()), random.Random(3)
    running(throttle, calls)
    for _ in range(300):
        whole(throttle, rng)
    assert not throttle.places.most
    for _ in range(30):
        whole(throttle, rng, times=times)
    assert bool(throttle.places.most) is bound


@pytest.mark.parametrize("known", [(5, 60), (10, 10)])
def test_longer_answers_are_no_slower_ones_and_what_nobody_counted_tells_nothing(known: tuple[int, int]) -> None:
    throttle, rng = Throttle(Limiter()), random.Random(4)
    running(throttle, 40)
    for _ in range(300):
        whole(throttle, rng, tokens=known)
    for tokens in ((600, 800), (5, 10), (1500, 2000)):
        for _ in range(60):
            whole(throttle, rng, tokens=tokens)
        assert not throttle.places.most, tokens
    for _ in range(50):
        throttle.answered(60_000.0, 0, 5.0)
    throttle.answered(600_000.0, 50, 5.0)  # one that hung
    assert not throttle.places.most


@pytest.mark.parametrize("bears", [10, 20])
async def test_it_settles_where_the_target_stands(bears: int) -> None:
    """A target refuses all beyond so many at once; 40 callers ask it for ever. Most of what they do succeeds, and refusals get rare."""
    throttle, now_s = Throttle(Limiter()), [0.0]
    at_work, good, bad = [0], [0], [0]

    async def caller(name: str) -> None:
        while now_s[0] < 60.0:
            turn = await throttle.queue.enter(name, 0, 1000.0)
            assert isinstance(turn, Turn)
            at_work[0] += 1
            began_s = now_s[0]
            refused = at_work[0] > bears
            await asyncio.sleep(0)
            for _ in range(3):
                await asyncio.sleep(0)
            at_work[0] -= 1
            if now_s[0] > 30.0:
                bad[0] += refused
                good[0] += not refused
            throttle.refused(now_s[0], began_s) if refused else throttle.answered(200.0, 50, now_s[0])
            turn.end(0)

    async def clock() -> None:
        while now_s[0] < 60.0:
            now_s[0] += 0.01
            for _ in range(2):
                await asyncio.sleep(0)

    await asyncio.wait_for(asyncio.gather(clock(), *(caller(str(n)) for n in range(40))), 60)
    assert good[0] > 500 and bad[0] < 0.25 * good[0]


async def test_who_waits_gets_the_place_of_a_call_that_began_before_the_bound() -> None:
    throttle = Throttle(Limiter())
    running(throttle, 6)
    throttle.refused(1.0, 0.5)
    assert throttle.is_full and throttle.places.most == 4
    waiting = asyncio.ensure_future(throttle.queue.enter("somebody", 0, 5.0))
    await asyncio.sleep(0)
    for _ in range(3):
        assert not waiting.done()
        throttle.leave()
        await asyncio.sleep(0.01)
    assert isinstance(await asyncio.wait_for(waiting, 1), Turn) and throttle.places.running == 4
