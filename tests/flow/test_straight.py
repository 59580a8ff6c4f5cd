"""Plain requests go past aiohttp's handlers, however their bytes arrive; what is not plain goes through them, and both answer alike."""

import asyncio
import json
import logging
from collections.abc import Container

import pytest
from aiohttp.http_parser import RawRequestMessage

from neuroroute.web.connection import WHOLE_SOON_S, EdgeHandler
from neuroroute.web.server import Edge
from neuroroute.web.sink import LineSink
from neuroroute.web.state import KEEP_ALIVE
from tests.flow.test_cache import ANSWER, one
from tests.flow.test_repeats import request
from tests.support import fakes
from tests.support.gateway import Gateway, gateway
from tests.support.http import Line, line
from tests.support.upstream import Upstream, dumps, whole

BODY = dumps({"model": "m", "messages": [{"role": "user", "content": "Hello"}], "temperature": 1})
DATA = request(BODY)
WARM = dumps({"model": "m", "messages": [{"role": "user", "content": "Hello"}]})
HEAD, _, _ = DATA.partition(b"\r\n\r\n")


class Counting:
    """What serves plain requests, counted."""

    def __init__(self, gw: Gateway) -> None:
        assert isinstance(gw.runner, Edge) and gw.runner.edge.straight is not None
        self._straight, self.count = gw.runner.edge.straight, 0
        gw.runner.edge.straight = self

    @property
    def paths(self) -> Container[str]:
        return self._straight.paths

    def at_once(self, message: RawRequestMessage, body: bytes, begun: int) -> bytes | None:
        return self._straight.at_once(message, body, begun)

    async def serve(self, line: EdgeHandler, message: RawRequestMessage, body: bytes) -> None:
        self.count += 1
        await self._straight.serve(line, message, body)


class Broken(set[LineSink]):
    """A set with a bug."""

    def discard(self, element: object) -> None:
        raise ValueError("nr_secretsecret")


async def in_pieces(to: Line, *pieces: bytes, pause_s: float = 0.0) -> tuple[int, dict[str, str], bytes]:
    for piece in pieces:
        to.write(piece)
        await asyncio.sleep(pause_s)
    return await to.read()


async def test_a_body_that_follows_its_head_is_waited_for(database_url: str) -> None:
    async with Upstream(fakes.openai) as up, gateway(database_url, one(up)) as gw, line(gw) as to:
        head, body, served = HEAD + b"\r\n\r\n", BODY, Counting(gw)
        status, _, said = await in_pieces(to, head, body[:20], body[20:], pause_s=WHOLE_SOON_S / 10)
        assert status == 200 and json.loads(said)["object"] == "chat.completion" and served.count == 1
        assert json.loads(up.seen[-1].body)["temperature"] == 1
        status, _, _ = await in_pieces(to, head, body[:20], body[20:], pause_s=WHOLE_SOON_S * 1.5)  # late: the usual way
        assert status == 200 and served.count == 1
        assert (await to.ask(DATA))[0] == 200 and served.count == 2
        assert len(await gw.rows(3)) == 3


@pytest.mark.parametrize(
    "heads",
    [
        ("Connection: close",),
        ("Expect: 100-continue",),
        ("Content-Encoding: identity",),
        ("Connection: upgrade", "Upgrade: h2c"),
        ("Connection: upgrade", "Upgrade: websocket"),
    ],
    ids=["close", "expect", "encoding", "upgrade", "websocket"],
)
async def test_what_is_not_plain_goes_the_usual_way(database_url: str, heads: tuple[str, ...]) -> None:
    async with Upstream(fakes.openai) as up, gateway(database_url, one(up)) as gw, line(gw) as to:
        served = Counting(gw)
        to.write(request(BODY, *heads))
        if heads[0].startswith("Expect"):
            assert await to.head() == "HTTP/1.1 100 Continue\r\n\r\n"
        status, _, _ = await to.read()
        assert status == 200 and served.count == (heads == ("Content-Encoding: identity",))


async def test_a_body_in_chunks_is_put_together(database_url: str) -> None:
    async with Upstream(fakes.openai) as up, gateway(database_url, one(up)) as gw, line(gw) as to:
        served, head = Counting(gw), HEAD.rpartition(b"\r\n")[0] + b"\r\nTransfer-Encoding: chunked\r\n\r\n"
        pieces = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (BODY[:9], BODY[9:], b""))
        assert (await to.ask(head + pieces))[0] == 200 and served.count == 1
        assert json.loads(up.seen[-1].body)["temperature"] == 1


async def test_who_takes_nothing_is_answered_no_further(database_url: str) -> None:
    long = {**ANSWER, "choices": [{**ANSWER["choices"][0], "message": {"role": "assistant", "content": "x" * 60_000}}]}
    async with Upstream() as up, gateway(database_url, one(up)) as gw, line(gw) as to:
        up.will(whole(long))
        assert (await to.ask(request(WARM)))[0] == (await to.ask(request(WARM)))[0] == 200
        hits, counts = 0, gw.services.cache.counts
        for _ in range(1000):
            to.write(request(WARM))
            await asyncio.sleep(0.01)
            if counts.hits == hits:
                break
            hits = counts.hits
        assert 1 < hits < 500  # 30 MB: what the sockets between hold, and no more


