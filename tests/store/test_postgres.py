from neuroroute.store.postgres import Database


async def test_answers(database: Database, redis_url: str) -> None:
    assert await database.fetchval("SELECT 1") == 1
    assert await database.fetchval("SELECT count(*) FROM users") == 0
    await database.fetchval("SELECT $1::jsonb", {"a": [1]}) == {"a": [1]}


async def test_answers2(database: Database, redis_url: str) -> None:
    assert await database.fetchval("SELECT 1") == 1
