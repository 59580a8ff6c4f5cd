"""Nothing is paid for twice: kept answers in both forms, and identical calls that share one upstream call."""

import asyncio
from typing import Any

import pytest

from neuroroute.core.config import Layer
from neuroroute.core.jsonbytes import loads
from neuroroute.web.state import OFFER
from tests.flow.test_before_commit import FIRST, LAST, MORE, USED
from tests.support.gateway import HELLO, Gateway, gateway, model, provider
from tests.support.upstream import CUT, STALL, Seen, Step, Upstream, error, sse, whole

ANSWER: dict[str, Any] = {
    "id": "chatcmpl-7", "object": "chat.completion", "created": 17, "model": "up",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello there", "refusal": None}, "logprobs": None, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
}  # fmt: skip
SLOW = sse(FIRST, *[piece for _ in range(10) for piece in (MORE, 0.03)], LAST, USED)
ASKED_USAGE = {"stream_options": {"include_usage": True}}


def one(up: Upstream, **fields: Any) -> dict[str, Any]:
    return {"providers": {"p": provider(up.base_url)}, "models": {"m": model("p", "up", **fields)}}


async def read(gw: Gateway, **fields: Any) -> tuple[str, bytes]:
    """(state of the cache, body)"""
    async with gw.chat(**fields) as response:
        assert response.status == 200, await response.text()
        return response.headers["x-neuroroute-cache"], await response.read()


def text_of(body: bytes) -> str:
    """What a body says, whole or streamed."""
    if body.startswith(b"{"):
        return str(loads(body)["choices"][0]["message"]["content"])
    chunks = [loads(event[6:]) for event in body.split(b"\n\n") if event.startswith(b"data: {")]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


@pytest.mark.parametrize("kept_as", ["whole", "stream"])
async def test_a_kept_answer_is_served_in_either_form(database_url: str, kept_as: str) -> None:
    async with Upstream() as up, gateway(database_url, one(up)) as gw:
        up.will(whole(ANSWER) if kept_as == "whole" else sse(FIRST, MORE, LAST, USED))
        state, first = await read(gw, stream=kept_as == "stream")
        assert state == "miss"
        async with gw.openai() as client:
            answer = await client.chat.completions.create(model="m", messages=HELLO)
            async with client.chat.completions.stream(model="m", messages=HELLO, stream_options={"include_usage": True}) as events:
                streamed = await events.get_final_completion()
        assert answer.choices[0].message.content == streamed.choices[0].message.content == text_of(first)
        assert answer.id == streamed.id == loads(first if kept_as == "whole" else first[6 : first.index(b"\n\n")])["id"]
        assert (answer.model, answer.created, answer.choices[0].finish_reason) == (streamed.model, streamed.created, "stop")
        assert answer.usage == streamed.usage and answer.usage is not None
        bare = await read(gw, stream=True)
        assert bare[0] == "hit" and b'"choices":[]' not in bare[1] and bare[1].endswith(b"data: [DONE]\n\n")
        if kept_as == "stream":
            assert bare[1] == first
        rows = await gw.rows(4)
        assert [row.cache for row in rows] == ["miss", "hit", "hit", "hit"] and len(up.seen) == 1
        assert {(row.prompt_tokens, row.completion_tokens) for row in rows} == {
            (answer.usage.prompt_tokens, answer.usage.completion_tokens)
        }
        assert [row.cost_nanousd for row in rows[1:]] == [0, 0, 0] and rows[1].baseline_cost_nanousd == rows[0].cost_nanousd


