"""Pages over a long past answer at once: what is asked of ten million calls is read from sums and histograms."""

import os
import time
from datetime import timedelta

from neuroroute.core.clock import utcnow
from neuroroute.store.postgres import Database
from neuroroute.store.usage import Usage, UsageFilter
from tests.chaos.load import FULL

ROWS = int(os.environ.get("NEUROROUTE_CHAOS_ROWS") or (1_000_000 if FULL else 6_000))
CHUNK = 100_000
DAYS = 120
MOST_S = 0.1 if FULL else 1.0

FILL = """
INSERT INTO usage_records (request_id, created_at, key_id, user_id, dialect, stream, requested_model, model, provider, label, prompt_tokens,
    completion_tokens, cached_tokens, cache_write_tokens, reasoning_tokens, tokens_source, cost_nanousd, baseline_cost_nanousd, cache, attempts,
    status, http_status, latency_ms, ttft_ms, overhead_ms, tags)
SELECT 'req_' || ($1::bigint + n), $2::timestamptz - (($1::bigint + n) * $4::float8 / $3::float8) * interval '1 day', 'key_' || n % 40, 'usr_' || n % 10, 'chat',
    true, 'auto', 'model ' || n % 12, 'p', (ARRAY['code', 'math', 'chat', 'writing'])[n % 4 + 1], 100 + n % 900, n % 300, 0, 0, 0, 'provider',
    n % 1000, n % 2000, 'miss', 1, CASE WHEN n % 50 = 0 THEN 'error' ELSE 'ok' END, 200, exp(4 + 3 * random()), exp(3 + 2 * random()),
    exp(2 * random() - 1), CASE WHEN n % 3 = 0 THEN '{"team": "search"}'::jsonb ELSE '{}'::jsonb END
FROM generate_series(1, $5::int) AS n
"""


async def test_every_question_of_the_pages_is_answered_at_once(database: Database) -> None:
    now, began_s = utcnow(), time.monotonic()
    for at in range(0, ROWS, CHUNK):
        await database.execute(FILL, at, now, ROWS, DAYS, min(CHUNK, ROWS - at), timeout_s=600.0)
    await database.execute("ANALYZE usage_records", timeout_s=600.0)
    await database.execute("ANALYZE usage_histograms", timeout_s=600.0)
    print(f"\n{ROWS} rows in {time.monotonic() - began_s:.0f} s")
    usage, slowest = Usage(database), {}
    for days in (1.3, 30.7, 100.4, None):
        for given in ({}, {"key_id": "key_7"}, {"user_id": "usr_3"}, {"model": "model 5"}, {"label": "math"}, {"tag": ("team", "search")}):
            filters = UsageFilter(since=None if days is None else now - timedelta(days=days), **given)  # type: ignore[arg-type]
            took = []
            for _ in range(3):  # the best of three: the machine has other work
                asked_s = time.perf_counter()
                calls = (await usage.totals(filters)).calls
                summed_s = time.perf_counter()
                found = await usage.percentiles(filters, calls)
                took.append((summed_s - asked_s, time.perf_counter() - summed_s))
                assert calls and all(value is not None for values in found.values() for value in values)
            slowest["totals", days, *given] = min(first for first, _ in took)
            slowest["percentiles", days, *given] = min(second for _, second in took)
        for by in ("day", "model", "key", "user", "label"):
            took_s = []
            for _ in range(3):
                asked_s = time.perf_counter()
                await usage.grouped(by, UsageFilter(since=None if days is None else now - timedelta(days=days)))  # type: ignore[arg-type]
                took_s.append(time.perf_counter() - asked_s)
            slowest["by", days, by] = min(took_s)
    worst = sorted(slowest.items(), key=lambda item: -item[1])[:5]
    print("slowest: " + ", ".join(f"{name} {took_s * 1000:.0f} ms" for name, took_s in worst))
    assert worst[0][1] < MOST_S
