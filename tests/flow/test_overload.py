"""What a worker can not do in time it refuses at once, by priority; what runs goes on, and /health answers."""

import asyncio
from typing import Any

import pytest

from neuroroute.chain.overload import TICK_S, Load
from tests.support.gateway import Gateway, gateway, model, provider
from tests.support.upstream import Upstream, sse, stream

CHUNK: dict[str, Any] = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "up"}
FIRST = {**CHUNK, "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hi"}, "finish_reason": None}]}
LAST = {**CHUNK, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}


def lagging(load: Load, lag_s: float, seconds: float) -> None:
    for _ in range(int(seconds / TICK_S)):
        load.tick(lag_s)


def config(up: Upstream) -> dict[str, Any]:
    return {"providers": {"p": provider(up.base_url)}, "models": {"m": model("p", "up")}}


async def keys_of(gw: Gateway) -> dict[str, str]:
    made = {name: await gw.new_key(tags={"priority": name} if name else {}) for name in ("low", "", "high")}
    return {name: key["key"] for name, key in made.items()}


def test_one_long_pause_is_no_overload_and_a_lag_that_stays_is_one() -> None:
    load = Load(0.5, 0)
    load.tick(2.0)
    assert load.share == 0.0
    lagging(load, 0.0, 1.0)
    lagging(load, 0.6, 5.0)
    assert load.share > 0.6
    lagging(load, 0.0, 10.0)
    assert load.share == 0.0
    never = Load(0.0, 0)
    lagging(never, 9.0, 5.0)
    assert never.share == 0.0


@pytest.mark.parametrize(("share", "served"), [(1 / 6, (0.5, 1.0, 1.0)), (0.5, (0.0, 0.5, 1.0)), (5 / 6, (0.0, 0.0, 0.5))])
async def test_low_priority_goes_first_and_high_last(database_url: str, share: float, served: tuple[float, ...]) -> None:
    async with Upstream(lambda seen: sse(FIRST, LAST)) as up, gateway(database_url, config(up), rate_limit_max=0, overload_lag_ms=0) as gw:
        keys, found = await keys_of(gw), []
        gw.services.load.share = share
        for name in keys:
            statuses = []
            for number in range(20):
                async with gw.chat("m", key=keys[name], stream=True, seed=number + 100 * len(found)) as response:
                    statuses.append(response.status)
                    body = await response.text()
                    if response.status == 503:
                        assert '"overloaded"' in body and 1 <= int(response.headers["Retry-After"]) <= 5
            found.append(statuses.count(200) / 20)
            assert set(statuses) <= {200, 503}
        gw.services.load.share = 0.0
        assert found == pytest.approx(served, abs=0.051)
        await gw.rows(len(up.seen))  # what was shed has no row
        async with gw.get("/metrics", key="") as response:
            assert f"neuroroute_calls_shed_total {60 - len(up.seen)}.0" in await response.text()


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
        load = gw.services.load
        statuses: list[int] = []
        for number in range(60):
            time.sleep(0.12)
            async with gw.chat("m", stream=True, seed=number) as response:
                statuses.append(response.status)
                await response.read()
        assert 503 in statuses and load.lag_s > 0.0
        async with asyncio.timeout(30):
            while load.share:
                await asyncio.sleep(0.1)
        async with gw.chat("m", stream=True, seed=999) as response:
            assert response.status == 200
