"""Streams that outlive their client's line."""

import asyncio
from typing import Any

import pytest

from tests.flow.test_before_commit import FIRST, LAST, MORE, USED
from tests.support.gateway import gateway, model, provider
from tests.support.upstream import Upstream, error, sse

RESUMABLE = {"resumable": True}


def one(up: Upstream) -> dict[str, Any]:
    return {"providers": {"p": provider(up.base_url)}, "models": {"m": model("p", "up")}}


@pytest.mark.parametrize("shared", [False, True], ids=["same-process", "another-replica"])
async def test_a_client_comes_back_after_a_cut_line(database_url: str, redis_url: str, shared: bool) -> None:
    more = {"redis_url": redis_url} if shared else {}
    async with Upstream() as up, gateway(database_url, one(up), **more) as gw, gateway(database_url, one(up), **more) as other:
        slow = sse(FIRST, *[piece for _ in range(20) for piece in (MORE, 0.05)], LAST, USED)
        up.will(slow)
        async with gw.chat(stream=True, neuroroute=RESUMABLE) as response:
            request_id = response.headers["x-request-id"]
            head = b""
            while head.count(b"\n\n") < 4:
                head += await response.content.readany()
            response.close()
        assert b"id:" not in head.split(b"data:")[0]
        got = head.count(b"\n\n")
        await asyncio.sleep(0.3)
        async with (other if shared else gw).get(f"/v1/streams/{request_id}?after={got}") as response:
            assert response.status == 200 and response.headers["content-type"].startswith("text/event-stream")
            rest = await response.read()
        whole = head + rest
        assert whole.count(b" there") == 20 and whole.endswith(b"data: [DONE]\n\n") and b'"usage"' not in whole
        [row] = await gw.rows(1)
        assert (row.status, row.completion_tokens, row.tokens_source) == ("ok", 2, "provider") and not up.seen[0].gone.is_set()
        async with gw.get(f"/v1/streams/{request_id}") as response:
            assert await response.read() == whole


async def test_a_stream_is_its_owners_alone_and_can_be_stopped(database_url: str) -> None:
    async with Upstream() as up, gateway(database_url, one(up)) as gw:
        up.will(sse(FIRST, *[piece for _ in range(200) for piece in (MORE, 0.05)], LAST))
        stranger = (await gw.new_key(user_id=(await gw.new_user())["id"]))["key"]
        async with gw.chat(stream=True, neuroroute=RESUMABLE) as response:
            request_id = response.headers["x-request-id"]
            await response.content.readany()
            response.close()
        for method in ("GET", "DELETE"):
            async with gw.ask(method, f"/v1/streams/{request_id}", key=stranger) as response:
                assert response.status == 404
        async with gw.ask("DELETE", f"/v1/streams/{request_id}") as response:
            assert response.status == 200
        await asyncio.wait_for(up.seen[0].gone.wait(), 2)
        [row] = await gw.rows(1)
        assert row.status == "client_gone" and row.completion_tokens > 0


async def test_a_refusal_is_an_ordinary_one(database_url: str) -> None:
    async with Upstream() as up, gateway(database_url, one(up)) as gw:
        up.will(error(400, "bad", "invalid_request_error"))
        async with gw.chat(stream=True, neuroroute=RESUMABLE) as response:
            assert response.status == 400 and (await response.json())["error"]["message"] == "bad"
        async with gw.get("/v1/streams/req_nothing") as response:
            assert response.status == 404


@pytest.mark.parametrize("policy", ["cancel", "finish", "detach"])
async def test_a_keys_policy_says_what_a_cut_line_does(database_url: str, policy: str) -> None:
    async with Upstream() as up, gateway(database_url, one(up)) as gw:
        up.will(sse(FIRST, *[piece for _ in range(10) for piece in (MORE, 0.05)], LAST, USED))
        key = await gw.new_key(on_disconnect=policy)
        assert key["on_disconnect"] == policy
        async with gw.chat(stream=True, key=key["key"]) as response:
            request_id = response.headers["x-request-id"]
            await response.content.readany()
            response.close()
        [row] = await gw.rows(1)
        assert row.status == ("client_gone" if policy == "cancel" else "ok")
        async with gw.get(f"/v1/streams/{request_id}", key=key["key"]) as response:
            assert response.status == (200 if policy == "detach" else 404)
        async with gw.chat(stream=True, key=key["key"]) as response:
            assert response.headers["x-neuroroute-cache"] == ("miss" if policy == "cancel" else "hit")
            response.close()
