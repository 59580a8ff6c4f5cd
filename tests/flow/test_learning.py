"""Feedback and outcomes, over HTTP: what is stored, what is refused, and what the next decision makes of it."""

import asyncio
from typing import Any

import pytest

from neuroroute.core.config import LearningConfig
from neuroroute.store.feedback import Feedback
from neuroroute.store.learned import Cell, Counts, Learned
from neuroroute.store.postgres import DatabaseAway
from tests.support import fakes
from tests.support.gateway import Gateway, gateway, model, provider
from tests.support.upstream import Upstream, whole

QUESTION = "Write a Python function that reverses a linked list in place and explain its complexity."


def two_models(up: Upstream, **routing: Any) -> dict[str, Any]:
    return {
        "providers": {"p": provider(up.url + "/v1")},
        "models": {
            "small": model("p", quality={"default": 0.80}, price={"input": 1.0, "output": 2.0}),
            "large": model("p", quality={"default": 0.86}, price={"input": 4.0, "output": 8.0}),
        },
        "routing": routing,
    }


def said(text: str, finish: str = "stop") -> Any:
    return whole(
        {
            "id": "x", "object": "chat.completion", "model": "up", "created": 5,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150},
        }
    )  # fmt: skip


async def ask(gw: Gateway, text: str = QUESTION, model: str = "auto", key: str | None = None, **fields: Any) -> tuple[str, dict[str, Any]]:
    """(request id, body)"""
    body = {"model": model, "messages": [{"role": "user", "content": text}], **fields}
    async with gw.post("/v1/chat/completions", body, key=key) as response:
        answer: dict[str, Any] = await response.json()
        assert response.status == 200, answer
        return response.headers["x-request-id"], answer


async def opine(gw: Gateway, expected: int = 200, key: str | None = None, **body: Any) -> dict[str, Any]:
    async with gw.post("/v1/feedback", body, key=key) as response:
        answer: dict[str, Any] = await response.json()
        assert response.status == expected, answer
        return answer


async def counts_of(gw: Gateway) -> dict[Cell, Counts]:
    """All that was learned, with what this worker still holds."""
    await gw.services.learning.flush()
    _, counts = await Learned(gw.database).current()
    return counts


def total(counts: dict[Cell, Counts], name: str) -> Counts:
    of_model = [count for cell, count in counts.items() if cell.model == name]
    return Counts(sum(count.good for count in of_model), sum(count.bad for count in of_model))


async def test_feedback_is_stored_once_for_each_key_and_counts_once(database_url: str) -> None:
    async with Upstream(fakes.openai) as up, gateway(database_url, two_models(up)) as gw:
        request_id, _ = await ask(gw, model="small", neuroroute={"explain": True})
        before = total(await counts_of(gw), "p/small")
        first = await opine(gw, request_id=request_id, score=1)
        assert first["id"].startswith("fbk_") and first["request_id"] == request_id and first["score"] == 1.0
        assert first["object"] == "feedback" and first["comment"] is None
        for _ in range(3):
            again = await opine(gw, request_id=request_id, score=-0.5, comment="no", label="math", correct_model="large")
        assert again["id"] == first["id"] and (again["score"], again["label"], again["correct_model"]) == (-0.5, "math", "large")
        rows, found = await Feedback(gw.database).page()
        assert found == 1 and rows[0].comment == "no" and rows[0].user_id.startswith("usr_")
        counts = await counts_of(gw)
        after = total(counts, "p/small")
        assert (after.good - before.good, after.bad - before.bad) == (pytest.approx(0.0), pytest.approx(0.5)), (
            "the second replaced the first"
        )
        assert {cell.label for cell, count in counts.items() if cell.model == "p/small" and count.bad} == {"math"}, "as it was relabelled"
        assert total(counts, "p/large") == Counts(0.5, 0.0)


async def test_equal_opinions_at_the_same_moment_count_once(database_url: str) -> None:
    async with Upstream(fakes.openai) as up, gateway(database_url, two_models(up)) as gw:
        request_id, _ = await ask(gw, model="small", neuroroute={"explain": True})
        await gw.rows(1)
        before = total(await counts_of(gw), "p/small")
        await asyncio.gather(*(opine(gw, request_id=request_id, score=-1) for _ in range(8)))
        after = total(await counts_of(gw), "p/small")
        assert after.bad - before.bad == pytest.approx(1.0)


