"""What a worker can not do in time it refuses at once, by priority; what runs goes on, and /health answers."""

import asyncio
import json
from typing import Any

import pytest

from neuroroute.chain.overload import CALM, FLOOR, STANDING_S, TICK_S, Load
from tests.flow.test_repeats import request
from tests.support.gateway import Gateway, gateway, model, provider
from tests.support.http import line
from tests.support.upstream import Upstream, dumps, sse, stream

CHUNK: dict[str, Any] = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "up"}
FIRST = {**CHUNK, "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hi"}, "finish_reason": None}]}
LAST = {**CHUNK, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}


def lagging(load: Load, lag_s: float, seconds: float, at_s: float = 0.0) -> float:
    """So long every tick comes so late. Gives the time after it."""
    end_s = at_s + seconds
    while at_s < end_s:
        at_s += TICK_S + lag_s
        load.tick(lag_s, at_s)
    return at_s


def config(up: Upstream) -> dict[str, Any]:
    return {"providers": {"p": provider(up.base_url)}, "models": {"m": model("p", "up")}}


async def keys_of(gw: Gateway) -> dict[str, str]:
    made = {name: await gw.new_key(tags={"priority": name} if name else {}) for name in ("low", "", "high")}
    return {name: key["key"] for name, key in made.items()}


def test_a_pause_and_a_burst_are_no_overload_and_a_lag_that_stays_is_one() -> None:
    load = Load(0.05, 0)
    load.running = 400
    load.tick(STANDING_S + 1.0, 4.0)
    at_s = lagging(load, 0.0, 3.0, 4.0)
    for _ in range(20):  # late most of the time, but never for long
        at_s = lagging(load, 0.3, STANDING_S / 2, at_s)
        at_s = lagging(load, 0.0, 0.1, at_s)
    assert load.bound == 0.0
    at_s = lagging(load, 0.1, STANDING_S + 0.3, at_s)
    assert load.bound == 200.0
    at_s = lagging(load, 0.1, 3.0, at_s)
    assert load.bound == FLOOR, "something is always served"
    at_s = lagging(load, 0.0, 2.0, at_s)
    assert FLOOR < load.bound < 3 * FLOOR
    lagging(load, 0.0, 20.0, at_s)
    assert load.bound == 0.0
    never = Load(0.0, 0)
    never.running = 400
    lagging(never, 9.0, 60.0)
    assert never.bound == 0.0


def test_once_it_sheds_it_does_so_until_the_lag_is_a_part_of_what_began_it() -> None:
    load = Load(0.1, 0)
    load.running, between_s = 400, 0.1 * (1 + CALM) / 2
    at_s = lagging(load, between_s, 60.0)
    assert load.bound == 0.0
    at_s = lagging(load, 0.11, STANDING_S + 0.3, at_s)
    assert load.bound == 200.0
    at_s = lagging(load, between_s, 3.0, at_s)
    assert load.bound == FLOOR
    lagging(load, 0.1 * CALM / 2, 1.0, at_s)
    assert load.bound > FLOOR


def test_few_calls_are_not_what_makes_a_loop_late() -> None:
    load = Load(0.05, 0)
    load.running = FLOOR
    lagging(load, 0.5, 30.0)
    assert load.bound == 0.0


async def test_low_priority_goes_first_and_high_last(database_url: str) -> None:
    async with Upstream() as up, gateway(database_url, config(up), rate_limit_max=0, overload_lag_ms=0) as gw:
        keys, running = await keys_of(gw), []
        first, *rest = sse(FIRST, LAST).pieces
        up.auto = lambda seen: stream(first, 1.5, *rest)
        gw.services.load.bound = 4.0

        async def ask(key: str, number: int) -> tuple[int, str]:
            async with gw.chat("m", key=keys[key], stream=True, seed=number) as response:
                if response.status == 503:
                    assert 1 <= int(response.headers["Retry-After"]) <= 5
                return response.status, await response.text()

        for key, may_run in (("low", 2), ("", 4), ("high", 6)):
            while len(running) < may_run:
                running.append(asyncio.ensure_future(ask(key, len(running))))
                await up.arrived(len(running))
            status, body = await ask(key, 100 + may_run)
            assert status == 503 and '"overloaded"' in body
        answers = await asyncio.gather(*running)
        assert all(status == 200 and text.endswith("data: [DONE]\n\n") for status, text in answers)
        gw.services.load.bound = 0.0
        await gw.rows(6)  # what was shed has no row
        async with gw.get("/metrics", key="") as response:
            assert "neuroroute_calls_shed_total 3.0" in await response.text()


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
async def test_a_refusal_is_the_same_whichever_way_the_request_goes(database_url: str, path: str) -> None:
    body = dumps({"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]})
    async with Upstream() as up, gateway(database_url, config(up), rate_limit_max=0, overload_lag_ms=0) as gw:
        gw.services.load.bound = 0.5
        told = []
        for more in ((), ("Connection: close",)):  # the second is not plain
            async with line(gw) as to:
                status, headers, text = await to.ask(request(body, *more).replace(b"/v1/chat/completions", path.encode()))
            assert status == 503 and headers["x-request-id"].startswith("req_")
            told.append((sorted(set(headers) - {"connection"}), json.loads(text)["error"]))
        assert told[0] == told[1] and "retry-after" in told[0][0]
        assert gw.services.load.shed == 2 and not up.seen


async def test_beyond_so_many_calls_none_is_begun_and_those_that_run_end_well(database_url: str) -> None:
    async with Upstream() as up, gateway(database_url, config(up), max_running_calls=4, rate_limit_max=0, overload_lag_ms=0) as gw:
        keys = await keys_of(gw)
        first, *rest = sse(FIRST, LAST).pieces
        up.auto = lambda seen: stream(first, 1.5, *rest)

        async def read(number: int, key: str = "") -> tuple[int, str]:
            async with gw.chat("m", key=keys[key], stream=True, seed=number) as response:
                return response.status, await response.text()

        running = [asyncio.ensure_future(read(n)) for n in range(4)]
        await up.arrived(4)
        assert [(await read(9, key))[0] for key in ("", "low")] == [503, 503]
        high = asyncio.ensure_future(read(10, "high"))
        async with gw.get("/health", key="") as response:
            assert response.status == 200
        answers = await asyncio.gather(*running, high)
        assert all(status == 200 and text.endswith("data: [DONE]\n\n") for status, text in answers)
        assert (await read(11))[0] == 200


async def test_a_loop_that_lags_sheds_and_recovers_alone(database_url: str) -> None:
    import time

    async with Upstream(lambda seen: sse(FIRST, LAST)) as up, gateway(database_url, config(up), rate_limit_max=0, overload_lag_ms=60) as gw:
        load, statuses = gw.services.load, list[int]()

        async def client(at: int) -> None:
            for number in range(1000):
                async with gw.chat("m", stream=True, seed=at * 1000 + number) as response:
                    statuses.append(response.status)
                    await response.read()
                if 503 in statuses:
                    return

        clients = [asyncio.ensure_future(client(at)) for at in range(3 * FLOOR)]
        async with asyncio.timeout(60):
            while not all(one.done() for one in clients):
                time.sleep(0.12)  # what else runs in this process
                await asyncio.sleep(0)
        assert {200, 503} == set(statuses)
        async with asyncio.timeout(30):
            while load.bound:
                await asyncio.sleep(0.1)
        async with gw.chat("m", stream=True, seed=999_999) as response:
            assert response.status == 200
