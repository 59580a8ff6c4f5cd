"""Money: what is spent is refused on every route, what is reserved comes back, and the edge is overspent by less than one call."""

import asyncio
from typing import Any

import pytest

from neuroroute.core.money import Reservation
from neuroroute.core.types import Timeouts, UpstreamRequest
from tests.support import fakes
from tests.support.gateway import Gateway, gateway, model, provider
from tests.support.relay import Relay
from tests.support.upstream import CUT, Seen, Step, Upstream, cut, sse, whole

# The model costs 1 USD per million tokens read and 2 written: an answer of these is 0.012 USD.
USAGE = {"prompt_tokens": 2_000, "completion_tokens": 5_000, "total_tokens": 7_000}
CALL_USD = 0.012


def one(up: Upstream, **more: Any) -> dict[str, Any]:
    return {"providers": {"p": provider(up.base_url)}, "models": {"m": model("p", "gpt-4o", max_output_tokens=8_000)}, **more}


def answer(seen: Seen) -> Step:
    """Every kind of answer, with the same usage."""
    if seen.path.endswith("/chat/completions") and not seen.json.get("stream"):
        message = {"role": "assistant", "content": "hello"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return whole(
            {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": USAGE}, delay_s=0.02
        )
    return fakes.openai(seen)


async def ask(gw: Gateway, key: str, n: int = 0, **fields: Any) -> tuple[int, dict[str, Any]]:
    async with gw.chat(key=key, seed=n, **fields) as response:
        return response.status, {**(await response.json()), "headers": response.headers}


async def test_a_spent_budget_is_refused_on_every_route_and_says_so(database_url: str) -> None:
    async with Upstream(answer) as up, gateway(database_url, one(up)) as gw:
        key = await gw.new_key(budget={"usd": 2 * CALL_USD - 0.001, "period": "day"})
        assert [(await ask(gw, key["key"], n))[0] for n in range(3)] == [200, 200, 429]
        status, body = await ask(gw, key["key"], 9)
        assert (status, body["error"]["code"], body["error"]["type"]) == (429, "insufficient_quota", "insufficient_quota")
        assert body["headers"]["x-should-retry"] == "false" and "0.023 USD" in body["error"]["message"]
        asked = len(up.seen)
        for path, fields in {
            "/v1/chat/completions": {"messages": [{"role": "user", "content": "x"}], "stream": True},
            "/v1/responses": {"input": "x"},
            "/v1/messages": {"messages": [{"role": "user", "content": "x"}], "max_tokens": 5},
            "/v1/completions": {"prompt": "x"},
            "/v1/embeddings": {"input": "x"},
            "/v1/moderations": {"input": "x"},
            "/prompt": {"prompt": "x"},
        }.items():
            async with gw.post(path, {"model": "m", **fields}, key=key["key"]) as response:
                assert response.status in (400, 429), (path, await response.text())
                assert response.status == 429 or path == "/v1/embeddings", path
        assert len(up.seen) == asked
        async with gw.get(f"/admin/api-keys/{key['id']}") as response:
            shown = await response.json()
        assert shown["spent_usd"] == pytest.approx(2 * CALL_USD) and shown["left_usd"] == 0
        async with gw.chat(key=key["key"], seed=0) as response:
            assert response.status == 200 and response.headers["x-neuroroute-cache"] == "hit", "what costs nothing goes on"
        async with gw.ask("PUT", f"/admin/api-keys/{key['id']}", {"budget": {"usd": 10}}) as response:
            assert response.status == 200
        await asyncio.sleep(0.3)
        assert (await ask(gw, key["key"], 20))[0] == 200


async def test_two_hundred_calls_at_the_edge_overspend_by_less_than_one(database_url: str) -> None:
    async with Upstream(answer) as up, gateway(database_url, one(up)) as gw:
        limit = 12.5 * CALL_USD
        key = await gw.new_key(budget={"usd": limit, "period": "month"})
        found = await asyncio.gather(*(ask(gw, key["key"], n) for n in range(200)))
        served = sum(status == 200 for status, _ in found)
        assert {status for status, _ in found} == {200, 429}
        assert served == len(up.seen) and limit - CALL_USD < served * CALL_USD < limit + CALL_USD
        assert (await ask(gw, key["key"], 999))[0] == 429


@pytest.mark.parametrize("delay_s", [0.08, 0.2])
async def test_books_that_answer_late_let_nothing_through(database_url: str, delay_s: float) -> None:
    """Two replicas begin with nothing, and each of their questions to the books takes several times `delay_s`, at times more than they wait for."""
    async with (
        Upstream(answer) as up,
        Relay.to(database_url) as relay,
        gateway(relay.url, one(up)) as first,
        gateway(relay.url, one(up)) as second,
    ):
        limit = 20.5 * CALL_USD
        user = await first.new_user(budget={"usd": limit, "period": "total"})
        keys = [await first.new_key(user_id=user["id"]) for _ in range(2)]
        await asyncio.sleep(0.3)
        for gw, key in zip((first, second), keys, strict=True):
            async with gw.get("/v1/models", key=key["key"]) as response:
                assert response.status == 200, "its key is known before the books are slow"
        relay.delay_s = delay_s
        found = await asyncio.gather(*(ask((first, second)[n % 2], keys[n % 2]["key"], n) for n in range(200)))
        served = sum(status == 200 for status, _ in found)
        relay.delay_s = 0.0
        assert {status for status, _ in found} <= {200, 429} and served == len(up.seen)
        assert served <= 21, "overspent by less than one call"
        await asyncio.sleep(1.5)  # what the books granted meanwhile comes back
        for n in range(200, 225):
            served += (await ask(first, keys[0]["key"], n))[0] == 200
        assert 19 <= served <= 21


async def test_the_rest_of_a_lease_is_not_stranded(database_url: str) -> None:
    """A call asks for more than is left, and all that is left lies in this process: nobody else runs, so it is the last one."""
    async with Upstream(answer) as up, gateway(database_url, one(up)) as gw:
        key = await gw.new_key(budget={"usd": 1.5 * CALL_USD, "period": "day"})
        assert (await ask(gw, key["key"], 1))[0] == 200
        await gw.rows(1)
        await asyncio.sleep(2.1)  # the books know what is held
        assert [(await ask(gw, key["key"], n))[0] for n in (2, 3)] == [200, 429]


async def test_replicas_share_a_budget(database_url: str) -> None:
    async with Upstream(answer) as up, gateway(database_url, one(up)) as first, gateway(database_url, one(up)) as second:
        limit = 30.5 * CALL_USD
        user = await first.new_user(budget={"usd": limit, "period": "total"})
        keys = [await first.new_key(user_id=user["id"]) for _ in range(4)]
        await asyncio.sleep(0.3)
        found = await asyncio.gather(*(ask((first, second)[n % 2], keys[n % 4]["key"], n) for n in range(120)))
        served = sum(status == 200 for status, _ in found)
        assert served == len(up.seen)
        assert limit - 3 * CALL_USD < served * CALL_USD < limit + CALL_USD


async def test_what_is_reserved_comes_back_after_errors_and_hang_ups(database_url: str) -> None:
    async with Upstream() as up, gateway(database_url, one(up), upstream_max_retries=0, breaker_failures=1000) as gw:
        key = await gw.new_key(budget={"usd": 0.02, "period": "day"})
        for n in range(4):  # each reserves 0.016 USD and more
            up.will(cut())
            assert (await ask(gw, key["key"], n))[0] == 502
        up.will(sse({"choices": [{"index": 0, "delta": {"content": "a"}}]}, CUT))
        async with gw.chat(key=key["key"], stream=True) as response:
            assert "error" in await response.text()
        up.will(answer(Seen("POST", "/v1/chat/completions", "", {}, b"{}", 0.0)))
        assert (await ask(gw, key["key"], 7))[0] == 200


@pytest.mark.parametrize(
    "usage", [{"prompt_tokens": -5000, "completion_tokens": -1}, {"prompt_tokens": 10**15, "completion_tokens": 10**15}]
)
async def test_a_usage_that_can_not_be_is_counted_here_and_flagged(database_url: str, usage: dict[str, int]) -> None:
    async with Upstream() as up, gateway(database_url, one(up)) as gw:
        key = await gw.new_key(budget={"usd": 1, "period": "day"})
        message = {"role": "assistant", "content": "a short answer"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        up.will(whole({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}))
        assert (await ask(gw, key["key"]))[0] == 200
        [row] = await gw.rows(1)
        assert row.tokens_source == "corrected" and 0 < row.completion_tokens < 200 and row.cost_nanousd is not None
        assert 0 < row.cost_nanousd < 1_000_000
        async with gw.get("/metrics", key="") as response:
            assert 'neuroroute_usage_corrected_total{target="p/m"} 1.0' in await response.text()


async def test_a_tags_budget_holds_over_keys_and_a_client_can_not_leave_it(database_url: str) -> None:
    async with Upstream(answer) as up:
        config = one(up, budgets=[{"tag": "team=search", "usd": 2 * CALL_USD - 0.001, "period": "week"}])
        async with gateway(database_url, config) as gw:
            first, second = [await gw.new_key(tags={"team": "search"}) for _ in range(2)]
            assert (await ask(gw, first["key"], 1))[0] == 200
            assert (await ask(gw, second["key"], 2, neuroroute={"tags": {"team": "other"}}))[0] == 200
            status, body = await ask(gw, first["key"], 3)
            assert (status, body["error"]["code"]) == (429, "insufficient_quota")
            assert (await ask(gw, gw.key, 4))[0] == 200


async def test_when_it_is_spent_auto_may_go_on_with_a_cheaper_policy(database_url: str) -> None:
    async with Upstream(answer) as up:
        config = one(up)
        config["models"]["dear"] = model("p", "gpt-5", price={"input": 10.0, "output": 20.0}, quality={"default": 0.99})
        config["models"]["m"]["quality"] = {"default": 0.8}
        async with gateway(database_url, config) as gw:
            key = await gw.new_key(budget={"usd": 0.05, "period": "day", "when_spent": "policy:cheap"})
            served = [await ask(gw, key["key"], n, model="auto:best") for n in range(3)]
            assert [(status, body["headers"]["x-neuroroute-model"]) for status, body in served] == [(200, "dear"), (200, "m"), (200, "m")]
            assert (await ask(gw, key["key"], 5, model="dear"))[0] == 429


async def test_beyond_its_budget_no_rule_brings_the_dear_model_back(database_url: str) -> None:
    async with Upstream(answer) as up:
        config = one(up, routing={"rules": [{"when": {"model": "auto:best"}, "use": "dear"}]})
        config["models"]["dear"] = model("p", "gpt-5", price={"input": 10.0, "output": 20.0}, quality={"default": 0.99})
        config["models"]["m"]["quality"] = {"default": 0.8}
        async with gateway(database_url, config) as gw:
            key = await gw.new_key(budget={"usd": 0.05, "period": "day", "when_spent": "policy:cheap"}, allowed_models=["auto:best"])
            served = [await ask(gw, key["key"], n, model="auto:best") for n in range(2)]
            assert [(status, body["headers"].get("x-neuroroute-model")) for status, body in served] == [(200, "dear"), (200, "m")]


async def test_a_policy_that_nobody_knows_is_refused_and_one_that_went_is_as_if_none_was_named(database_url: str) -> None:
    async with Upstream(answer) as up:
        config = one(up, routing={"policies": {"thrifty": {"quality_floor": 0.1}}})
        async with gateway(database_url, config) as gw:
            for path in ("/admin/api-keys", "/admin/users"):
                spent = {"usd": 1, "when_spent": "policy:nope"}
                async with gw.post(path, {"name": "x", "budget": spent}) as response:
                    error = (await response.json())["error"]
                    assert response.status == 400 and error["param"] == "budget.when_spent" and "thrifty" in error["message"]
            key = await gw.new_key(budget={"usd": 0.01, "period": "day", "when_spent": "policy:thrifty"})
            await gw.rows(0)
        async with gateway(database_url, one(up)) as gw:
            assert (await ask(gw, key["key"], 1, model="auto"))[0] == 200
            status, body = await ask(gw, key["key"], 2, model="auto")
            assert (status, body["error"]["code"]) == (429, "insufficient_quota")


async def test_a_call_adds_tags_to_those_of_its_key_and_changes_none(database_url: str) -> None:
    """Also where no budget hangs on a tag yet: the books of a team are read later."""
    async with Upstream(answer) as up, gateway(database_url, one(up)) as gw:
        key = await gw.new_key(tags={"team": "search", "cost": "42"})
        async with gw.chat(key=key["key"], seed=1, neuroroute={"tags": {"team": "other", "run": "7"}}) as response:
            assert response.status == 200
            request_id = response.headers["x-request-id"]
        async with asyncio.timeout(10):
            while True:
                async with gw.get(f"/dashboard/requests/{request_id}") as response:
                    if response.status == 200:
                        row = await response.json()
                        break
                await asyncio.sleep(0.05)
        assert row["tags"] == {"team": "search", "cost": "42", "run": "7"}


async def test_budgets_hold_over_a_restart_and_through_an_outage(database_url: str) -> None:
    async with Upstream(answer) as up, Relay.to(database_url) as relay:
        limit = 20.5 * CALL_USD
        async with gateway(relay.url, one(up)) as gw:
            key = await gw.new_key(budget={"usd": limit, "period": "month"})
            for n in range(5):
                assert (await ask(gw, key["key"], n))[0] == 200
            await gw.rows(5)
        async with gateway(relay.url, one(up)) as gw:
            assert (await ask(gw, key["key"], 10))[0] == 200
            await gw.rows(6)
            await relay.refuse()
            found = [await ask(gw, key["key"], n) for n in range(20, 45)]
            served = 6 + sum(status == 200 for status, _ in found)
            assert 12 <= served <= 21, "known keys go on, and the budget holds"
            began_s = asyncio.get_running_loop().time()
            status, body = await ask(gw, key["key"], 50)
            assert (status, body["error"]["code"]) == (429, "budget_reserved") and "database is away" in body["error"]["message"]
            assert asyncio.get_running_loop().time() - began_s < 2.0, "no call runs whose end could be waited for"
            await relay.restore()
            await gw.rows(32, within_s=15)


async def test_no_request_leaves_without_a_reservation(database_url: str) -> None:
    async with Upstream(answer) as up, gateway(database_url, one(up)) as gw:
        transport, request = gw.services.transport, UpstreamRequest(up.base_url + "/x", {}, b"{}")
        with pytest.raises(TypeError):
            transport.open(request, Timeouts())  # type: ignore[call-arg]
        with pytest.raises(Exception, match="settled"):
            transport.open(request, Timeouts(), Reservation(0, settled=True))
        assert up.seen == []