async def test_calls_of_others_and_unknown_ones_are_not_there(database_url: str) -> None:
    async with Upstream(fakes.openai) as up, gateway(database_url, two_models(up)) as gw:
        other = await gw.new_user()
        key = (await gw.new_key(user_id=other["id"]))["key"]
        mine, _ = await ask(gw)
        theirs, _ = await ask(gw, key=key)
        for request_id, who in ((mine, key), (theirs, None), ("req_0", None)):
            refused = await opine(gw, 404, key=who, request_id=request_id, score=1)
            assert refused["error"]["param"] == "request_id" and request_id in refused["error"]["message"]
        await opine(gw, key=key, request_id=theirs, score=1)
        second = (await gw.new_key(user_id=other["id"]))["key"]
        await opine(gw, key=second, request_id=theirs, score=1)
        assert (await Feedback(gw.database).page())[1] == 2, "another key of the same user has an opinion of its own"
        await opine(gw, 401, key="nr_wrong", request_id=mine, score=1)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"request_id": "r"}, "score"),
        ({"score": 1}, "request_id"),
        ({"request_id": "r", "score": 1.01}, "score"),
        ({"request_id": "r", "score": -2}, "score"),
        ({"request_id": "r", "score": "1"}, "score"),
        ({"request_id": "r", "score": True}, "score"),
        ({"request_id": "r", "score": None}, "score"),
        ({"request_id": "r", "score": 1, "label": "poetry"}, "label"),
        ({"request_id": "r", "score": 1, "correct_model": "gpt-99"}, "correct_model"),
        ({"request_id": "r", "score": 1, "correct_model": ""}, "correct_model"),
        ({"request_id": "r", "score": 1, "comment": "x" * 4001}, "comment"),
        ({"request_id": "r", "score": 1, "more": 1}, "more"),
        ({"request_id": "", "score": 1}, "request_id"),
    ],
)
async def test_a_bad_body_is_refused_by_its_field(learning_gateway: Gateway, body: dict[str, Any], param: str) -> None:
    refused = await opine(learning_gateway, 400, **body)
    assert refused["error"]["param"] == param and param in refused["error"]["message"]


@pytest.fixture
async def learning_gateway(database_url: str) -> Any:
    async with gateway(database_url, {"providers": {}}) as gw:
        yield gw


async def test_opinions_change_decisions_and_the_explanation_says_so(database_url: str) -> None:
    async with Upstream(fakes.openai) as up, gateway(database_url, two_models(up, policy="best")) as gw:
        ids = [(await ask(gw, seed=seed, neuroroute={"cache": "no-store"}))[0] for seed in range(40)]
        assert {row.model for row in await gw.rows(40)} == {"large"}
        for request_id in ids:
            await opine(gw, request_id=request_id, score=-1, correct_model="small")
        await gw.services.learning.flush()
        await gw.services.learning.renew()
        async with gw.post("/v1/route", {"model": "auto", "messages": [{"role": "user", "content": QUESTION}]}) as response:
            shown = await response.json()
        assert shown["model"] == "small"
        sources = {one["model"]: one["quality_source"] for one in shown["candidates"]}
        assert sources["large"].startswith("learned (n=4") and sources["small"] == "learned (n=20)", sources


async def test_learning_that_is_off_learns_nothing_and_uses_nothing(database_url: str) -> None:
    async with (
        Upstream(fakes.openai) as up,
        gateway(database_url, two_models(up, policy="best", learning={"enabled": False})) as gw,
    ):
        assert gw.services.learning.config() == LearningConfig(enabled=False)
        request_id, _ = await ask(gw)
        await opine(gw, request_id=request_id, score=-1)
        assert await counts_of(gw) == {} and (await Feedback(gw.database).page())[1] == 1, "the opinion itself is kept"
        cells = {Cell("p/large", label, tercile): Counts(0.0, 900.0) for label in ("code", "default") for tercile in range(3)}
        await Learned(gw.database).add(cells)
        await gw.services.learning.renew()
        await ask(gw, "another " + QUESTION)
        assert [row.model for row in await gw.rows(2)] == ["large", "large"]


