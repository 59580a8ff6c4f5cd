"""Streams that outlive their client's line."""

import asyncio
from typing import Any

import aiohttp
import pytest

from neuroroute.chain import tapes
from neuroroute.chain.tapes import Tape
from neuroroute.chain.tapes_shared import Copy, Reading
from neuroroute.core.errors import StreamCut
from neuroroute.store.kv_redis import RedisKV
from neuroroute.store.postgres import Database
from neuroroute.store.usage import Usage, UsageFilter
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


async def test_a_stream_that_is_left_running_is_on_the_books_when_the_gateway_ends(database_url: str) -> None:
    """What runs on without its client is waited for in a drain, and settled in any case."""
    async with Upstream() as up:
        async with gateway(database_url, one(up)) as gw:
            up.will(*[sse(FIRST, *[piece for _ in range(pieces) for piece in (MORE, 0.05)], LAST, USED) for pieces in (10, 600)])
            key = (await gw.new_key(on_disconnect="finish"))["key"]
            for number in (1, 2):
                async with gw.chat(stream=True, key=key, seed=number) as response:
                    await response.content.readany()
                    response.close()
                assert await gw.services.tapes.drain(3.0) is (number == 1)
        async with Database(database_url) as database:
            rows, _ = await Usage(database).page(UsageFilter())
        assert [row.status for row in rows] == ["client_gone", "ok"] and all(row.completion_tokens > 0 for row in rows)


async def test_of_a_long_stream_the_beginning_is_forgotten_and_its_reader_misses_nothing(database_url: str) -> None:
    events = tapes.TAPE_BYTES // 100_000 * 2
    piece = {**MORE, "choices": [{"index": 0, "delta": {"content": "y" * 100_000}, "finish_reason": None}]}
    async with Upstream() as up, gateway(database_url, one(up)) as gw:
        up.will(sse(FIRST, *[piece] * events, LAST, USED))
        async with gw.chat(stream=True, neuroroute=RESUMABLE) as response:
            request_id = response.headers["x-request-id"]
            text = await response.read()
            assert text.count(b"y" * 100_000) == events and text.endswith(b"data: [DONE]\n\n")
        tape = await gw.services.tapes.find(request_id, (await gw.rows(1))[0].user_id)
        assert tape.size_bytes <= tapes.TAPE_BYTES and tape.forgotten > 0 and tape.known == text.count(b"\n\n")
        async with gw.get(f"/v1/streams/{request_id}?after={tape.known - 2}") as response:
            assert (await response.read()).endswith(b"data: [DONE]\n\n")
        with pytest.raises(aiohttp.ClientError):
            async with gw.get(f"/v1/streams/{request_id}") as response:
                await response.read()


async def test_a_reading_of_another_workers_tape_goes_on_over_what_was_forgotten() -> None:
    theirs, ours = Tape("req_1", "usr_1"), Tape("req_1", "usr_1")
    await theirs.write(b"".join(b"data: %d\n\n" % number for number in range(10)))
    await ours.take(theirs)
    assert ours.known == 10
    theirs._forget(8)
    await theirs.write(b"data: 10\n\n")
    await ours.take(theirs)
    assert (ours.forgotten, ours.known, ours.events[-1]) == (0, 11, b"data: 10\n\n")
    late = Tape("req_1", "usr_1")
    await late.take(theirs)
    await theirs.end()
    await late.take(theirs)
    assert [piece async for piece in late.follow(9)] == [b"data: 9\n\ndata: 10\n\n"]
    with pytest.raises(StreamCut):
        [piece async for piece in late.follow(7)]


async def test_a_copy_carries_what_is_new_alone_and_is_never_larger_than_the_tape(redis_url: str) -> None:
    kv = RedisKV(redis_url, timeout_s=2.0)
    tape, copy, reading = Tape("req_1", "usr_1"), Copy("req_1", kv), Reading("req_1", kv)
    await tape.start({"x": "y"})
    got: list[bytes] = []
    for number in range(100):
        await tape.write(b"data: %03d\n\n" % number)
        assert await copy.write(tape)
        if number % 7 == 0:
            news = await reading.news()
            assert news is not None and news.forgotten == len(got) and dict(news.headers) == {"x": "y"}
            got += news.events
    assert copy.sent_bytes == tape.size_bytes == 1100
    tape._forget(60)
    await tape.write(b"data: 100\n\n")
    await tape.end()
    assert await copy.write(tape)
    late = Reading("req_1", kv)
    news = await late.news()
    assert news is not None and news.done and news.forgotten == 60 and news.events == tape.events
    assert copy.sent_bytes == 1100 + tape.size_bytes
    assert await kv.get("stream:{req_1}:0") is None and await kv.get_from("stream:{req_1}:1", 0) == b"".join(tape.events)
    await kv.close()
