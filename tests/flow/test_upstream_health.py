"""A provider that bears only so much, one that got worse than its peers, and a second attempt beside a slow first one."""

import asyncio
from typing import Any

import pytest

from neuroroute.core.clock import monotonic_s
from tests.support import fakes
from tests.support.gateway import Gateway, gateway, model, provider
from tests.support.upstream import STALL, Seen, Step, Upstream, error, sse, stream, whole

USAGE = {"prompt_tokens": 1_000, "completion_tokens": 10, "total_tokens": 1_010}
CHUNK: dict[str, Any] = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "up"}
STREAM = sse(
    {**CHUNK, "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hi"}, "finish_reason": None}]},
    {**CHUNK, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    {**CHUNK, "choices": [], "usage": USAGE},
)


def good(delay_s: float = 0.0) -> Step:
    choice = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
    return whole(
        {"id": "x", "object": "chat.completion", "model": "up", "created": 5, "choices": [choice], "usage": USAGE}, delay_s=delay_s
    )


async def ask(gw: Gateway, number: int, name: str = "m", **fields: Any) -> int:
    async with gw.chat(name, seed=number, **fields) as response:
        await response.read()
        return response.status


async def test_a_provider_that_refuses_beyond_so_many_at_once_is_asked_for_no_more(database_url: str) -> None:
    """It bears 10 at once; 60 callers want it. At first it refuses, then the gateway holds back what it can not bear, and hardly anybody is refused."""
    until_s: list[float] = []
    refused = [0]

    async with Upstream() as up:

        def crowded(seen: Seen) -> Step:
            until_s[:] = [at_s for at_s in until_s if at_s > monotonic_s()]
            if len(until_s) >= 10:
                refused[0] += 1
                return error(429)
            until_s.append(monotonic_s() + 0.1)
            return good(delay_s=0.1)

        up.auto = crowded
        config = {"providers": {"p": provider(up.base_url)}, "models": {"m": model("p", "up")}}
        async with gateway(database_url, config, rate_limit_max=0, breaker_failures=1000) as gw:
            await asyncio.gather(*(ask(gw, n) for n in range(60)))
            assert refused[0] > 10
            async with gw.get("/health", key="") as response:
                bounds = (await response.json())["target_bounds"]
            assert 4 <= bounds["p/m"] < 45
            statuses: list[int] = []
            for round_ in range(1, 9):
                if round_ == 6:
                    refused[0], statuses = 0, []
                statuses += await asyncio.gather(*(ask(gw, 1000 * round_ + n) for n in range(40)))
            # without a bound it would answer 10 of each 40
            assert statuses.count(200) > 0.75 * len(statuses) and refused[0] < 0.5 * len(statuses), (refused, statuses)
            async with gw.get("/metrics", key="") as response:
                text = await response.text()
            assert 'neuroroute_target_bound{target="p/m"}' in text and 'neuroroute_target_running{target="p/m"} 0.0' in text


async def test_a_target_that_got_worse_than_its_peer_is_asked_last(database_url: str) -> None:
    async with Upstream() as a, Upstream() as b:
        config = {
            "providers": {"a": provider(a.base_url), "b": provider(b.base_url)},
            "models": {"ma": model("a", "up"), "mb": model("b", "up")},
            "aliases": {"chain": ["ma", "mb"]},
        }
        async with gateway(database_url, config, rate_limit_max=0, breaker_failures=1000, retry_budget=1.0) as gw:
            turn = [0]

            def every_third(seen: Seen) -> Step:
                turn[0] += 1
                return error(500) if turn[0] % 3 == 0 else good()

            a.auto, b.auto = every_third, lambda seen: good()
            for number in range(45):
                assert await ask(gw, number, "chain") == 200
            gw.services.health.eject(monotonic_s())
            asked = len(a.seen)
            for number in range(100, 110):
                assert await ask(gw, number, "chain") == 200
            assert len(a.seen) == asked, "it is behind the other now"
            assert await ask(gw, 200, "ma") == 200, "and serves whoever asks for it alone"
            async with gw.get("/metrics", key="") as response:
                assert 'neuroroute_target_ejected{target="a/ma"} 1.0' in await response.text()


def hedging(a: Upstream, b: Upstream, **more: Any) -> dict[str, Any]:
    return {
        "providers": {"a": provider(a.base_url), "b": provider(b.base_url)},
        "models": {"ma": model("a", "up"), "mb": model("b", "up", price={"input": 3.0, "output": 6.0})},
        "aliases": {"chain": ["ma", "mb"]},
        "routing": {"hedging": {"enabled": True, "spend_share": 1.0, "min_wait_ms": 50, **more}},
    }


async def warmed(gw: Gateway, a: Upstream, *, is_stream: bool) -> int:
    """So many answers that their usual time is known; how many."""
    a.auto = lambda seen: STREAM if is_stream else good()
    for number in range(25):
        assert await ask(gw, number, "chain", stream=is_stream) == 200
    return 25


