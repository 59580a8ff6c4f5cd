"""Postgres or Redis refused and hung: known keys are served, nothing is lost, everything comes back alone."""

import asyncio
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from neuroroute.core.ids import new_key
from tests.support import fakes
from tests.support.gateway import Gateway, gateway, model, provider
from tests.support.relay import Relay
from tests.support.upstream import Upstream


def one(up: Upstream) -> dict[str, Any]:
    return {"providers": {"p": provider(up.base_url)}, "models": {"m": model("p", "gpt-4o")}}


async def timed(gw: Gateway, key: str | None = None, **fields: Any) -> tuple[int, float]:
    began_s = asyncio.get_running_loop().time()
    async with gw.chat(key=key, **fields) as response:
        await response.read()
        return response.status, asyncio.get_running_loop().time() - began_s


@pytest.mark.parametrize("how", ["refuse", "hang"])
async def test_without_the_database_known_keys_are_served_and_no_row_is_lost(database_url: str, how: str) -> None:
    async with Upstream(fakes.openai) as up, Relay.to(database_url) as relay, gateway(relay.url, one(up)) as gw:
        assert (await timed(gw, seed=0))[0] == 200
        await gw.rows(1)
        await (relay.refuse() if how == "refuse" else _now(relay.hang))
        for n in range(1, 6):
            status, took_s = await timed(gw, seed=n)
            assert status == 200 and took_s < 0.25
        status, took_s = await timed(gw, new_key())
        assert status == 503 and took_s < 1.2
        assert (await timed(gw, "not-a-key"))[0] == 401
        async with gw.post("/admin/users", {"name": "x"}) as response:
            assert response.status == 503, await response.text()
        async with gw.get("/health") as response:
            assert response.status == 200 and (await response.json())["status"] == "degraded"
        await relay.restore()
        rows = await gw.rows(6, within_s=15)
        assert {row.status for row in rows} == {"ok"}
        async with gw.post("/admin/users", {"name": "x"}) as response:
            assert response.status == 201


async def _now(do: Any) -> None:
    result = do()
    if result is not None:
        await result


async def test_starts_from_the_snapshot_with_the_database_away(database_url: str, tmp_path: Path) -> None:
    async with Upstream(fakes.openai) as up:
        async with Relay.to(database_url) as relay:
            async with gateway(relay.url, one(up), data_dir=tmp_path) as gw:
                assert (await timed(gw))[0] == 200
                revoked = await gw.new_key()
                async with gw.ask("DELETE", f"/admin/api-keys/{revoked['id']}") as response:
                    assert response.status == 200
                await asyncio.sleep(0.8)  # the snapshot is written a moment after a change
            away = relay.url
        async with gateway(away, one(up), data_dir=tmp_path, admin=False) as gw:
            assert (await timed(gw))[0] == 200
            assert (await timed(gw, revoked["key"]))[0] in (401, 503)
            assert (await timed(gw, new_key()))[0] == 503


@pytest.mark.parametrize("how", ["refuse", "hang"])
async def test_without_redis_limits_hold_and_calls_flow(database_url: str, redis_url: str, how: str) -> None:
    async with (
        Upstream(fakes.openai) as up,
        Relay.to(redis_url) as relay,
        gateway(database_url, one(up), redis_url=relay.url, rate_limit_max=20, rate_limit_window=60_000) as gw,
    ):
        for n in range(5):
            assert (await timed(gw, seed=n))[0] == 200
        await (relay.refuse() if how == "refuse" else _now(relay.hang))
        seen = [await timed(gw, seed=n) for n in range(5, 40)]
        assert {status for status, _ in seen} <= {200, 429}
        assert 10 <= sum(status == 200 for status, _ in seen) <= 20
        assert max(took_s for _, took_s in seen) < 0.3
        await relay.restore()


async def test_while_redis_is_silent_most_calls_wait_for_nothing(database_url: str, redis_url: str) -> None:
    async with Upstream(fakes.openai) as up, Relay.to(redis_url) as relay, gateway(database_url, one(up), redis_url=relay.url) as gw:
        usual = [(await timed(gw, seed=n))[1] for n in range(11)]
        relay.hang()
        silent = [(await timed(gw, seed=n))[1] for n in range(100, 120)]
        assert median(silent) < median(usual) + 0.015
        await relay.restore()


async def test_the_metrics_know_that_the_store_of_the_cache_is_away(database_url: str, redis_url: str) -> None:
    """Without any limit nobody but the cache asks it."""
    async with Upstream(fakes.openai) as up, Relay.to(redis_url) as relay, gateway(database_url, one(up), redis_url=relay.url) as gw:

        async def shown() -> dict[str, float]:
            async with gw.get("/metrics") as response:
                lines = [line.split(" ") for line in (await response.text()).splitlines() if line.startswith("neuroroute_shared_store_")]
            return {name: float(value) for name, value in lines}

        assert (await timed(gw, seed=1))[0] == 200
        assert await shown() == {"neuroroute_shared_store_away": 0.0, "neuroroute_shared_store_failures_total": 0.0}
        await relay.refuse()
        for n in range(2, 6):
            assert (await timed(gw, seed=n))[0] == 200
        found = await shown()
        assert found["neuroroute_shared_store_away"] == 1.0 and found["neuroroute_shared_store_failures_total"] >= 1.0


async def test_a_revoked_key_is_refused_by_every_replica_within_a_second(database_url: str) -> None:
    async with Upstream(fakes.openai) as up, gateway(database_url, one(up)) as first, gateway(database_url, one(up)) as second:
        key = await first.new_key()
        for gw in (first, second):
            assert (await timed(gw, key["key"]))[0] == 200
        async with first.ask("DELETE", f"/admin/api-keys/{key['id']}") as response:
            assert response.status == 200
        await asyncio.sleep(0.5)
        for gw in (first, second):
            assert (await timed(gw, key["key"]))[0] == 401


async def test_a_disabled_user_is_refused_and_the_last_admin_stays(database_url: str) -> None:
    async with Upstream(fakes.openai) as up, gateway(database_url, one(up)) as gw:
        user = await gw.new_user()
        key = await gw.new_key(user_id=user["id"])
        assert (await timed(gw, key["key"]))[0] == 200
        async with gw.ask("PUT", f"/admin/users/{user['id']}", {"status": "disabled"}) as response:
            assert response.status == 200
        await asyncio.sleep(0.3)
        assert (await timed(gw, key["key"]))[0] == 401
        async with gw.get("/admin/users?role=admin") as response:
            [admin] = (await response.json())["data"]
        for change in ({"role": "user"}, {"status": "disabled"}):
            async with gw.ask("PUT", f"/admin/users/{admin['id']}", change) as response:
                assert response.status == 409
        async with gw.ask("DELETE", f"/admin/users/{admin['id']}") as response:
            assert response.status == 409
