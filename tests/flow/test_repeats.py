"""A request that comes again byte by byte takes the short way, and nothing that holds for a call is skipped on it."""

import asyncio
import contextlib
from typing import Any

import aiohttp

from neuroroute.chain.repeats import KNOWN_BYTES, SHARE
from neuroroute.core.config import Layer
from neuroroute.core.jsonbytes import dumps, loads
from neuroroute.store.usage import UsageRecord
from neuroroute.web.server import Edge
from neuroroute.web.state import OFFER, REPEATS
from tests.flow.test_cache import ANSWER, one
from tests.support.gateway import ADMIN_KEY, HELLO, gateway
from tests.support.http import Line, line
from tests.support.upstream import Upstream, whole

BODY = dumps({"model": "m", "messages": HELLO})


def went_short(row: UsageRecord) -> bool:
    """The usual way has a lap for each of its stages."""
    assert row.decision is not None
    return [name for name, _ in row.decision["stages"]] == ["cache"]


def request(body: bytes = BODY, *heads: str, key: str = ADMIN_KEY) -> bytes:
    lines = [
        "POST /v1/chat/completions HTTP/1.1",
        "Host: gateway",
        f"Authorization: Bearer {key}",
        "Content-Type: application/json",
        *heads,
    ]
    return ("\r\n".join([*lines, f"Content-Length: {len(body)}"]) + "\r\n\r\n").encode() + body


async def warm(to: Line, up: Upstream, data: bytes | None = None, answer: Any = ANSWER) -> tuple[dict[str, str], bytes]:
    """Ask until the request is one that came before; its last answer, of the usual way."""
    up.will(whole(answer))
    for state in ("miss", "hit"):
        status, headers, body = await to.ask(data or request())
        assert (status, headers["x-neuroroute-cache"]) == (200, state), body
    return headers, body


async def test_the_same_answer_with_an_id_and_a_row_of_its_own(database_url: str) -> None:
    async with Upstream() as up, gateway(database_url, one(up), rate_limit_max=100) as gw, line(gw) as to:
        usual, body = await warm(to, up)
        short = [await to.ask(request()) for _ in range(3)]
        assert {(status, said) for status, _, said in short} == {(200, body)} and loads(body)["id"] == ANSWER["id"]
        rows = await gw.rows(5)
        assert [went_short(row) for row in rows] == [False, False, True, True, True]
        assert [row.request_id for row in rows[2:]] == [headers["x-request-id"] for _, headers, _ in short]
        differing = {"x-request-id", "x-neuroroute-overhead-ms", "x-ratelimit-remaining-requests", "date"}
        for _, headers, _ in short:
            assert headers.keys() == usual.keys()
            assert {name for name in usual if headers[name] != usual[name]} <= differing
        assert [headers["x-ratelimit-remaining-requests"] for _, headers, _ in short] == ["97", "96", "95"]
        differing_columns = {"request_id", "created_at", "latency_ms", "overhead_ms", "ttft_ms", "decision"}
        columns = [name for name in UsageRecord.__slots__ if name not in differing_columns and not name.startswith("_")]
        assert {name: getattr(rows[2], name) for name in columns} == {name: getattr(rows[1], name) for name in columns}
        assert len(up.seen) == 1 and gw.services.cache.counts.hits == 4


async def test_what_differs_by_one_byte_goes_the_usual_way(database_url: str) -> None:
    async with Upstream() as up, gateway(database_url, one(up)) as gw, line(gw) as to:
        await warm(to, up)
        other_key = (await gw.new_key())["key"]
        up.will(whole(ANSWER))
        for data in (request(BODY + b" "), request(BODY, "x-neuroroute-tags: team=a"), request(key=other_key)):
            assert (await to.ask(data))[0] == 200
        rows = (await gw.rows(5))[2:]
        assert not any(map(went_short, rows))
        assert [row.cache for row in rows] == ["hit", "hit", "hit"] and rows[1].tags == {"team": "a"}  # both keys are one user's
        assert rows[2].key_id != rows[1].key_id


async def test_keys_limits_and_drops_hold_on_it(database_url: str) -> None:
    async with Upstream() as up, gateway(database_url, one(up)) as gw, line(gw) as to:
        made = await gw.new_key(limits={"requests_per_minute": 4})
        mine = request(key=made["key"])
        await warm(to, up, mine)
        assert [(await to.ask(mine))[0] for _ in range(3)] == [200, 200, 429]
        assert [went_short(row) for row in (await gw.rows(5))] == [False, False, True, True, False]
        for _ in range(2):
            assert (await to.ask(request()))[0] == 200
        async with gw.ask("DELETE", "/admin/cache") as response:
            assert response.status == 200
        up.will(whole({**ANSWER, "id": "chatcmpl-8"}))
        status, headers, body = await to.ask(request())
        assert (status, headers["x-neuroroute-cache"], loads(body)["id"]) == (200, "miss", "chatcmpl-8")
        async with gw.ask("DELETE", f"/admin/api-keys/{made['id']}") as response:
            assert response.status in (200, 204)
        for _ in range(100):  # each process hears of it
            if (status := (await to.ask(mine))[0]) == 401:
                break
            await asyncio.sleep(0.01)
        assert status == 401


