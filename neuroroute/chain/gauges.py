"""What the parts of a worker show of themselves whenever somebody reads the metrics."""

from collections.abc import Callable
from typing import Protocol

from neuroroute.accounting.journal import Journal
from neuroroute.chain.services import Services
from neuroroute.core.clock import monotonic_s
from neuroroute.routing.health import State
from neuroroute.store.postgres import Database
from neuroroute.telemetry.metrics import Reading


class Part(Protocol):
    def readings(self) -> Reading:
        """(metric, label values, value)."""
        ...


class Store(Part, Protocol):
    """Where cached answers are shared."""

    @property
    def away(self) -> bool: ...


def sources(s: Services, database: Database, journal: Journal, redis: Store | None) -> list[Callable[[], Reading]]:
    """Cache, books, limits, breakers and the stores; each is asked in another thread than the loop's."""
    parts: tuple[Part, ...] = (s.cache, s.semantic, s.ledger, journal, s.limiter, s.queues, s.throttles, s.load, s.concurrency, s.budgets)
    found: list[Callable[[], Reading]] = [part.readings for part in parts]
    found += [lambda: list(_pool(database)), lambda: list(_breakers(s))]
    if redis is not None:
        found += [redis.readings, lambda: [("neuroroute_shared_store_away", (), float(redis.away and not s.limiter.away))]]
    return found


def _pool(database: Database) -> Reading:
    pool = database.stats
    yield "neuroroute_db_connections", ("busy",), pool.open - pool.idle
    yield "neuroroute_db_connections", ("idle",), pool.idle
    yield "neuroroute_db_waiting", (), pool.waiting
    yield "neuroroute_db_slow_queries", (), pool.slow_queries


def _breakers(s: Services) -> Reading:
    for target in s.health.snapshot(monotonic_s()):
        yield "neuroroute_breaker_open", (target.target,), float(target.state is not State.CLOSED)
        yield "neuroroute_target_ejected", (target.target,), float(target.ejected_s > 0.0)
