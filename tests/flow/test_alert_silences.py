"""Silences: what fires is shown, nobody is told, and what still fires afterwards is told then."""

import asyncio
from typing import Any

from neuroroute.core.types import Role
from neuroroute.web.state import WATCH
from tests.flow.test_alerts_told import config, fail, listed, until_fires
from tests.support import fakes
from tests.support.gateway import ADMIN_KEY, Gateway, gateway
from tests.support.upstream import Upstream, whole
from tests.web.test_dashboard_pages import Browser


async def ask(gw: Gateway, method: str, path: str, body: Any = None, **options: Any) -> tuple[int, Any]:
    async with gw.ask(method, "/admin/alerts/silences" + path, body, **options) as response:
        return response.status, await response.json()


async def test_a_silence_holds_the_webhook_and_its_end_lets_it_speak(database_url: str) -> None:
    async with Upstream() as upstream, Upstream() as receiver:
        receiver.will(*[whole({})] * 10)
        async with gateway(database_url, config(upstream, receiver), upstream_max_retries=0) as gw:
            status, made = await ask(gw, "POST", "", {"name": "error_rate", "for_s": 3600, "comment": "we know"})
            assert status == 201 and made["id"].startswith("sil_") and made["created_by"]
            await gw.app[WATCH].round()
            await fail(gw, upstream)
            [alert] = (await until_fires(gw, {"error_rate"}))["data"]
            assert alert["silenced_until"] == made["until"] and alert["told_at"] is None
            await asyncio.sleep(0.3)
            assert receiver.seen == []
            assert [one["id"] for one in (await ask(gw, "GET", ""))[1]["data"]] == [made["id"]]
            assert (await ask(gw, "DELETE", "/" + made["id"]))[0] == 200
            assert (await ask(gw, "DELETE", "/" + made["id"]))[0] == 404
            async with asyncio.timeout(10):
                while not receiver.seen:
                    await gw.app[WATCH].round()
                    await asyncio.sleep(0.05)
            assert receiver.seen[0].json["event"] == "firing"
            assert (await listed(gw))["data"][0]["silenced_until"] is None
            async with gw.get("/admin/audit-log") as response:
                actions = [line["action"] for line in (await response.json())["data"]]
            assert {"alert.silence", "alert.unsilence"} <= set(actions)


async def test_what_nobody_was_told_of_is_not_told_to_be_over(database_url: str) -> None:
    async with Upstream() as upstream, Upstream() as receiver:
        receiver.will(*[whole({})] * 10)
        async with gateway(database_url, config(upstream, receiver), upstream_max_retries=0, breaker_open_s=0.5) as gw:
            await ask(gw, "POST", "", {"for_s": 600})
            await gw.app[WATCH].round()
            await fail(gw, upstream)
            await until_fires(gw, {"error_rate"})
            upstream.auto = fakes.openai
            await asyncio.sleep(0.6)  # the breaker lets a call through again
            for _ in range(12):
                async with gw.chat() as response:
                    await response.read()
            await until_fires(gw, set())
            await asyncio.sleep(0.3)
            assert receiver.seen == []


async def test_what_is_wrong_and_who_may(database_url: str) -> None:
    async with gateway(database_url) as gw:
        for body, param in (
            ({"for_s": 5}, "for_s"),
            ({}, "for_s"),
            ({"name": "nothing", "for_s": 60}, "name"),
            ({"for_s": 60, "x": 1}, "x"),
        ):
            status, answer = await ask(gw, "POST", "", body)
            assert (status, answer["error"]["param"]) == (400, param), answer
        for role, may_see in ((Role.VIEWER, 200), (Role.USER, 403)):
            key = (await gw.new_key(user_id=(await gw.new_user(role))["id"]))["key"]
            assert (await ask(gw, "GET", "", key=key))[0] == may_see
            assert (await ask(gw, "POST", "", {"for_s": 60}, key=key))[0] == 403


async def test_on_the_page(database_url: str) -> None:
    async with gateway(database_url) as gw, Browser(gw) as browser:
        await browser.sign_in(ADMIN_KEY)
        place = "/dashboard/alerts"
        assert (await browser.send(place, place + "/silences", name="memory", for_s="3600", comment="<i>tonight</i>"))[0] == 303
        _, text, _ = await browser.get(place)
        assert "<strong>memory</strong>" in text and "&lt;i&gt;tonight" in text
        status, text, _ = await browser.send(place, place + "/silences", name="nothing", for_s="3600")
        assert status == 400 and "There is no rule" in text
        [made] = (await ask(gw, "GET", ""))[1]["data"]
        assert (await browser.send(place, f"{place}/silences/{made['id']}/end"))[0] == 303
        assert (await ask(gw, "GET", ""))[1]["total"] == 0
