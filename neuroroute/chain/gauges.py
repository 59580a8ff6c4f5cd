"""What the parts of a worker show of themselves whenever somebody reads the metrics."""

from neuroroute.chain.services import Services
from neuroroute.core.clock import monotonic_s
from neuroroute.routing.health import State
from neuroroute.store.postgres import Database
from neuroroute.telemetry.metrics import Reading


def readings(s: Services, database: Database) -> Reading:
    """(metric, labels, value) of cache, ledger, limits, breakers and the database pool."""
    pool, ledger, cache = database.stats, s.ledger, s.cache
    yield "neuroroute_cache_entries", (), len(cache)
    yield "neuroroute_cache_bytes", (), cache.held_bytes
    yield "neuroroute_cache_evictions", (), cache.evicted
    yield "neuroroute_ledger_waiting", (), len(ledger)
    yield "neuroroute_ledger_written", (), ledger.written
    yield "neuroroute_ledger_retries", (), ledger.retries
    yield "neuroroute_ledger_rejected", (), len(ledger.rejected)
    yield "neuroroute_ledger_lost", (), ledger.lost
    yield "neuroroute_limit_counters", (), len(s.limiter)
    yield "neuroroute_shared_store_away", (), float(s.limiter.away)
    yield "neuroroute_db_connections", ("busy",), pool.open - pool.idle
    yield "neuroroute_db_connections", ("idle",), pool.idle
    yield "neuroroute_db_waiting", (), pool.waiting
    yield "neuroroute_db_slow_queries", (), pool.slow_queries
    for target in s.health.snapshot(monotonic_s()):
        yield "neuroroute_breaker_open", (target.target,), float(target.state is not State.CLOSED)
