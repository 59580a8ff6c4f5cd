"""What the strategies of the cache and a call's own word do to whole calls, and what they spare by the dashboard's figures."""

import asyncio
import re
from typing import Any

import pytest

from neuroroute.caching.policy import AGGRESSIVE_TTL_FACTOR, MINIMAL_PROMPT_CHARS
from neuroroute.core.clock import unix_s
from tests.flow.test_cache import ANSWER, one, read
from tests.support.gateway import HELLO, Gateway, gateway
from tests.support.upstream import Upstream, error, whole
from tests.web.test_dashboard_pages import Browser

COLD = {"temperature": 0}
HOT = {"temperature": 0.9}
LONG = [{"role": "user", "content": "a" * (MINIMAL_PROMPT_CHARS + 1)}]
CALL = {"id": "call_1", "type": "function", "function": {"name": "pay", "arguments": "{}"}}
ACTS = {
    **ANSWER,
    "choices": [{"index": 0, "message": {"role": "assistant", "content": None, "tool_calls": [CALL]}, "finish_reason": "tool_calls"}],
}


async def again(gw: Gateway, **fields: Any) -> str:
    """The state of the second of two equal calls."""
    await read(gw, **fields)
    return (await read(gw, **fields))[0]


@pytest.mark.parametrize(
    ("strategy", "plain", "cold", "hot", "long", "acting"),
    [
        ("default", "hit", "hit", "bypass", "hit", "miss"),
        ("aggressive", "hit", "hit", "hit", "hit", "hit"),
        ("minimal", "bypass", "hit", "bypass", "bypass", "miss"),
        ("none", "bypass", "bypass", "bypass", "bypass", "bypass"),
    ],
)
async def test_each_strategy_keeps_what_it_says(
    database_url: str, strategy: str, plain: str, cold: str, hot: str, long: str, acting: str
) -> None:
    """acting: an answer that calls a tool; given twice, it would pay twice."""
    async with Upstream(lambda seen: whole(ANSWER)) as up, gateway(database_url, one(up), cache_strategy=strategy) as gw:
        assert await again(gw) == plain
        assert await again(gw, **COLD) == cold
        assert await again(gw, **HOT) == hot
        assert await again(gw, **COLD, messages=LONG) == long
        up.will(*[whole(ACTS)] * (1 if acting == "hit" else 2))
        assert await again(gw, **COLD, user="acting") == acting
        up.will(error(400, "no", "invalid_request_error"), whole(ANSWER))
        async with gw.chat(user="failed") as response:
            assert response.status == 400
        assert (await read(gw, user="failed"))[0] != "hit", "an error is never kept"


async def test_aggressive_keeps_longer(database_url: str) -> None:
    for strategy, factor in (("default", 1), ("aggressive", AGGRESSIVE_TTL_FACTOR)):
        async with Upstream(lambda seen: whole(ANSWER)) as up, gateway(database_url, one(up), cache_strategy=strategy, cache_ttl=50) as gw:
            await read(gw)
            [(entry, _, _)] = gw.services.cache._near._entries.values()
            assert abs(entry.expires_at_s - unix_s() - 50 * factor) < 10


async def test_a_call_may_say_how_long_and_that_it_wants_its_hot_answer_kept(database_url: str) -> None:
    async with Upstream(lambda seen: whole(ANSWER)) as up, gateway(database_url, one(up)) as gw:
        brief = {"neuroroute": {"cache_ttl_s": 1}}
        assert await again(gw, **HOT, **brief) == "hit"
        await asyncio.sleep(1.1)
        assert (await read(gw, **HOT, **brief))[0] == "miss", "its second is over"
        assert (await read(gw, **HOT, user="r", neuroroute={"cache": "refresh"}))[0] == "bypass"
        assert (await read(gw, **HOT, user="r", neuroroute={"cache": "only"}))[0] == "hit"
        assert (await read(gw, user="n", neuroroute={"cache": "no-store"}))[0] == "bypass"
        async with gw.chat(user="n", neuroroute={"cache": "only"}) as response:
            assert response.status == 504, "no-store left nothing behind"
        body = {"model": "m", "messages": HELLO}
        async with gw.post("/v1/chat/completions", body, headers={"x-neuroroute-cache": "no-store"}) as response:
            assert response.headers["x-neuroroute-cache"] == "bypass"
        async with gw.chat(neuroroute={"cache_ttl_s": 0}) as response:
            assert response.status == 400 and (await response.json())["error"]["param"] == "neuroroute.cache_ttl_s"


@pytest.mark.parametrize("off", [{"enable_cache": False}, {"cache_strategy": "none"}])
async def test_who_wants_a_kept_answer_only_asks_no_provider_where_none_is_kept(database_url: str, off: dict[str, Any]) -> None:
    async with Upstream(lambda seen: whole(ANSWER)) as up, gateway(database_url, one(up), **off) as gw:
        async with gw.chat(neuroroute={"cache": "only"}) as response:
            assert response.status == 504 and (await response.json())["error"]["code"] == "cache_miss"
        async with gw.post("/v1/moderations", {"model": "m", "input": "x"}, headers={"x-neuroroute-cache": "only"}) as response:
            assert response.status == 504
        assert not up.seen


async def test_what_the_cache_spared_is_counted_in_money_and_seconds(database_url: str) -> None:
    async with Upstream(lambda seen: whole(ANSWER, delay_s=0.4)) as up, gateway(database_url, one(up)) as gw:
        asked = await asyncio.gather(read(gw), read(gw), read(gw, user="b"))
        assert sorted(state for state, _ in asked) == ["joined", "miss", "miss"]
        assert (await read(gw))[0] == (await read(gw, stream=True))[0] == "hit"
        await read(gw, neuroroute={"cache": "no-store"})
        await gw.rows(6)
        price = 9 * 1000 + 2 * 2000
        key = (await gw.new_key())["id"]
        for query in ("", "?model=m", "?status=ok"):  # sums that are kept, and single calls
            async with gw.get("/dashboard/stats" + query) as response:
                stats = await response.json()
            assert (stats["calls"], stats["cached_calls"], stats["joined_calls"], stats["missed_calls"]) == (6, 3, 1, 2), query
            assert stats["cache_saved_usd"] == pytest.approx(3 * price / 1e9)
            assert 0.75 < stats["cache_saved_s"] < 1.6, "two hits; who joins waits as long as who leads"
        async with gw.get(f"/dashboard/stats?key_id={key}") as response:
            assert (await response.json())["cache_saved_s"] == 0
        async with gw.get("/dashboard/usage?group_by=model") as response:
            [of_model] = (await response.json())["data"]
            assert of_model["cache_saved_usd"] == pytest.approx(3 * price / 1e9) and of_model["missed_calls"] == 2
        async with Browser(gw) as browser:
            await browser.sign_in(gw.key)
            _, page, _ = await browser.get("/dashboard/stats")
        assert re.search(r"3 calls · \$0\.0000\d* and [\d.,]+ m?s saved", page), re.findall(r"<dt>From the cache.*\n.*", page)
