"""What a call saved: on its row, in its header and in the sums, for every way in which its model is found."""

from typing import Any

import pytest

from neuroroute.store.usage import Usage, UsageFilter, UsageRecord
from tests.support.gateway import Gateway, gateway, model, provider
from tests.support.upstream import Upstream, whole

PROMPT, COMPLETION, CACHED = 1000, 100, 400
SMALL, LARGE = PROMPT * 1000 + COMPLETION * 2000, PROMPT * 4000 + COMPLETION * 8000
CACHED_SMALL = SMALL - CACHED * 500


def answer(cached: int = 0) -> Any:
    usage = {"prompt_tokens": PROMPT, "completion_tokens": COMPLETION, "total_tokens": PROMPT + COMPLETION}
    if cached:
        usage |= {"prompt_tokens_details": {"cached_tokens": cached}}  # type: ignore[dict-item]
    choice = {"index": 0, "message": {"role": "assistant", "content": "Here you are."}, "finish_reason": "stop"}
    return whole({"id": "x", "object": "chat.completion", "model": "up", "created": 5, "choices": [choice], "usage": usage})


def config(up: Upstream, **routing: Any) -> dict[str, Any]:
    return {
        "providers": {"p": provider(up.url + "/v1"), "q": provider(up.url + "/v1")},
        "models": {
            "small": model("p", quality={"default": 0.80}, price={"input": 1.0, "output": 2.0, "cached_input": 0.5}),
            "large": model("p", quality={"default": 0.90}, price={"input": 4.0, "output": 8.0, "cached_input": 2.0}),
            "free": {"provider": "q", "quality": {"default": 0.3}},
        },
        "aliases": {"team": ["small", "large"], "house": "free"},
        "routing": {"policy": "cheap", **routing},
    }


async def ask(gw: Gateway, name: str, seed: int = 0, **fields: Any) -> Any:
    body = {"model": name, "messages": [{"role": "user", "content": "How do I boil an egg?"}], "seed": seed, **fields}
    async with gw.post("/v1/chat/completions", body) as response:
        assert response.status == 200, await response.text()
        return response.headers


def money(row: UsageRecord) -> tuple[int | None, int | None]:
    return row.cost_nanousd, row.baseline_cost_nanousd


@pytest.mark.parametrize(
    ("name", "cost", "baseline"),
    [
        ("auto", SMALL, LARGE),
        ("auto:best", LARGE, LARGE),
        ("team", SMALL, LARGE),
        ("small", SMALL, SMALL),
        ("p/large", LARGE, LARGE),
        ("neuroroute/small", SMALL, SMALL),
    ],
)
async def test_against_what_a_call_is_held(database_url: str, name: str, cost: int, baseline: int) -> None:
    """What the router or an alias chose against the best model; what was named against itself: there nothing was saved."""
    async with Upstream() as up, gateway(database_url, config(up)) as gw:
        up.will(answer())
        headers = await ask(gw, name)
        [row] = await gw.rows(1)
        assert money(row) == (cost, baseline)
        assert float(headers["x-neuroroute-cost-usd"]) * 1e9 == pytest.approx(cost)
        assert float(headers["x-neuroroute-saved-usd"]) * 1e9 == pytest.approx(baseline - cost)
        sums = await Usage(gw.database).totals(UsageFilter(key_id=row.key_id))
        assert (sums.cost_nanousd, sums.saved_nanousd, sums.unpriced_calls) == (cost, baseline - cost, 0)


@pytest.mark.parametrize(("name", "baseline"), [("auto", LARGE), ("small", SMALL), ("team", LARGE)])
async def test_a_kept_answer_costs_nothing_and_saves_what_the_call_would_have_cost(database_url: str, name: str, baseline: int) -> None:
    async with Upstream() as up, gateway(database_url, config(up)) as gw:
        up.will(answer())
        for _ in range(2):
            headers = await ask(gw, name, neuroroute={"cache": "default"}, temperature=0)
        assert headers["x-neuroroute-cache"] == "hit"
        first, second = await gw.rows(2)
        assert first.baseline_cost_nanousd == baseline and money(second) == (0, baseline)
        sums = await Usage(gw.database).totals(UsageFilter())
        assert sums.saved_nanousd == 2 * baseline - SMALL


async def test_a_providers_own_cache_is_no_merit_of_ours(database_url: str) -> None:
    async with Upstream() as up, gateway(database_url, config(up)) as gw:
        up.will(answer(CACHED), answer(CACHED), answer(CACHED))
        await ask(gw, "small")
        await ask(gw, "auto", 1)
        await ask(gw, "auto:best", 2)
        named, auto, best = await gw.rows(3)
        assert money(named) == (CACHED_SMALL, CACHED_SMALL)
        assert money(auto) == (CACHED_SMALL, LARGE), "the other model has not seen the prefix"
        assert money(best) == (LARGE - CACHED * 2000,) * 2


async def test_without_a_price_nothing_is_claimed(database_url: str) -> None:
    async with Upstream() as up, gateway(database_url, config(up, baseline_model="free")) as gw:
        up.will(answer(), answer(), answer())
        headers = await ask(gw, "free")
        assert "x-neuroroute-cost-usd" not in headers and "x-neuroroute-saved-usd" not in headers
        headers = await ask(gw, "auto", 1)
        assert "x-neuroroute-saved-usd" not in headers, "the baseline has no price"
        await ask(gw, "house", 2)
        free, auto, house = await gw.rows(3)
        assert money(free) == (None, None) and money(auto) == (SMALL, None) and money(house) == (None, None)
        sums = await Usage(gw.database).totals(UsageFilter())
        assert (sums.cost_nanousd, sums.saved_nanousd, sums.unpriced_calls) == (SMALL, 0, 2)


async def test_a_dearer_choice_than_the_baseline_saves_less_than_nothing(database_url: str) -> None:
    async with Upstream() as up, gateway(database_url, config(up, baseline_model="small")) as gw:
        up.will(answer())
        headers = await ask(gw, "auto:best")
        [row] = await gw.rows(1)
        assert money(row) == (LARGE, SMALL) and headers["x-neuroroute-saved-usd"] == f"-{(LARGE - SMALL) / 1e9:.9f}".rstrip("0")
        assert (await Usage(gw.database).totals(UsageFilter())).saved_nanousd == SMALL - LARGE, "and the sums say so"


async def test_a_fallback_of_a_named_model_is_held_against_the_named_one(database_url: str) -> None:
    async with Upstream() as up:
        settings = config(up)
        settings["models"]["large"]["fallbacks"] = ["small"]
        async with gateway(database_url, settings) as gw:
            up.will(whole({"error": {"message": "no"}}, status=503), answer())
            await ask(gw, "large")
            [row] = await gw.rows(1)
            assert row.model == "small" and money(row) == (SMALL, LARGE)
