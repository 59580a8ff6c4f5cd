"""Alerts of a whole gateway: calls fail, people are told, the API shows it, somebody takes care of it, and it ends."""

import asyncio
from typing import Any

from neuroroute.core.types import Role
from neuroroute.store.audit import AuditLog
from neuroroute.web.state import WATCH
from tests.support import fakes
from tests.support.gateway import Gateway, gateway, model, provider
from tests.support.relay import Relay
from tests.support.upstream import Upstream, error, whole

RULES = [
    {"rule": "error_rate", "above": 50, "below": 49, "for_s": 0, "window_s": 3600, "min_calls": 2},
    {"rule": "provider_down", "enabled": False},
    {"rule": "cpu", "enabled": False},
]


def config(upstream: Upstream, receiver: Upstream | None = None, **fields: Any) -> dict[str, Any]:
    hook = {} if receiver is None else {"alert_webhook": {"url": receiver.url + "/hook", "secret": "shared secret"}}
    return {"providers": {"p": provider(upstream.url + "/v1")}, "models": {"m": model("p")}, "alerts": RULES, **hook, **fields}


async def listed(gw: Gateway, query: str = "", key: str | None = None) -> Any:
    async with gw.get("/admin/alerts" + query, key=key) as response:
        body = await response.json()
        assert response.status == 200, body
        return body


async def fail(gw: Gateway, upstream: Upstream, times: int = 3) -> None:
    upstream.auto = lambda seen: error(500)
    for _ in range(times):
        async with gw.chat() as response:
            assert response.status >= 500


async def until_fires(gw: Gateway, names: set[str]) -> Any:
    async with asyncio.timeout(15):
        while True:
            await gw.app[WATCH].round()
            found = await listed(gw, "?state=firing")
            if {row["name"] for row in found["data"]} == names:
                return found
            await asyncio.sleep(0.05)


async def test_from_the_failing_call_to_the_acknowledgement(database_url: str) -> None:
    async with Upstream() as upstream, Upstream() as receiver:
        receiver.will(*[whole({})] * 10)
        async with gateway(database_url, config(upstream, receiver), breaker_open_s=1.0, upstream_max_retries=0) as gw:
            await gw.app[WATCH].round()
            await fail(gw, upstream)
            found = await until_fires(gw, {"error_rate"})
            [alert] = found["data"]
            assert (alert["state"], alert["rule"], alert["value"], alert["above"], alert["unit"]) == ("firing", "error_rate", 100, 50, "%")
            assert found["complete"] and found["judged_at"] and (found["total"], found["page"], found["pages"]) == (1, 1, 1)
            await gw.app[WATCH].round()  # how the rules stand is written with the next look
            rules = {rule["name"]: rule for rule in (await listed(gw))["rules"]}
            assert rules["error_rate"]["state"] == "firing" and "cpu" not in rules and rules["memory"]["subjects"][0]["value"] > 0
            async with asyncio.timeout(5):
                while not receiver.seen:
                    await asyncio.sleep(0.01)
            assert receiver.seen[0].path == "/hook" and receiver.seen[0].headers["x-neuroroute-signature"].startswith("v1=")
            async with gw.get("/metrics") as response:
                assert 'neuroroute_alerts_firing{rule="error_rate"} 1.0' in await response.text()
            async with gw.post(f"/admin/alerts/{alert['id']}/acknowledge") as response:
                taken = await response.json()
                assert response.status == 200 and taken["acknowledged_by"] and taken["acknowledged_at"]
            upstream.auto = fakes.openai
            await asyncio.sleep(1.1)  # the breaker of the model lets a call through again
            for _ in range(12):
                async with gw.chat() as response:
                    await response.read()
            await until_fires(gw, set())
            [over] = (await listed(gw, "?state=resolved"))["data"]
            assert over["id"] == alert["id"] and over["resolved_at"] > over["fired_at"] and over["acknowledged_by"] and over["told_at"]
            async with asyncio.timeout(5):
                while len(receiver.seen) < 2:
                    await asyncio.sleep(0.01)
            assert [seen.json["event"] for seen in receiver.seen] == ["firing", "resolved"]
            found, _ = await AuditLog(gw.database).page(action="alert.acknowledge")
            assert [entry.target for entry in found] == [alert["id"]]


async def test_who_may_see_and_who_may_acknowledge(database_url: str) -> None:
    async with Upstream() as upstream, gateway(database_url, config(upstream)) as gw:
        keys = {}
        for role in (Role.VIEWER, Role.USER):
            user = await gw.new_user(role)
            keys[role] = (await gw.new_key(user_id=user["id"]))["key"]
        await listed(gw, key=keys[Role.VIEWER])
        async with gw.get("/admin/alerts", key=keys[Role.USER]) as response:
            assert response.status == 403
        async with gw.post("/admin/alerts/alr_x/acknowledge", key=keys[Role.VIEWER]) as response:
            assert response.status == 403
        async with gw.post("/admin/alerts/alr_x/acknowledge") as response:
            assert response.status == 404 and (await response.json())["error"]["code"] == "not_found"
        for query, param in (("?state=bad", "state"), ("?rule=x", "rule"), ("?limit=0", "limit"), ("?name=" + "x" * 200, "name")):
            async with gw.get("/admin/alerts" + query) as response:
                body = await response.json()
                assert response.status == 400 and body["error"]["param"] == param


async def test_without_the_database_the_api_says_what_this_process_knows(database_url: str) -> None:
    async with Upstream() as upstream, Relay.to(database_url) as relay, gateway(relay.url, config(upstream)) as gw:
        await gw.app[WATCH].round()
        await fail(gw, upstream)
        await until_fires(gw, {"error_rate"})
        await relay.refuse()
        found = await listed(gw)
        assert found["complete"] is False and [alert["name"] for alert in found["data"]] == ["error_rate"]
        assert (await listed(gw, "?state=resolved"))["data"] == [] == (await listed(gw, "?page=2"))["data"]
        await relay.restore()
