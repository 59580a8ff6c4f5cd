"""
What PostgreSQL spends on a usage row: the ledger's own insert, in its batches, beside the same row without any sums.

    python -m tests.bench.books [--before 0020] [--rounds 40] [--batches 500,50] [--writers 2]

Each round writes the same rows to three databases, one after the other: one without the triggers that keep sums, one with the migrations up to
`--before`, one with all. Prints microseconds a row, the median over the rounds, and of the CPU of the server's process the mean.
"""

import argparse
import asyncio
import dataclasses
import os
import random
import statistics
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

from neuroroute.core.clock import utcnow
from neuroroute.core.ids import new_id
from neuroroute.store import migrate
from neuroroute.store.postgres import Database
from neuroroute.store.usage import Usage, UsageRecord
from tests.support.services import Postgres

WARM_ROUNDS: Final = 5
DISABLE: Final = "ALTER TABLE usage_records DISABLE TRIGGER USER"
DECISION: Final = {"v": 1, "candidates": [["demo/demo-small", 0.7, 100000, 400], ["demo/demo-large", 0.95, 900000, 1900]], "margin": 0.12}


def rows(count: int, rng: random.Random) -> list[UsageRecord]:
    """Calls of 20 keys of 7 users, 4 models and 5 labels; every fifth has two tags."""
    now = utcnow()
    return [
        UsageRecord(
            request_id=new_id("req"), created_at=now - timedelta(milliseconds=rng.randrange(500)), key_id=f"key_{(key := rng.randrange(20))}",
            user_id=f"usr_{key % 7}", requested_model="auto", endpoint="/v1/chat/completions", stream=rng.random() < 0.5,
            model=f"model-{rng.randrange(4)}", provider=rng.choice(["p", "q"]), label=rng.choice(["code", "math", "chat", "writing", "other"]),
            difficulty=rng.random(), language="en", policy="balanced", prompt_tokens=rng.randrange(4000), completion_tokens=rng.randrange(900),
            tokens_source="provider", cost_nanousd=rng.randrange(900_000), baseline_cost_nanousd=900_000, cache=rng.choice(["miss", "miss", "hit"]),
            attempts=1, status=rng.choice(["ok"] * 30 + ["error"]), latency_ms=rng.lognormvariate(7, 1), ttft_ms=rng.lognormvariate(5, 0.7),
            overhead_ms=rng.lognormvariate(0, 0.5), tags={"team": rng.choice("abc"), "env": "prod"} if rng.random() < 0.2 else {},
            decision=DECISION,
        )
        for _ in range(count)
    ]  # fmt: skip


def cpu_ticks(process: int) -> int:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


async def one(database: Database, batches: Sequence[list[UsageRecord]]) -> float:
    """Seconds for batches that are written at once."""
    fresh = [[dataclasses.replace(row) for row in batch] for batch in batches]
    for batch in fresh:
        for row in batch:
            row.as_json()
    began_s = time.perf_counter()
    await asyncio.gather(*(Usage(database).insert_many(batch) for batch in fresh))
    return time.perf_counter() - began_s


async def measure(databases: dict[str, Database], size: int, rounds: int, writers: int) -> None:
    rng = random.Random(size)
    took: dict[str, list[float]] = {name: [] for name in databases}
    ticks = dict.fromkeys(databases, 0)
    backends = {name: await database.fetchval("SELECT pg_backend_pid()") for name, database in databases.items()}
    for number in range(rounds + WARM_ROUNDS):
        batches = [rows(size, rng) for _ in range(writers)]
        for name, database in databases.items():
            before = cpu_ticks(backends[name])
            spent_s = await one(database, batches)
            if number >= WARM_ROUNDS:
                took[name].append(spent_s / (size * writers) * 1e6)
                ticks[name] += cpu_ticks(backends[name]) - before
    rate = os.sysconf("SC_CLK_TCK")
    for name, found in took.items():
        cpu_us = ticks[name] / rate / (rounds * size) * 1e6
        cpu = f", CPU {cpu_us:5.0f} us" if writers == 1 else ""
        low, high = statistics.quantiles(found, n=4)[::2]
        print(
            f"{writers} x {size:4d} rows  {name:12s} {statistics.median(found):6.0f} us a row (quartiles {low:.0f} to {high:.0f}){cpu}",
            flush=True,
        )


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", default="0020", help="the last migration of the side to compare with")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--batches", default="500,50")
    parser.add_argument("--writers", type=int, default=1)
    options = parser.parse_args()
    server = Postgres(f"books{os.getpid()}")
    try:
        urls = {name: server.copy(migrated=False) for name in ("without sums", "before", "now")}
        databases = {name: Database(url, pool_min=1, pool_max=options.writers) for name, url in urls.items()}
        for name, database in databases.items():
            known = [found.name for found in migrate.files()]
            await migrate.run(database, only=[found for found in known if name != "before" or found[:4] <= options.before])
        await databases["without sums"].execute(DISABLE)
        for size in options.batches.split(","):
            await measure(databases, int(size), options.rounds, options.writers)
        for database in databases.values():
            await database.close()
    finally:
        server.close()


if __name__ == "__main__":
    asyncio.run(main())