async def test_a_tool_call_in_the_other_form(database_url: str) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    message = {"role": "assistant", "content": None, "tool_calls": [call, {**call, "id": "call_2"}]}
    spoken = {**ANSWER, "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    async with Upstream() as up, gateway(database_url, one(up), cache_strategy="aggressive") as gw:
        up.will(whole(spoken))
        await read(gw)
        async with gw.openai() as client, client.chat.completions.stream(model="m", messages=HELLO) as events:
            streamed = await events.get_final_completion()
        found = streamed.choices[0].message.tool_calls or []
        assert [(tool.id, tool.function.arguments) for tool in found] == [("call_1", '{"a":1}'), ("call_2", '{"a":1}')]
        assert streamed.choices[0].finish_reason == "tool_calls" and len(up.seen) == 1


async def test_completions_in_both_forms(database_url: str) -> None:
    async with Upstream() as up, gateway(database_url, one(up)) as gw:
        up.will(whole(ANSWER))
        async with gw.openai() as client:
            answer = await client.completions.create(model="m", prompt="tell")
            pieces = [piece async for piece in await client.completions.create(model="m", prompt="tell", stream=True)]
        assert "".join(piece.choices[0].text for piece in pieces) == answer.choices[0].text == "Hello there"
        assert {piece.id for piece in pieces} == {answer.id} and len(up.seen) == 1


def answers(seen: Seen) -> Step:
    return SLOW if seen.json.get("stream") else whole(ANSWER, delay_s=0.3)


@pytest.mark.parametrize("mixed", [False, True], ids=["one-form", "both-forms"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_500_identical_calls_are_one_upstream(database_url: str, stream: bool, mixed: bool) -> None:
    async with Upstream(answers) as up, gateway(database_url, one(up)) as gw:
        calls = [read(gw, stream=stream ^ (mixed and i % 2 == 1)) for i in range(500)]
        found = await asyncio.gather(*calls)
        assert len(up.seen) == 1
        assert len({text_of(body) for _, body in found}) == 1 and text_of(found[0][1])
        states = [state for state, _ in found]
        assert states.count("miss") == 1 and states.count("joined") > 50 and set(states) <= {"miss", "joined", "hit"}
        await gw.services.ledger.flush()
        paid = await gw.database.fetch(
            "SELECT cache, sum(cost_nanousd)::bigint AS cost, count(*) AS n, min(baseline_cost_nanousd) AS base FROM usage_records GROUP BY cache"
        )
        by_state = {row["cache"]: row for row in paid}
        assert sum(row["n"] for row in paid) == 500
        assert by_state["miss"]["cost"] > 0 and by_state["joined"]["cost"] == 0 and by_state["joined"]["base"] == by_state["miss"]["cost"]
        assert len(gw.services.flights) == 0


async def test_who_comes_late_gets_the_beginning_at_once_and_then_the_rest(database_url: str) -> None:
    async with Upstream() as up, gateway(database_url, one(up)) as gw:
        up.will(SLOW)
        leader = asyncio.ensure_future(read(gw, stream=True))
        await up.arrived()
        await asyncio.sleep(0.15)
        began_s = asyncio.get_running_loop().time()
        async with gw.chat(stream=True, **ASKED_USAGE, neuroroute={"explain": True}) as response:
            assert response.headers["x-neuroroute-cache"] == "joined" and response.headers["x-neuroroute-model"] == "m"
            head = await response.content.readany()
            assert head.count(b"\n\n") >= 3 and asyncio.get_running_loop().time() - began_s < 0.1
            body = head + await response.read()
        state, first = await leader
        assert state == "miss" and text_of(first) == text_of(body)
        assert b'"choices":[]' not in first and body.count(b'"choices":[]') == 1 and body.count(b'"neuroroute"') == 1
        assert body.endswith(b"data: [DONE]\n\n") and len(up.seen) == 1


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_when_the_leader_leaves_it_goes_on_for_the_others(database_url: str, stream: bool) -> None:
    async with Upstream(answers) as up, gateway(database_url, one(up)) as gw:
        leader = asyncio.ensure_future(read(gw, stream=stream))
        await up.arrived()
        followers = [asyncio.ensure_future(read(gw, stream=stream)) for _ in range(3)]
        await asyncio.sleep(0.1)
        leader.cancel()
        found = await asyncio.gather(*followers)
        assert {state for state, _ in found} == {"joined"} and len({body for _, body in found}) == 1
        assert len(up.seen) == 1 and not up.seen[0].gone.is_set()
        rows = await gw.rows(4)
        assert sorted(row.cache for row in rows) == ["joined", "joined", "joined", "miss"]
        assert (await read(gw, stream=stream))[0] == "hit"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_when_all_leave_the_provider_is_told(database_url: str, stream: bool) -> None:
    async with Upstream() as up, gateway(database_url, one(up)) as gw:
        up.will(sse(FIRST, MORE, STALL) if stream else whole(ANSWER, delay_s=5))
        calls = [asyncio.ensure_future(read(gw, stream=stream))]
        await up.arrived()
        calls.append(asyncio.ensure_future(read(gw, stream=stream)))
        await asyncio.sleep(0.1)
        for call in calls:
            call.cancel()
            await asyncio.sleep(0.05)
        await asyncio.wait_for(up.seen[0].gone.wait(), 2)
        rows = await gw.rows(2)
        assert {(row.status, row.cache) for row in rows} == {("client_gone", "miss"), ("client_gone", "joined" if stream else "miss")}
        assert len(gw.services.flights) == 0 and gw.services.metrics.running == 0


async def test_a_providers_refusal_goes_to_all_and_is_not_kept(database_url: str) -> None:
    async with Upstream() as up, gateway(database_url, one(up)) as gw:
        step = error(400, "bad", "invalid_request_error")
        up.will(Step(step.pieces, step.status, step.headers, 0.2))

        async def refused(stream: bool) -> tuple[int, str]:
            async with gw.chat(stream=stream) as response:
                return response.status, (await response.json())["error"]["message"]

        first = asyncio.ensure_future(refused(False))
        await up.arrived()
        found = await asyncio.gather(first, refused(False), refused(True), refused(True))
        assert set(found) == {(400, "bad")} and len(up.seen) == 1
        assert all(row.cost_nanousd in (None, 0) and row.status == "error" for row in await gw.rows(4))
        up.will(whole(ANSWER))
        assert (await read(gw))[0] == "miss"


async def test_a_broken_stream_breaks_for_all_and_says_so(database_url: str) -> None:
    async with Upstream() as up, gateway(database_url, one(up)) as gw:
        up.will(sse(FIRST, MORE, 0.3, CUT))

        async def cut() -> bytes:
            async with gw.chat(stream=True) as response:
                return bytes(await response.read())

        first = asyncio.ensure_future(cut())
        await up.arrived()
        found = await asyncio.gather(first, cut(), cut())
        assert all(b'"error"' in body and b"[DONE]" not in body and b" there" in body for body in found)
        rows = await gw.rows(3)
        assert {row.status for row in rows} == {"cut"} and len(up.seen) == 1


@pytest.mark.parametrize(
    "other", [{"temperature": 0.5}, {"user": "b"}, {"neuroroute": {"policy": "x"}}, {"neuroroute": {"cache": "no-store"}}]
)
async def test_calls_that_differ_are_not_joined(database_url: str, other: dict[str, Any]) -> None:
    async with Upstream() as up, gateway(database_url, one(up)) as gw:
        up.will(whole(ANSWER, delay_s=0.2), whole(ANSWER))
        first = asyncio.ensure_future(read(gw))
        await up.arrived()
        async with gw.chat(**other) as response:
            assert response.headers["x-neuroroute-cache"] != "joined"
        await first


async def test_strangers_do_not_join(database_url: str) -> None:
    async with Upstream() as up, gateway(database_url, one(up)) as gw:
        stranger = (await gw.new_key(user_id=(await gw.new_user())["id"]))["key"]
        up.will(whole(ANSWER, delay_s=0.2), whole({**ANSWER, "id": "other"}))
        first = asyncio.ensure_future(read(gw))
        await up.arrived()
        state, body = await read(gw, key=stranger)
        assert state == "miss" and loads(body)["id"] == "other"
        assert loads((await first)[1])["id"] == ANSWER["id"] and len(up.seen) == 2
        assert (await read(gw, key=stranger, stream=True))[1].startswith(b'data: {"id":"other"')


async def test_an_admin_drops_by_model_key_and_tag_on_all_workers(database_url: str) -> None:
    async with Upstream() as up, gateway(database_url, one(up)) as gw, gateway(database_url, one(up)) as other:

        async def keep_everywhere() -> None:
            for worker in (gw, other):
                labelled: dict[str, Any]
                for labelled in ({"user": "a"}, {"user": "b", "neuroroute": {"tags": {"team": "x"}}}):
                    up.will(whole(ANSWER))
                    async with worker.chat(**labelled) as response:
                        assert response.headers["x-neuroroute-cache"] == "miss"

        async def held(worker: Gateway) -> list[bool]:
            found = []
            for user in ("a", "b"):
                async with worker.chat(user=user, neuroroute={"cache": "only"}) as response:
                    found.append(response.status == 200)
            return found

        async def dropped(query: str) -> int:
            async with gw.ask("DELETE", "/admin/cache" + query) as response:
                body = await response.json()
                assert response.status == 200 and body["object"] == "cache.dropped"
            await asyncio.sleep(0.3)
            return int(body["dropped"])

        async with gw.get("/admin/api-keys") as response:
            key_id = (await response.json())["data"][0]["id"]
        for query, count, left in (
            ("?tag=team%3Dx", 1, [True, False]), ("?model=m", 2, [False, False]), (f"?key_id={key_id}", 2, [False, False]),
            ("?model=other", 0, [True, True]), ("", 2, [False, False]),
        ):  # fmt: skip
            async with gw.ask("DELETE", "/admin/cache"):
                await asyncio.sleep(0.3)
            await keep_everywhere()
            assert await held(gw) == await held(other) == [True, True]
            assert await dropped(query) == count
            assert await held(gw) == await held(other) == left, query
        async with gw.ask("DELETE", "/admin/cache?tag=") as response:
            assert response.status == 400, "a variable that was empty forgets nothing"
        tagged = await gw.new_key(tags={"team": "y"})
        up.will(whole(ANSWER))
        async with gw.chat(key=tagged["key"], user="c") as response:
            assert response.status == 200
        assert await dropped("?tag=team%3Dy&model=") == 1, "the tags of the key are those of its answers"
        lines = await gw.database.fetch("SELECT action, target FROM audit_log WHERE action = 'cache.drop' ORDER BY id")
        assert {line["target"] for line in lines} == {"*", "model:m", "model:other", "tag:team=x", "tag:team=y", f"key:{key_id}"}


async def test_who_may_not_drop_and_what_makes_no_sense(database_url: str) -> None:
    async with Upstream() as up, gateway(database_url, one(up)) as gw:
        plain = (await gw.new_key(user_id=(await gw.new_user())["id"]))["key"]
        for query, key, status in (
            ("", plain, 403),
            ("", "", 401),
            ("?color=red", None, 400),
            ("?model=a&tag=b%3Dc", None, 400),
            ("?tag=b", None, 400),
            ("?model=", None, 400),
        ):
            async with gw.ask("DELETE", "/admin/cache" + query, key=key) as response:
                assert response.status == status, query


async def test_another_upstream_behind_the_name_voids_its_answers_and_no_others(database_url: str) -> None:
    async with Upstream() as up, gateway(database_url, one(up)) as gw:
        offer = gw.app[OFFER]

        def configured(upstream: str, alias: str) -> Layer:
            models = {"m": model("p", upstream), "n": model("p", "n-up")}
            return Layer("file", {**one(up), "models": models, "aliases": {"best": [alias]}})

        offer.take(configured("up", "m"))
        for name in ("m", "n", "best"):
            up.will(whole({**ANSWER, "id": name}))
            await read(gw, model=name)

        async def states() -> list[str]:
            found = []
            for name in ("m", "n", "best"):
                async with gw.chat(name, neuroroute={"cache": "only"}) as response:
                    found.append("hit" if response.status == 200 else "gone")
            return found

        assert await states() == ["hit", "hit", "hit"]
        offer.take(configured("up-2", "m"))
        assert await states() == ["gone", "hit", "gone"]
        offer.take(configured("up", "n"))
        assert await states() == ["hit", "hit", "gone"]


async def test_the_configuration_says_how_long_and_whose_and_may_change_its_mind(database_url: str) -> None:
    async with Upstream(lambda seen: whole(ANSWER)) as up, gateway(database_url, {**one(up), "cache": {"ttl_s": 0}}) as gw:
        second = (await gw.new_key())["key"]
        assert [(await read(gw))[0], (await read(gw))[0]] == ["miss", "miss"]
        for share, state in (("key", "miss"), ("user", "hit")):
            gw.app[OFFER].take(Layer("file", {**one(up), "cache": {"ttl_s": 60, "share": share}}))
            assert (await read(gw, user=share))[0] == "miss"
            assert (await read(gw, user=share, key=second))[0] == state
