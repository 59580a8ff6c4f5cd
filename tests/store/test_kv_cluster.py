"""Redis as a real cluster of three: keys find their nodes, slots move, a node goes; and gateways share through it what they share."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from neuroroute.limits.leases import Leases
from neuroroute.limits.rate import Check, Limiter
from neuroroute.store.kv import KVAway
from neuroroute.store.kv_cluster import RedisStore, slot_of
from tests.support.cluster import NODES, Cluster, redis_cluster
from tests.support.gateway import gateway

SUM = "local s = 0 for _, k in ipairs(KEYS) do s = s + redis.call('INCRBY', k, ARGV[1]) end return {s, #KEYS}"


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    with redis_cluster() as made:
        yield made


@pytest.fixture
def cluster(running: Cluster) -> Cluster:
    for node in range(NODES):
        running.tell(node, "FLUSHALL")
    return running


@pytest.fixture(params=["redis", "redis+cluster"])
async def store(request, cluster: Cluster) -> AsyncIterator[RedisStore]:
    made = RedisStore(cluster.url if request.param == "redis" else cluster.cluster_url, timeout_s=2.0)
    yield made
    await made.close()


def test_slots_are_those_of_the_servers(cluster):
    for key in ("a", "nr:{limits}marker", "nr:{}x", "{a}{b}", "x{y", "ünïcode", "", "nr:cache:00ff"):
        assert slot_of(key) == int(cluster.tell(0, "CLUSTER", "KEYSLOT", key)), key


async def test_each_key_finds_its_node_and_nobody_asks_twice(store, cluster):
    keys = [f"k{number}" for number in range(90)]
    for key in keys:
        await store.set(key, key.encode(), 60)
    assert store.is_cluster and min(cluster.sizes()) > 10 and sum(cluster.sizes()) == 90
    sent_on = cluster.sent_on()
    assert [await store.get(key) for key in keys] == [key.encode() for key in keys]
    assert cluster.sent_on() == sent_on
    assert await store.delete(*keys[:50], "none") == 50 and sum(cluster.sizes()) == 40
    await store.ping()


async def test_a_script_runs_where_its_keys_are_and_is_learned_by_each_node(store):
    for tag in "abcdefgh":
        assert await store.run(SUM, [f"{{{tag}}}1", f"{{{tag}}}2"], [3]) == [6, 2]
        assert await store.run(SUM, [f"{{{tag}}}1", f"{{{tag}}}2"], [1]) == [8, 2]


async def test_a_slot_that_moves_is_followed_before_and_after(cluster):
    """What is asked meanwhile is answered by whom the key is with (ASK), later by the new owner (MOVED)."""
    store = RedisStore(cluster.url, timeout_s=2.0)
    key = next(f"m{number}" for number in range(100) if cluster.owner(slot_of(f"nr:m{number}")) == 0)
    slot = slot_of(f"nr:{key}")
    await store.set(key, b"old", 60)
    here, there = cluster.id_of(0), cluster.id_of(1)
    cluster.tell(1, "CLUSTER", "SETSLOT", slot, "IMPORTING", here)
    cluster.tell(0, "CLUSTER", "SETSLOT", slot, "MIGRATING", there)
    assert await store.get(key) == b"old"
    cluster.tell(0, "MIGRATE", "127.0.0.1", cluster.ports[1], f"nr:{key}", 0, 5000)
    assert await store.get(key) == b"old"  # by ASK
    await store.set(key, b"new", 60)
    for node in (1, 0, 2):
        cluster.tell(node, "CLUSTER", "SETSLOT", slot, "NODE", there)
    assert await store.get(key) == b"new"  # by MOVED
    await store.delete(key)
    for node in (0, 1, 2):
        cluster.tell(node, "CLUSTER", "SETSLOT", slot, "NODE", here)
    await store.set(key, b"back", 60)
    assert await store.get(key) == b"back"
    await store.close()


async def test_a_node_that_hangs_costs_its_own_keys_alone(cluster):
    store = RedisStore(cluster.cluster_url, timeout_s=0.3)
    keys = [f"h{number}" for number in range(60)]
    for key in keys:
        await store.set(key, b"v", 60)
    os.kill(cluster.processes[2].pid, signal.SIGSTOP)
    try:
        lost = 0
        began = time.monotonic()
        for key in keys:
            try:
                assert await store.get(key) == b"v"
            except KVAway:
                lost += 1
                assert cluster.owner(slot_of(f"nr:{key}")) == 2
        assert 0 < lost < 40 and time.monotonic() - began < 5
        with pytest.raises(KVAway):
            await store.ping()
    finally:
        os.kill(cluster.processes[2].pid, signal.SIGCONT)
    async with asyncio.timeout(20):
        for key in keys:
            while True:
                try:
                    assert await store.get(key) == b"v"
                    break
                except KVAway:
                    await asyncio.sleep(0.1)
    await store.close()


async def test_limits_hold_over_processes_through_a_cluster(cluster):
    stores = [RedisStore(cluster.url, timeout_s=2.0) for _ in range(3)]
    limiters = [Limiter(Leases(store, holders=3, wait_s=2.0)) for store in stores]
    check = Check("key", "key_a", 60)
    admitted = 0
    for number in range(240):
        limiter = limiters[number % 3]
        verdict = limiter.try_admit([check], 0) or await limiter.admit([check], 0)
        admitted += verdict.admitted
    for store in stores:
        await store.close()
    assert 57 <= admitted <= 61, admitted


async def test_gateways_share_answers_and_limits_through_a_cluster(cluster, database_url):
    ask = {"temperature": 0, "max_tokens": 20}
    async with (
        gateway(database_url, redis_url=cluster.url) as one,
        gateway(database_url, redis_url=cluster.cluster_url) as other,
    ):
        async with one.chat("demo-small", **ask) as answer:
            assert answer.status == 200 and answer.headers["x-neuroroute-cache"] == "miss"
        await one.services.cache.flush()
        async with other.chat("demo-small", **ask) as answer:
            assert answer.headers["x-neuroroute-cache"] == "hit"
        async with one.ask("DELETE", "/admin/cache") as answer:
            assert answer.status == 200
        await one.services.cache.flush()
        await other.services.cache.flush()
        async with other.chat("demo-small", **ask) as answer:
            assert answer.headers["x-neuroroute-cache"] == "miss"
        key = (await one.new_key(limits={"requests_per_minute": 20}))["key"]
        statuses = []
        for number in range(50):
            async with (one, other)[number % 2].chat("demo-small", key=key, **ask) as answer:
                statuses.append(answer.status)
        assert statuses.count(200) in (19, 20) and set(statuses) == {200, 429}, statuses
        async with one.get("/health", key="") as answer:
            assert (await answer.json())["checks"]["redis"] == "ok"