async def test_who_reads_slowly_but_reads_gets_all(database_url: str) -> None:
    long = {**ANSWER, "choices": [{**ANSWER["choices"][0], "message": {"role": "assistant", "content": "x" * 20_000_000}}]}
    async with Upstream() as up, gateway(database_url, one(up), slow_client_timeout_s=0.5) as gw, line(gw) as to:
        up.will(whole(long))
        to.write(DATA)
        headers = await to.head()
        left = int(headers.partition("content-length: ")[2].partition("\r\n")[0])
        began_s = asyncio.get_running_loop().time()
        while left:
            left -= len(await to.some())
            await asyncio.sleep(0.005)
        assert asyncio.get_running_loop().time() - began_s > 1.0


async def test_what_is_sent_before_the_answer_is_answered_in_order(database_url: str) -> None:
    async with Upstream(fakes.openai) as up, gateway(database_url, one(up)) as gw, line(gw) as to:
        bodies = [dumps({"model": "m", "messages": [{"role": "user", "content": f"Hello {n}"}], "max_tokens": n}) for n in range(1, 9)]
        to.write(request(bodies[0]))
        await asyncio.sleep(0.01)
        for body in bodies[1:]:
            to.write(request(body))
        assert [(await to.read())[0] for _ in bodies] == [200] * 8
        assert [row.status for row in await gw.rows(8)] == ["ok"] * 8
        assert [json.loads(seen.body)["max_tokens"] for seen in up.seen] == list(range(1, 9))


async def test_an_answer_given_while_the_server_drains_is_the_last_of_its_line(database_url: str) -> None:
    async with Upstream() as up, gateway(database_url, one(up)) as gw, line(gw) as to:
        up.will(whole(ANSWER, delay_s=0.2))
        to.write(DATA)
        await asyncio.sleep(0.1)
        edge = gw.runner
        assert isinstance(edge, Edge)
        drained = asyncio.create_task(edge.drain(5.0))
        status, headers, _ = await to.read()
        assert (status, headers["connection"]) == (200, "close") and await to.is_over()
        assert await drained


async def test_a_bug_at_the_edge_is_an_answer_with_an_id_and_the_end_of_the_line(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with Upstream(fakes.openai) as up, gateway(database_url, one(up)) as gw, line(gw) as to:
        gw.app[KEEP_ALIVE].open = Broken()
        with caplog.at_level(logging.CRITICAL):
            status, headers, said = await to.ask(DATA)
        assert (status, headers["connection"]) == (500, "close") and await to.is_over()
        [row] = await gw.rows(1)
        assert row.request_id in json.loads(said)["error"]["message"] and b"secret" not in said


async def test_the_end_of_the_server_ends_a_call_that_runs(database_url: str) -> None:
    async with Upstream() as up, gateway(database_url, one(up)) as gw, line(gw) as to:
        up.will(whole(ANSWER, delay_s=30))
        to.write(DATA)
        await asyncio.sleep(0.2)
        await gw.runner.cleanup()
        assert await to.is_over()


async def test_what_comes_after_one_that_is_not_plain_is_plain_again(database_url: str) -> None:
    async with Upstream(fakes.openai) as up, gateway(database_url, one(up)) as gw, line(gw) as to:
        served, other = Counting(gw), request(BODY, "Connection: upgrade", "Upgrade: h2c")
        up.will(whole(ANSWER, delay_s=0.2))
        for piece in (other, DATA):  # the second waits for the first
            to.write(piece)
            await asyncio.sleep(0.05)
        assert [(await to.read())[0], (await to.read())[0]] == [200, 200] and served.count == 1


async def test_the_first_request_of_a_line_is_plain_however_soon_it_comes(database_url: str) -> None:
    async with Upstream(fakes.openai) as up, gateway(database_url, one(up)) as gw:
        served = Counting(gw)
        for _ in range(5):
            async with line(gw) as to:
                assert (await to.ask(DATA))[0] == 200
        assert served.count == 5


def numbered(count: int) -> list[bytes]:
    return [request(dumps({"model": "m", "messages": [{"role": "user", "content": f"Hello {n}"}]})) for n in range(count)]


@pytest.mark.parametrize("at_once", [[1, 199], [31, 1, 8], [1, 1, 70], [40]], ids=str)
async def test_many_requests_sent_at_once_are_answered_in_order(database_url: str, at_once: list[int]) -> None:
    async with Upstream() as up, gateway(database_url, one(up)) as gw, line(gw) as to:
        requests = numbered(sum(at_once))
        for n in range(len(requests)):
            up.will(whole({**ANSWER, "id": f"a{n}"}, delay_s=0.1 if n < 2 else 0.0))
        at = 0
        for count in at_once:
            to.write(b"".join(requests[at : at + count]))
            at += count
            await asyncio.sleep(0.02)
        assert [json.loads((await to.read())[2])["id"] for _ in requests] == [f"a{n}" for n in range(len(requests))]


async def test_what_follows_a_declined_upgrade_is_answered_in_order(database_url: str) -> None:
    async with Upstream() as up, gateway(database_url, one(up)) as gw, line(gw) as to:
        _, second, third, fourth = numbered(4)
        for n, delay_s in enumerate((0.1, 0.5, 0.0, 0.0)):
            up.will(whole({**ANSWER, "id": f"a{n}"}, delay_s=delay_s))
        to.write(request(BODY, "Connection: upgrade", "Upgrade: websocket") + second)
        await asyncio.sleep(0.3)
        to.write(third)
        assert [json.loads((await to.read())[2])["id"] for _ in range(3)] == ["a0", "a1", "a2"]
        to.write(fourth)
        assert json.loads((await to.read())[2])["id"] == "a3"