async def test_what_goes_wrong_with_an_answer_is_on_its_row(database_url: str) -> None:
    schema = {
        "type": "json_schema",
        "json_schema": {"name": "n", "schema": {"type": "object", "required": ["x"], "properties": {"x": {"type": "integer"}}}},
    }
    async with Upstream() as up, gateway(database_url, two_models(up)) as gw:
        up.will(
            said("I'm sorry, but I can't help with that."),
            said("long", "length"),
            said("long", "length"),
            said('{"x": "one"}'),
            said('{"x": 1}'),
            said("fine"),
        )
        await ask(gw, "How do I sort a list in Python?")
        await ask(gw, "Explain what a monad is in Haskell.")
        await ask(gw, "Translate 'good morning' into French.", max_tokens=10)
        await ask(gw, "Extract the number from: one", response_format=schema)
        await ask(gw, "Extract the number from: 1", response_format=schema)
        await ask(gw, "What is the capital of France?")
        rows = await gw.rows(6)
        assert [(row.decision or {}).get("outcome") for row in rows] == ["refused", "truncated", None, "broken_schema", None, None]
        counts = await counts_of(gw)
        bad = sum(count.bad for count in counts.values())
        assert 1.0 + 2 * 0.3 < bad < 1.0 + 2 * 1.0 and all(count.good < 0.3 for count in counts.values())
        assert [(row.decision or {}).get("needs") for row in rows[2:4]] == [None, ["json_schema"]]


async def test_the_same_question_within_a_minute_is_a_complaint(database_url: str) -> None:
    async with Upstream(fakes.openai) as up, gateway(database_url, two_models(up), enable_cache=False) as gw:
        await ask(gw)
        quiet = sum(count.bad for count in (await counts_of(gw)).values())
        await ask(gw)
        once = sum(count.bad for count in (await counts_of(gw)).values())
        assert quiet == 0.0 and once > 0.3
        other = (await gw.new_key())["key"]
        await ask(gw, key=other)
        assert sum(count.bad for count in (await counts_of(gw)).values()) == pytest.approx(once), "another key asks for the first time"
        for _ in range(6):
            await ask(gw)
        many = sum(count.bad for count in (await counts_of(gw)).values())
        assert once < many < 3 * once, "a program that asks the same again and again complains of nothing"


async def test_two_workers_learn_together(database_url: str) -> None:
    async with (
        Upstream(fakes.openai) as up,
        gateway(database_url, two_models(up)) as one,
        gateway(database_url, two_models(up), admin=False) as two,
    ):
        first, _ = await ask(one, neuroroute={"cache": "no-store"})
        second, _ = await ask(two, neuroroute={"cache": "no-store"})
        await one.rows(2)
        await two.rows(2)
        await opine(two, request_id=first, score=-1)
        await opine(one, request_id=second, score=-1)
        await one.services.learning.flush()
        counts = await counts_of(two)
        assert sum(count.bad for count in counts.values()) >= 2.0
        version = await Learned(one.database).promote({"p/small": {"default": 0.2}}, {}, after=0)
        for _ in range(200):
            if one.services.learning.posteriors.version == two.services.learning.posteriors.version == version.version:
                break
            await asyncio.sleep(0.02)
        assert two.services.learning.posteriors.version == version.version, "told of it at once"


async def test_a_database_that_is_away_costs_no_call_and_no_shutdown(database_url: str) -> None:
    """Counts wait; at the end they are given up, and the worker stops all the same."""
    async with Upstream(fakes.openai) as up:
        async with gateway("postgresql://nobody@127.0.0.1:1/none", two_models(up), admin=False) as gw:
            gw.services.learning.add(Cell("p/small", "code", 1), Counts(1.0, 0.0))
            with pytest.raises(DatabaseAway):
                await gw.services.learning.flush()
        assert gw.services.learning.posteriors.version == 0
