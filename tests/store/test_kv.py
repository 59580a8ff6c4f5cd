"""One meaning of the key-value store, in both implementations."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from neuroroute.store.kv import KV
from neuroroute.store.kv_memory import ENTRY_OVERHEAD_BYTES, ByteLRU, MemoryKV
from neuroroute.store.kv_redis import RedisKV


@pytest.fixture(params=["memory", "redis"])
async def kv(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[KV]:
    made: KV = MemoryKV(1 << 20) if request.param == "memory" else RedisKV(redis_url, timeout_s=2.0)
    yield made
    await made.close()


async def test_what_is_set_is_got(kv: KV) -> None:
    assert await kv.get("a") is None
    await kv.set("a", b"\x00\xff\r\n", 10)
    await kv.set("b", b"", 10)
    assert await kv.get("a") == b"\x00\xff\r\n"
    assert await kv.get("b") == b""
    await kv.set("a", b"other", 10)
    assert await kv.get("a") == b"other"


async def test_delete_says_how_many_were_there(kv: KV) -> None:
    await kv.set("a", b"1", 10)
    await kv.set("b", b"2", 10)
    assert await kv.delete("a", "b", "c") == 2
    assert await kv.delete("a") == 0
    assert await kv.get("a") is None


async def test_values_end_with_their_time(kv: KV) -> None:
    await kv.set("short", b"1", 0.03)
    await kv.set("long", b"2", 10)
    await asyncio.sleep(0.08)
    assert await kv.get("short") is None
    assert await kv.get("long") == b"2"


async def test_ping(kv: KV) -> None:
    await kv.ping()


def test_the_map_never_grows_beyond_its_bytes_and_forgets_the_longest_unused() -> None:
    room = 3 * (ENTRY_OVERHEAD_BYTES + 100)
    kept: ByteLRU[str] = ByteLRU(room)
    for name in "abc":
        assert kept.put(name, name.upper(), 100, 60)
    assert kept.get("a") == "A"
    kept.put("d", "D", 100, 60)
    assert kept.get("b") is None
    assert [kept.get(name) for name in "acd"] == ["A", "C", "D"]
    assert kept.bytes == room
    assert kept.evicted == 1
    kept.put("a", "small", 10, 60)
    assert kept.bytes == room - 90
    assert not kept.put("huge", "x", room, 60)
    assert kept.drop(lambda value: value in ("C", "D")) == 2
    assert len(kept) == 1
    assert kept.clear() == 1
    assert kept.bytes == 0


def test_an_entry_costs_about_what_the_map_says() -> None:
    import tracemalloc

    kept: ByteLRU[bytes] = ByteLRU(1 << 30)
    values = [(i.to_bytes(32, "big"), bytes(200)) for i in range(5000)]
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for key, value in values:
        kept.put(bytes(bytearray(key)), bytes(bytearray(value)), 232, 60)
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert 0.7 < held / kept.bytes < 1.1


async def test_what_is_appended_is_read_from_any_place_and_ends_with_the_last_time_given(kv: KV) -> None:
    assert await kv.get_from("a", 0) == b""
    assert await kv.append("a", b"ab\x00", 0.05) == 3
    assert await kv.append("a", b"cd", 10) == 5
    await asyncio.sleep(0.08)
    assert (await kv.get("a"), await kv.get_from("a", 3), await kv.get_from("a", 5), await kv.get_from("a", 9)) == (
        b"ab\x00cd",
        b"cd",
        b"",
        b"",
    )
