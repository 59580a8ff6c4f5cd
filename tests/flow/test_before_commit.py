"""What happens before the first byte is with the client: fallback, retries, cache, limits, budgets of tries; and after it: cuts and leavers."""

import asyncio
from typing import Any

import openai
import pytest

from tests.support.gateway import HELLO, Gateway, gateway, model, provider
from tests.support.upstream import CUT, STALL, Upstream, error, html, reset, sse, stall, stream, whole

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
CHUNK: dict[str, Any] = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "up"}
FIRST = {**CHUNK, "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hi"}, "finish_reason": None}]}
MORE = {**CHUNK, "choices": [{"index": 0, "delta": {"content": " there"}, "finish_reason": None}]}
LAST = {**CHUNK, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
USED = {**CHUNK, "choices": [], "usage": USAGE}
GOOD_STREAM = sse(FIRST, MORE, LAST, USED)


def good(text: str = "hi") -> Any:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return whole({"id": "x", "object": "chat.completion", "model": "up", "created": 5, "choices": [choice], "usage": USAGE})


def two(a: Upstream, b: Upstream, **timeouts: float) -> dict[str, Any]:
    """Two providers and a chain over them."""
    return {
        "providers": {"a": provider(a.url + "/v1", timeouts=timeouts), "b": provider(b.url + "/v1")},
        "models": {"ma": model("a", "up"), "mb": model("b", "up")},
        "aliases": {"chain": ["ma", "mb"]},
    }


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize(
    "fault",
    [
        error(500),
        error(503),
        error(429),
        error(408),
        error(529),
        html(),
        html(200),
        whole(b""),
        whole(b"{"),
        whole({"error": "no such thing"}),
        reset(),
    ],
    ids=["500", "503", "429", "408", "529", "html", "html200", "empty", "malformed", "error-in-200", "reset"],
)
async def test_falls_back_before_the_first_byte(database_url: str, is_stream: bool, fault: Any) -> None:
    async with Upstream() as a, Upstream() as b, gateway(database_url, two(a, b)) as gw:
        a.will(fault)
        b.will(GOOD_STREAM if is_stream else good())
        async with gw.chat("chain", stream=is_stream) as response:
            text = await response.text()
            assert response.status == 200, text
            assert "Hi" in text or "hi" in text
            assert response.headers["x-neuroroute-provider"] == "b"
        [row] = await gw.rows(1)
        assert (row.status, row.provider, row.prompt_tokens, row.completion_tokens) == ("ok", "b", 3, 2)
        assert row.attempts == 2 and len(b.seen) == 1


async def test_a_provider_that_stalls_is_left_in_time(database_url: str) -> None:
    async with Upstream() as a, Upstream() as b, gateway(database_url, two(a, b, first_byte_s=0.3)) as gw:
        a.will(stall())
        b.will(GOOD_STREAM)
        began_s = asyncio.get_running_loop().time()
        async with gw.chat("chain", stream=True) as response:
            assert (await response.text()).endswith("data: [DONE]\n\n")
        assert asyncio.get_running_loop().time() - began_s < 1.5
        await asyncio.wait_for(a.seen[0].gone.wait(), 2)


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_a_fault_of_the_request_is_not_tried_again(database_url: str, status: int) -> None:
    async with Upstream() as a, Upstream() as b, gateway(database_url, two(a, b)) as gw:
        a.will(error(status, "max_tokens is too large", "invalid_request_error", "bad_value"))
        async with gw.chat("chain") as response:
            body = await response.json()
            assert (
                response.status == status and body["error"]["message"] == "max_tokens is too large" and body["error"]["code"] == "bad_value"
            )
        assert not b.seen and len(a.seen) == 1


async def test_all_fail_gives_the_last_error_and_says_when_to_come_back(database_url: str) -> None:
    async with Upstream() as a, Upstream() as b, gateway(database_url, two(a, b)) as gw, gw.openai() as client:
        a.will(error(500))
        b.will(error(429, "slow down", "rate_limit_error", "rate_limit_exceeded", **{"retry-after": "7"}))
        with pytest.raises(openai.RateLimitError) as caught:
            await client.chat.completions.create(model="chain", messages=HELLO)
        assert caught.value.response.headers["retry-after"] == "7"
        [row] = await gw.rows(1)
        assert (row.status, row.http_status, row.attempts, row.cost_nanousd) == ("error", 429, 2, None)


async def test_a_cut_after_the_first_byte_is_told_in_the_stream(database_url: str) -> None:
    async with Upstream() as a, Upstream() as b, gateway(database_url, two(a, b)) as gw, gw.openai() as client:
        a.will(sse(FIRST, MORE, 0.05, CUT))
        seen = ""
        with pytest.raises(openai.APIError):
            async for chunk in await client.chat.completions.create(model="chain", messages=HELLO, stream=True):
                seen += chunk.choices[0].delta.content or ""
        assert seen == "Hi there" and not b.seen
        [row] = await gw.rows(1)
        assert row.status == "cut" and row.completion_tokens > 0 and row.tokens_source in ("counted", "estimated")


async def test_a_stream_that_falls_silent_is_ended_with_an_error(database_url: str) -> None:
    async with Upstream() as a, Upstream() as b, gateway(database_url, two(a, b, idle_s=0.3)) as gw:
        a.will(stream(b"data: " + _bytes(FIRST) + b"\n\n", STALL))
        async with gw.chat("chain", stream=True) as response:
            text = await response.text()
        assert '"error"' in text and "[DONE]" not in text
        await asyncio.wait_for(a.seen[0].gone.wait(), 2)


def _bytes(value: object) -> bytes:
    import json

    return json.dumps(value).encode()


@pytest.mark.parametrize(
    ("cancels", "when"),
    [
        (True, "before the head"),
        (True, "in the stream"),
        (True, "plain call"),
        (False, "in the stream"),
    ],  # a handler that writes nothing can not notice
)
async def test_a_client_that_leaves_stops_the_provider_and_is_booked_once(database_url: str, cancels: bool, when: str) -> None:
    config = {"handler_cancellation": cancels}
    async with Upstream() as a, Upstream() as b, gateway(database_url, two(a, b), **config) as gw:
        pieces = [piece for _ in range(200) for piece in (MORE, 0.02)]
        a.will(stall() if when != "in the stream" else sse(FIRST, *pieces, LAST))
        if when == "in the stream":
            async with gw.chat("chain", stream=True) as response:
                await response.content.readany()
                response.close()
        else:
            asking = asyncio.ensure_future(_ask(gw, when == "before the head"))
            await a.arrived()
            asking.cancel()
        await asyncio.wait_for(a.seen[0].gone.wait(), 1.0 if cancels else 2.5)
        [row] = await gw.rows(1)
        assert (row.status, row.provider) == ("client_gone", "a") and not b.seen
        assert (row.completion_tokens > 0) is (when == "in the stream")
        await asyncio.sleep(0.2)
        assert len(await gw.rows(1)) == 1


async def _ask(gw: Gateway, is_stream: bool) -> None:
    async with gw.chat("chain", stream=is_stream) as response:
        await response.read()


async def test_the_breaker_opens_and_answers_at_once(database_url: str) -> None:
    config = {"breaker_failures": 3, "retry_budget": 0.0, "upstream_max_retries": 0}
    async with (
        Upstream(lambda seen: error(500)) as a,
        gateway(database_url, {"providers": {"a": provider(a.url + "/v1")}, "models": {"m": model("a")}}, **config) as gw,
    ):
        for _ in range(3):
            async with gw.chat() as response:
                assert response.status == 500
        asked = len(a.seen)
        async with gw.chat() as response:
            assert response.status == 503 and int(response.headers["retry-after"]) >= 1
        assert len(a.seen) == asked
        async with gw.get("/models/m") as response:
            assert (await response.json())["health"]["state"] == "open"


async def test_one_clients_bad_requests_never_open_the_breaker(database_url: str) -> None:
    async with (
        Upstream(lambda seen: error(400, "no", "invalid_request_error")) as a,
        gateway(database_url, {"providers": {"a": provider(a.url + "/v1")}, "models": {"m": model("a")}}, breaker_failures=2) as gw,
    ):
        for _ in range(6):
            async with gw.chat() as response:
                assert response.status == 400
        assert len(a.seen) == 6


@pytest.mark.parametrize("is_stream", [False, True])
async def test_the_second_equal_call_is_answered_from_the_cache(database_url: str, is_stream: bool) -> None:
    async with Upstream() as a, Upstream() as b, gateway(database_url, two(a, b)) as gw:
        a.will(GOOD_STREAM if is_stream else good())
        bodies = []
        for state in ("miss", "hit"):
            async with gw.chat("ma", stream=is_stream) as response:
                bodies.append(await response.read())
                assert response.headers["x-neuroroute-cache"] == state
        assert bodies[0] == bodies[1] and len(a.seen) == 1
        first, second = await gw.rows(2)
        assert first.cost_nanousd == 7000 and second.cost_nanousd == 0 and second.cache == "hit" and second.baseline_cost_nanousd == 7000


async def test_the_cache_can_be_steered_and_is_not_shared_between_users(database_url: str) -> None:
    async with Upstream() as a, Upstream() as b, gateway(database_url, two(a, b)) as gw:
        a.will(*[good(str(n)) for n in range(6)])
        other = await gw.new_key(user_id=(await gw.new_user())["id"])
        own = await gw.new_key()

        async def ask(key: str | None = None, **steering: Any) -> tuple[int, str, str]:
            async with gw.chat("ma", key=key, **({"neuroroute": steering} if steering else {})) as response:
                body = await response.json()
                text = body["choices"][0]["message"]["content"] if response.status == 200 else body["error"]["code"]
                return response.status, response.headers["x-neuroroute-cache"], text

        assert await ask(cache="only") == (504, "miss", "cache_miss")
        assert await ask() == (200, "miss", "0")
        assert await ask(own["key"]) == (200, "hit", "0")
        assert await ask(other["key"]) == (200, "miss", "1")
        assert await ask(cache="no-store") == (200, "bypass", "2")
        assert await ask(cache="refresh") == (200, "bypass", "3")
        assert await ask() == (200, "hit", "3")
        assert await ask(cache="only") == (200, "hit", "3")


async def test_requests_over_the_limit_are_told_when_to_come_back(database_url: str) -> None:
    async with Upstream() as a, Upstream() as b, gateway(database_url, two(a, b), rate_limit_max=3, rate_limit_window=1500) as gw:
        a.will(*[good() for _ in range(9)])
        for left in (2, 1, 0):
            async with gw.chat("ma", seed=left) as response:
                assert response.status == 200 and response.headers["x-ratelimit-remaining-requests"] == str(left)
                assert response.headers["x-ratelimit-limit-requests"] == "3"
        async with gw.chat("ma", seed=9) as response:
            body = await response.json()
            assert response.status == 429 and body["error"]["code"] == "rate_limit_exceeded", body
            wait_s = int(response.headers["retry-after-ms"]) / 1000
        await asyncio.sleep(wait_s + 0.02)
        async with gw.chat("ma", seed=10) as response:
            assert response.status == 200
        assert len(a.seen) == 4


async def test_a_keys_own_limits_and_models_hold(database_url: str) -> None:
    async with Upstream() as a, Upstream() as b, gateway(database_url, two(a, b)) as gw:
        a.will(good())
        narrow = (await gw.new_key(allowed_models=["ma"], limits={"requests_per_minute": 2}))["key"]
        async with gw.chat("mb", key=narrow) as response:
            assert response.status == 403 and (await response.json())["error"]["code"] == "permission_denied"
        async with gw.get("/v1/models", key=narrow) as response:
            assert [row["id"] for row in (await response.json())["data"] if not row["id"].startswith("auto")] == ["ma"]
        async with gw.chat("ma", key=narrow) as response:
            assert response.status == 200
        async with gw.chat("ma", key=narrow, seed=1) as response:
            assert response.status == 429
        busy = (await gw.new_key(limits={"concurrency": 1}))["key"]
        a.will(stall())
        waiting = asyncio.ensure_future(_ask_as(gw, busy))
        await a.arrived(2)
        async with gw.chat("ma", key=busy, seed=2) as response:
            assert response.status == 429
        waiting.cancel()
        await asyncio.wait_for(a.seen[1].gone.wait(), 2)
        a.will(good())
        async with gw.chat("ma", key=busy, seed=3) as response:
            assert response.status == 200


async def _ask_as(gw: Gateway, key: str) -> None:
    async with gw.chat("ma", key=key, seed=77) as response:
        await response.read()
