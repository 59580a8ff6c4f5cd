"""The schema that migrations make is the one that was reviewed."""

import os
from pathlib import Path

from neuroroute.store.postgres import Database
from tests.support.schema import describe

KEPT = Path(__file__).with_name("schema.sql")

WALK = "EXPLAIN SELECT * FROM usage_records WHERE /*condition*/ ORDER BY created_at DESC, request_id DESC LIMIT 50"


async def test_migrations_on_an_empty_database_make_the_known_schema(database: Database) -> None:
    found = await describe(database)
    if os.environ.get("NEUROROUTE_WRITE_SCHEMA"):
        KEPT.write_text(found)
    assert found == KEPT.read_text()


async def test_the_description_sees_changes(database: Database) -> None:
    await database.execute("ALTER TABLE users ADD COLUMN more text")
    assert await describe(database) != KEPT.read_text()


async def test_every_list_of_calls_walks_along_an_index(database: Database) -> None:
    """With the planner's cheaper ways for a small table switched off, none of the lists needs a sort."""
    async with database.transaction() as transaction:
        await transaction.execute("SET LOCAL enable_seqscan = off")
        await transaction.execute("SET LOCAL enable_bitmapscan = off")
        await transaction.execute("SET LOCAL enable_sort = off")
        for condition in ("true", "key_id = 'k'", "user_id = 'u'", "model = 'm'", "(status <> 'ok' AND status = 'error')"):
            sql = WALK.replace("/*condition*/", condition)
            plan = "\n".join(row[0] for row in await transaction.fetch(sql))
            assert "Sort" not in plan and "Index Scan" in plan, (condition, plan)