@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_second_attempt_answers_where_the_first_is_slow_and_both_are_booked(database_url: str, is_stream: bool) -> None:
    async with Upstream() as a, Upstream() as b, gateway(database_url, hedging(a, b), rate_limit_max=0) as gw:
        rows = await warmed(gw, a, is_stream=is_stream)
        key = await gw.new_key(budget={"usd": 5, "period": "day"})
        a.will(stream(STALL) if is_stream else good(delay_s=20.0))
        b.will(STREAM if is_stream else good())
        began_s = monotonic_s()
        async with gw.chat("chain", seed=99, key=key["key"], stream=is_stream) as response:
            text = await response.text()
            assert response.status == 200 and ("Hi" in text or "hi" in text)
            assert (response.headers["x-neuroroute-provider"], response.headers["x-neuroroute-attempts"]) == (("b", "2"))
            request_id = response.headers["x-request-id"]
        assert monotonic_s() - began_s < 5.0
        await asyncio.wait_for(a.seen[-1].gone.wait(), 2)
        found = {row.request_id: row for row in await gw.rows(rows + 2)}
        own = found[request_id]
        [lost] = [row for row in found.values() if row.tags.get("hedge") == request_id]
        assert (own.provider, own.status, own.attempts, own.cost_nanousd) == ("b", "ok", 2, 1_000 * 3_000 + 10 * 6_000)
        assert (lost.provider, lost.status, lost.tokens_source, lost.key_id) == ("a", "client_gone", "estimated", key["id"])
        assert lost.cost_nanousd == lost.prompt_tokens * 1_000 > 0 and lost.baseline_cost_nanousd == lost.cost_nanousd
        async with gw.get(f"/admin/api-keys/{key['id']}") as response:
            shown = await response.json()
        assert shown["spent_usd"] == pytest.approx((own.cost_nanousd + lost.cost_nanousd) / 1e9)
        assert sum(account.reserved for account in gw.services.budgets._accounts.values()) == 0
        async with gw.get("/metrics", key="") as response:
            assert 'neuroroute_hedges_total{taken="second"} 1.0' in await response.text()


async def test_the_first_attempt_is_taken_if_it_begins_first_and_the_second_is_cancelled(database_url: str) -> None:
    async with Upstream() as a, Upstream() as b, gateway(database_url, hedging(a, b), rate_limit_max=0) as gw:
        rows = await warmed(gw, a, is_stream=False)
        a.will(good(delay_s=1.0))
        b.will(good(delay_s=20.0))
        async with gw.chat("chain", seed=99) as response:
            assert (response.status, response.headers["x-neuroroute-provider"], response.headers["x-neuroroute-attempts"]) == (
                200,
                "a",
                "2",
            )
        await asyncio.wait_for(b.seen[-1].gone.wait(), 2)
        [lost] = [row for row in await gw.rows(rows + 2) if "hedge" in row.tags]
        assert (lost.provider, lost.status) == ("b", "client_gone")


async def test_a_client_that_leaves_ends_both_attempts(database_url: str) -> None:
    async with Upstream() as a, Upstream() as b, gateway(database_url, hedging(a, b), rate_limit_max=0) as gw:
        rows = await warmed(gw, a, is_stream=False)
        a.will(good(delay_s=20.0))
        b.will(good(delay_s=20.0))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5):
                await ask(gw, 99, "chain")
        await asyncio.wait_for(a.seen[-1].gone.wait(), 2)
        await asyncio.wait_for(b.seen[-1].gone.wait(), 2)
        found = [row for row in await gw.rows(rows + 2) if row.status == "client_gone"]
        assert len(found) == 2 and not gw.services.throttles.of("a/ma").places.running


async def test_both_may_fail_and_what_they_may_cost_is_bounded(database_url: str) -> None:
    async with Upstream() as a, Upstream() as b, gateway(database_url, hedging(a, b, spend_share=0.2), rate_limit_max=0) as gw:
        rows = await warmed(gw, a, is_stream=False)
        a.will(whole({"error": {"message": "no"}}, status=500, delay_s=0.5))
        b.will(error(500), good())
        async with gw.chat("chain", seed=99) as response:
            assert response.status == 200, "the plan goes on after both"
        assert len(b.seen) == 2
        await gw.rows(rows + 2)
        for number in range(200, 210):
            a.will(good(delay_s=0.4))
            b.auto = fakes.openai
            assert await ask(gw, number, "chain") == 200
        assert 1 <= sum("hedge" in row.tags for row in await gw.rows(rows + 2 + 10 + len(b.seen) - 2)) <= 4


async def test_off_it_asks_nobody_twice(database_url: str) -> None:
    async with Upstream() as a, Upstream() as b, gateway(database_url, hedging(a, b, enabled=False), rate_limit_max=0) as gw:
        rows = await warmed(gw, a, is_stream=False)
        a.will(good(delay_s=0.6))
        assert await ask(gw, 99, "chain") == 200
        assert not b.seen
        await gw.rows(rows + 1)
