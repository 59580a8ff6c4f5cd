"""The journal, the limits of the configuration and the queue before a provider, in the life of real calls."""

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from neuroroute.app import JOURNAL
from tests.support import fakes
from tests.support.gateway import Gateway, gateway, model, provider
from tests.support.upstream import Seen, Step, Upstream, error, whole


def one(up: Upstream, **more: Any) -> dict[str, Any]:
    return {"providers": {"p": provider(up.base_url)}, "models": {"m": model("p", "gpt-4o")}, **more}


def slow(seen: Seen) -> Step:
    return replace(fakes.openai(seen), delay_s=0.05)


async def status(gw: Gateway, n: int, **fields: Any) -> int:
    async with gw.chat(seed=n, **fields) as response:
        await response.read()
        return int(response.status)


async def test_a_call_is_in_the_journal_while_its_provider_is_asked_and_gone_when_it_is_booked(database_url: str, tmp_path: Path) -> None:
    async with Upstream() as up, gateway(database_url, one(up), data_dir=tmp_path) as gw:
        up.will(whole({"choices": []}, delay_s=0.3))
        asking = asyncio.create_task(status(gw, 1))
        await up.arrived(1)
        data = b"".join([segment.read_bytes() for segment in (tmp_path / "journal").glob("*.seg")])
        assert b'"tokens_source":"estimated"' in data and b'"requested_model":"m"' in data
        await asking
        await gw.rows(1)
        assert all(segment.refs == 0 for segment in gw.app[JOURNAL]._segments)
    assert list((tmp_path / "journal").glob("*.seg")) == []


async def test_without_space_for_the_journal_calls_are_refused_and_nobody_is_asked(database_url: str) -> None:
    async with Upstream(fakes.openai) as up, gateway(database_url, one(up)) as gw:
        journal = gw.app[JOURNAL]
        journal._max_bytes = 0
        while True:  # fill what there is
            try:
                journal.append_open(bytes(1 << 19))
            except Exception:
                break
        async with gw.chat(seed=1) as response:
            assert response.status == 503 and "retry-after" in response.headers, await response.text()
        assert up.seen == []
        async with gw.get("/health/ready", key="") as response:
            assert (response.status, await response.json()) == (503, {"status": "no_space"}), "who balances load asks another one"
        async with gw.get("/health", key="") as response:
            told = await response.json()
            assert (response.status, told["status"], told["checks"]["journal"]) == (200, "degraded", "no_space")
        journal._max_bytes = 1 << 30
        await journal.tend()
        async with gw.get("/health/ready", key="") as response:
            assert response.status == 200


async def test_limits_of_the_gateway_as_a_whole_come_from_the_configuration(database_url: str) -> None:
    async with Upstream(fakes.openai) as up, gateway(database_url, one(up, limits={"requests_per_minute": 5})) as gw:
        other = await gw.new_key()
        found = [await status(gw, n, key=other["key"] if n % 2 else None) for n in range(8)]
        assert found == [200] * 5 + [429] * 3
        async with gw.chat(seed=9) as response:
            assert "5 requests per 60 s for the whole gateway" in (await response.json())["error"]["message"]


async def test_a_guess_of_the_answers_length_shuts_no_key_out(database_url: str) -> None:
    async with Upstream(fakes.openai) as up, gateway(database_url, one(up)) as gw:
        key = (await gw.new_key(limits={"tokens_per_minute": 300}))["key"]
        async with gw.chat(key=key, seed=1) as response:
            assert response.status == 200, "nobody said that the answer would be long, and it was not"
        async with gw.chat(key=key, seed=2, max_tokens=400) as response:
            assert response.status == 429 and (await response.json())["error"]["code"] == "request_too_large_for_limit"


async def test_calls_wait_for_a_providers_own_limit_instead_of_failing(database_url: str) -> None:
    async with Upstream(slow) as up:
        config = one(up)
        config["providers"]["p"]["limits"] = {"concurrency": 2}
        async with gateway(database_url, config) as gw:
            most, began_s = 0, time.monotonic()
            asking = [asyncio.create_task(status(gw, n)) for n in range(12)]
            while not all(task.done() for task in asking):
                most = max(most, up.open_now)
                await asyncio.sleep(0.005)
            assert [await task for task in asking] == [200] * 12
            assert most == 2 and time.monotonic() - began_s > 0.25


async def test_one_busy_key_does_not_keep_others_from_a_provider(database_url: str) -> None:
    async with Upstream(slow) as up:
        config = one(up)
        config["providers"]["p"]["limits"] = {"concurrency": 1}
        async with gateway(database_url, config) as gw:
            other = await gw.new_key()
            busy = [asyncio.create_task(status(gw, n)) for n in range(20)]
            await up.arrived(2)
            began_s = time.monotonic()
            assert await status(gw, 99, key=other["key"]) == 200
            assert time.monotonic() - began_s < 0.5, "it waits for one call or two, not for twenty"
            assert await asyncio.gather(*busy) == [200] * 20


async def test_failures_give_their_turn_back(database_url: str) -> None:
    async with Upstream(lambda seen: error(500)) as up:
        config = one(up)
        config["providers"]["p"]["limits"] = {"concurrency": 1}
        async with gateway(database_url, config, breaker_failures=3, breaker_open_s=0.3) as gw:
            found = await asyncio.gather(*(status(gw, n) for n in range(12)))
            assert set(found) == {500, 503}, "those that wait when its breaker opens give their turn back too"
            up.auto = fakes.openai
            await asyncio.sleep(0.4)
            assert await status(gw, 99) == 200


async def test_calls_at_once_are_counted_over_replicas(database_url: str, redis_url: str) -> None:
    """A key's cap of 3 and a provider's of 2 are one number each for both gateways, not one for each of them."""
    async with Upstream(fakes.openai) as up:
        config = {
            "providers": {"p": provider(up.base_url), "q": provider(up.base_url, limits={"concurrency": 2})},
            "models": {"m": model("p", "gpt-4o"), "n": model("q", "gpt-4o")},
        }
        most = [0]

        up.auto = lambda seen: replace(fakes.openai(seen), delay_s=0.6)
        options = {"redis_url": redis_url, "rate_limit_max": 0}
        async with gateway(database_url, config, **options) as first, gateway(database_url, config, **options) as second:
            key = await first.new_key(limits={"concurrency": 3})
            await asyncio.sleep(0.3)

            async def ask(number: int, name: str, with_key: str) -> int:
                async with (first, second)[number % 2].chat(name, seed=number, key=with_key) as response:
                    await response.read()
                    return response.status

            for attempt in range(3):  # on a busy machine Redis may be late: then each has its part, which is another promise
                statuses = await asyncio.gather(*(ask(number + 20 * attempt, "m", key["key"]) for number in range(12)))
                if sorted(statuses) == [200] * 3 + [429] * 9:
                    break
                await asyncio.sleep(1.0)
            assert sorted(statuses) == [200] * 3 + [429] * 9
            until_s: list[float] = []

            def counted(seen: Seen) -> Step:
                now_s = asyncio.get_running_loop().time()
                until_s[:] = [at_s for at_s in until_s if at_s > now_s]
                until_s.append(now_s + 0.25)
                most[0] = max(most[0], len(until_s))
                return replace(fakes.openai(seen), delay_s=0.3)

            up.auto = counted
            assert await asyncio.gather(*(ask(100 + number, "n", first.key) for number in range(8))) == [200] * 8
            assert most[0] == 2, "those who wait had their turn"
