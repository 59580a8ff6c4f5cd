"""Shadow judging: a sample of answers, a stronger model, a budget, and the books."""

import asyncio
from typing import Any

from neuroroute.app import JOBS
from neuroroute.store.feedback import Feedback
from neuroroute.store.learned import Learned
from neuroroute.store.usage import Usage, UsageFilter, UsageRecord
from tests.support.gateway import Gateway, gateway, model, provider
from tests.support.upstream import Upstream, whole


def said(text: str, model: str = "up") -> Any:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 300, "completion_tokens": 50, "total_tokens": 350}
    return whole({"id": "x", "object": "chat.completion", "model": model, "created": 5, "choices": [choice], "usage": usage})


def config(up: Upstream, usd: float, **judge: Any) -> dict[str, Any]:
    return {
        "providers": {"p": provider(up.url + "/v1")},
        "models": {
            "small": model("p", quality={"default": 0.80}, price={"input": 1.0, "output": 2.0}),
            "large": model("p", quality={"default": 0.86}, price={"input": 4.0, "output": 8.0}),
        },
        "routing": {"policy": "cheap", "learning": {"judge": {"usd_per_day": usd, "share": 1.0, **judge}}},
    }


async def ask(gw: Gateway, text: str, model: str = "auto") -> str:
    async with gw.post("/v1/chat/completions", {"model": model, "messages": [{"role": "user", "content": text}]}) as response:
        assert response.status == 200, await response.text()
        return str(response.headers["x-request-id"])


async def until(gw: Gateway, count: int) -> list[UsageRecord]:
    rows = await gw.rows(count, within_s=10)
    return sorted(rows, key=lambda row: row.created_at)


async def test_an_answer_is_judged_behind_its_users_back(database_url: str) -> None:
    async with Upstream() as up, gateway(database_url, config(up, 1.0)) as gw:
        up.will(said("Paris is the capital of France."), said('{"reason": "correct", "score": 9}'))
        request_id = await ask(gw, "What is the capital of France?")
        own, shadow = await until(gw, 2)
        assert (own.request_id, own.model, shadow.model, shadow.key_id, shadow.user_id) == (
            request_id,
            "small",
            "large",
            "shadow",
            "shadow",
        )
        assert shadow.tags == {"shadow": "true", "judged": request_id} and shadow.cost_nanousd == 300 * 4000 + 50 * 8000
        assert shadow.baseline_cost_nanousd == shadow.cost_nanousd, "judging saves nothing"
        sent = up.seen[1].json
        assert "What is the capital of France?" in sent["messages"][1]["content"] and "Paris is" in sent["messages"][1]["content"]
        for _ in range(100):
            [opinion], count = (
                await Feedback(gw.database).page(request_id=request_id) if (await Feedback(gw.database).page())[1] else ([None], 0)
            )
            if count:
                break
            await asyncio.sleep(0.02)
        assert opinion is not None and opinion.key_id == "shadow" and opinion.comment == "correct" and 0.6 < opinion.score < 0.7
        await gw.services.learning.flush()
        _, counts = await Learned(gw.database).current()
        assert sum(count.good for cell, count in counts.items() if cell.model == "p/small") > 0.7


async def test_named_calls_are_not_judged_and_off_is_off(database_url: str) -> None:
    async with Upstream() as up, gateway(database_url, config(up, 1.0)) as gw:
        up.will(said("one"))
        await ask(gw, "What is one?", "small")
        assert not gw.services.learning.to_judge
    async with Upstream() as up, gateway(database_url, config(up, 0.0), admin=False) as gw:
        up.will(said("two"))
        await ask(gw, "What is two?")
        assert not gw.services.learning.to_judge and "judge" in gw.app[JOBS]


async def test_the_budget_of_the_day_holds(database_url: str) -> None:
    """One verdict costs at most some 0.003 USD and in the end 0.0016: the budget holds one, and the second is left out, whenever it comes."""
    async with Upstream() as up, gateway(database_url, config(up, 0.004)) as gw:
        up.will(said("answer 0"), said('{"score": 5}'))
        await ask(gw, "Question number 0?")
        await until(gw, 2)
        for number in range(1, 4):
            up.auto = lambda seen: said("an answer")
            await ask(gw, f"Question number {number}?")
        for _ in range(200):
            if not gw.services.learning.to_judge:
                break
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)
        await gw.services.ledger.flush()
        rows = [row async for page in Usage(gw.database).walk(UsageFilter()) for row in page]
        assert len([row for row in rows if row.key_id != "shadow"]) == 4 and not gw.services.learning.to_judge
        spent = [row.cost_nanousd or 0 for row in rows if row.key_id == "shadow"]
        assert spent == [1_600_000]


async def test_a_judge_that_fails_or_babbles_changes_nothing(database_url: str) -> None:
    async with Upstream() as up, gateway(database_url, config(up, 1.0)) as gw:
        up.will(said("first"), said("I would give it a ten."), said("second"), whole({"error": {"message": "boom"}}, status=500))
        await ask(gw, "What comes first?")
        await until(gw, 2)
        await ask(gw, "What comes second?")
        rows = await until(gw, 4)
        assert [(row.key_id == "shadow", row.status) for row in rows if row.key_id == "shadow"] == [(True, "ok"), (True, "error")]
        assert (await Feedback(gw.database).page())[1] == 0


async def test_what_waits_is_bounded_and_a_stream_is_judged_too(database_url: str) -> None:
    from tests.support import fakes

    async with Upstream(fakes.openai) as up, gateway(database_url, config(up, 1.0, model="nobody")) as gw:
        body = {"model": "auto", "stream": True, "messages": [{"role": "user", "content": "Stream it."}]}
        async with gw.post("/v1/chat/completions", body) as response:
            await response.read()
        [waiting] = gw.services.learning.to_judge or [None]
        assert waiting is None or "Echo: Stream it." in waiting.answer
        assert gw.services.learning.to_judge.maxlen == 100