async def test_another_catalogue_is_asked_anew(database_url: str) -> None:
    async with Upstream() as up, Upstream() as other, gateway(database_url, one(up)) as gw, line(gw) as to:
        await warm(to, up)
        gw.app[OFFER].take(Layer("file", one(other)))
        other.will(whole({**ANSWER, "id": "chatcmpl-other"}))
        status, headers, body = await to.ask(request())
        assert (status, headers["x-neuroroute-cache"], loads(body)["id"]) == (200, "miss", "chatcmpl-other")


async def test_requests_one_after_another_on_one_line(database_url: str) -> None:
    """Several in one piece, one in two pieces, the short way and the usual one in turn: each is answered once and in order."""
    async with Upstream() as up, gateway(database_url, one(up)) as gw, line(gw) as to:
        await warm(to, up)
        other = request(dumps({"model": "nobody", "messages": HELLO}))
        to.write(request() + other + request())
        assert [(await to.read())[0] for _ in range(3)] == [200, 404, 200]
        whole_request = request()
        to.write(whole_request[:-10])
        await asyncio.sleep(0.05)
        assert (await to.ask(whole_request[-10:]))[0] == 200
        for data, status in ((request(), 200), (other, 404), (request(), 200)):
            assert (await to.ask(data))[0] == status
        closing = request(BODY, "Connection: close")
        assert (await to.ask(closing))[1]["connection"] == "close" and await to.is_over()


async def test_many_lines_at_once_and_some_that_leave(database_url: str) -> None:
    async with Upstream() as up, gateway(database_url, one(up)) as gw, line(gw) as to:
        await warm(to, up)
        async with contextlib.AsyncExitStack() as stack:
            lines = [await stack.enter_async_context(line(gw)) for _ in range(20)]
            for _ in range(5):
                answers = await asyncio.gather(*[one_line.ask(request()) for one_line in lines])
                assert {(status, body) for status, _, body in answers} == {(200, answers[0][2])}
                assert len({headers["x-request-id"] for _, headers, _ in answers}) == 20
            for one_line in lines[:10]:
                one_line.write(request())
        await gw.services.ledger.flush()
        assert (await to.ask(request()))[0] == 200


async def test_a_draining_server_says_close(database_url: str) -> None:
    async with Upstream() as up, gateway(database_url, one(up)) as gw, line(gw) as to:
        await warm(to, up)
        assert isinstance(gw.runner, Edge)
        gw.runner.say_close()
        assert (await to.ask(request()))[1]["connection"] == "close" and await to.is_over()


async def test_nothing_is_remembered_of_what_has_wishes(database_url: str) -> None:
    async with Upstream() as up, gateway(database_url, one(up)) as gw:
        up.will(whole(ANSWER))
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {gw.key}"}) as http:
            for body in (
                {"model": "m", "messages": HELLO, "neuroroute": {"explain": True}},
                {"model": "m", "messages": HELLO, "stream": True},
            ):
                for _ in range(3):
                    async with http.post(gw.url + "/v1/chat/completions", json=body) as response:
                        assert response.status == 200
                        await response.read()
        assert len(gw.app[REPEATS]) == 0


async def test_a_key_that_is_held_to_its_places_shows_them_each_time(database_url: str) -> None:
    async with Upstream() as up, gateway(database_url, one(up)) as gw, line(gw) as to:
        made = await gw.new_key(allowed_ips=["127.0.0.0/8"])
        mine = request(key=made["key"])
        await warm(to, up, mine)
        assert (await to.ask(mine))[0] == 200
        assert not went_short((await gw.rows(3))[-1]) and len(gw.app[REPEATS]) == 0


async def test_no_more_are_remembered_than_their_share_of_the_memory_holds(database_url: str) -> None:
    async with Upstream() as up, gateway(database_url, one(up), cache_max_bytes=4 * SHARE * KNOWN_BYTES) as gw, line(gw) as to:
        for n in range(6):
            await warm(to, up, request(dumps({"model": "m", "messages": [{"role": "user", "content": f"question {n}"}]})))
        assert len(gw.app[REPEATS]) == 4
