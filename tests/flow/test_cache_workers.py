"""Identical calls at two workers that share a Redis are one upstream call."""

import asyncio

import pytest

from tests.flow.test_before_commit import FIRST, LAST, MORE, USED
from tests.flow.test_cache import ANSWER, answers, one, read, text_of
from tests.support.gateway import gateway
from tests.support.relay import Relay
from tests.support.upstream import CUT, Upstream, error, sse, whole

CALLS = 60
"""Both workers, the clients and the provider share one loop here: more at once would keep it from reading Redis' answers in time."""


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_identical_calls_at_two_workers_are_one_upstream(database_url: str, redis_url: str, stream: bool) -> None:
    async with (
        Upstream(answers) as up,
        gateway(database_url, one(up), redis_url=redis_url) as gw,
        gateway(database_url, one(up), redis_url=redis_url) as other,
    ):
        found = await asyncio.gather(*(read((gw, other)[i % 2], stream=stream) for i in range(CALLS)))
        assert len(up.seen) == 1
        assert len({text_of(body) for _, body in found}) == 1 and text_of(found[0][1])
        assert [state for state, _ in found].count("miss") == 1 and {state for state, _ in found} <= {"miss", "joined", "hit"}
        await gw.services.ledger.flush()
        await other.services.ledger.flush()
        paid = await gw.database.fetch("SELECT count(*) AS n, count(*) FILTER (WHERE cost_nanousd > 0) AS paid FROM usage_records")
        assert (paid[0]["n"], paid[0]["paid"]) == (CALLS, 1)
        assert len(gw.services.flights) == len(other.services.flights) == 0


async def test_a_stream_is_followed_live_at_another_worker_and_goes_on_for_it(database_url: str, redis_url: str) -> None:
    async with (
        Upstream() as up,
        gateway(database_url, one(up), redis_url=redis_url) as gw,
        gateway(database_url, one(up), redis_url=redis_url) as other,
    ):
        up.will(sse(FIRST, *[piece for _ in range(80) for piece in (MORE, 0.05)], LAST, USED))
        leader = asyncio.ensure_future(read(gw, stream=True))
        await up.arrived()
        async with other.chat(stream=True) as response:
            assert response.headers["x-neuroroute-cache"] == "joined" and response.headers["x-neuroroute-model"] == "m"
            began_s = asyncio.get_running_loop().time()
            head = await response.content.readany()
            leader.cancel()
            body = head + await response.read()
            assert asyncio.get_running_loop().time() - began_s > 0.5
        assert text_of(body).count(" there") == 80 and body.endswith(b"data: [DONE]\n\n") and len(up.seen) == 1
        assert not up.seen[0].gone.is_set()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_an_answer_that_ends_in_a_short_outage_reaches_the_other_worker(database_url: str, redis_url: str, stream: bool) -> None:
    async with (
        Upstream() as up,
        Relay.to(redis_url) as relay,
        gateway(database_url, one(up), redis_url=relay.url) as gw,
        gateway(database_url, one(up), redis_url=redis_url) as other,
    ):
        up.will(sse(FIRST, MORE, 0.7, LAST, USED) if stream else whole(ANSWER, delay_s=0.7))
        leader = asyncio.ensure_future(read(gw, stream=stream))
        await up.arrived()
        follower = asyncio.ensure_future(read(other, stream=stream))
        await asyncio.sleep(0.5)
        await relay.refuse()
        ended = await leader
        await asyncio.sleep(0.1)
        assert ended[0] == "miss" and not follower.done()
        await relay.restore()
        assert await asyncio.wait_for(follower, 3) == ("joined", ended[1]) and len(up.seen) == 1


async def test_a_failure_at_one_worker_leaves_the_other_free_to_ask(database_url: str, redis_url: str) -> None:
    async with (
        Upstream() as up,
        gateway(database_url, one(up), redis_url=redis_url) as gw,
        gateway(database_url, one(up), redis_url=redis_url) as other,
    ):
        step = error(400, "bad", "invalid_request_error")
        up.will(type(step)(step.pieces, step.status, step.headers, 0.2), whole(ANSWER))
        first = asyncio.ensure_future(gw.chat().__aenter__())
        await up.arrived()
        assert (await read(other))[0] == "miss"
        response = await first
        assert response.status == 400
        response.close()


async def test_a_stream_that_breaks_breaks_at_the_other_worker_too(database_url: str, redis_url: str) -> None:
    async with (
        Upstream() as up,
        gateway(database_url, one(up), redis_url=redis_url) as gw,
        gateway(database_url, one(up), redis_url=redis_url) as other,
    ):
        up.will(sse(FIRST, MORE, 0.8, CUT))

        async def cut(worker: object) -> bytes:
            async with worker.chat(stream=True) as response:  # type: ignore[attr-defined]
                return bytes(await response.read())

        first = asyncio.ensure_future(cut(gw))
        await up.arrived()
        found = await asyncio.gather(first, cut(other))
        assert all(b'"error"' in body and b"[DONE]" not in body and b" there" in body for body in found)
        assert len(up.seen) == 1
