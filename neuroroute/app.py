"""
The composition root: Settings -> Services -> web.Application.

`create` builds everything and opens nothing; the application's contexts open what needs the loop, in the order in which the parts lean on each
other, and close it in the reverse order. A database or a Redis that is away delays no start: what needs them says so when it is asked.
"""

import asyncio
import contextlib
import functools
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aiohttp import web

from neuroroute.access.keyring import Keyring
from neuroroute.accounting.journal import Journal
from neuroroute.accounting.ledger import Ledger
from neuroroute.accounting.records import USAGE
from neuroroute.accounting.recovery import Recovery
from neuroroute.adapters.demo import MODELS as DEMO_MODELS
from neuroroute.adapters.discovery import Discovery, local_servers
from neuroroute.adapters.transport import Transport
from neuroroute.caching.keys import Share
from neuroroute.caching.policy import Rules
from neuroroute.caching.responses import ResponseCache
from neuroroute.chain import private_hosts
from neuroroute.chain.allowance import Allowance
from neuroroute.chain.budget_rules import BudgetRules
from neuroroute.chain.flight import Flights
from neuroroute.chain.flight_shared import SharedFlights
from neuroroute.chain.gauges import sources
from neuroroute.chain.hedge import Hedging
from neuroroute.chain.judging import Judge
from neuroroute.chain.learning import Learning
from neuroroute.chain.limit_rules import LimitRules
from neuroroute.chain.offer import Found, Offer
from neuroroute.chain.overload import Load
from neuroroute.chain.repeats import Repeats
from neuroroute.chain.semantic import Semantic
from neuroroute.chain.services import Services
from neuroroute.chain.tapes import Tapes
from neuroroute.chain.texts import Texts
from neuroroute.chain.versions import Versions
from neuroroute.classifier import Classifier
from neuroroute.core.clock import monotonic_s
from neuroroute.core.config import ConfigFile, build
from neuroroute.core.ids import new_id
from neuroroute.core.money import Budget
from neuroroute.core.sealing import Vault
from neuroroute.core.settings import Settings
from neuroroute.core.tasks import Tasks, spawn
from neuroroute.core.types import Limits, Model, Provider
from neuroroute.limits.budget import Budgets
from neuroroute.limits.concurrency import Concurrency
from neuroroute.limits.leases import LISTEN_S, WAIT_S, Leases
from neuroroute.limits.neighbours import Neighbours
from neuroroute.limits.places import SharedPlaces
from neuroroute.limits.queue import Queues
from neuroroute.limits.rate import Limiter
from neuroroute.limits.throttle import Throttles
from neuroroute.routing.catalog import Catalog
from neuroroute.routing.facts import facts
from neuroroute.routing.health import Health, RetryBudget
from neuroroute.routing.offers import timeouts_of
from neuroroute.routing.router import Router
from neuroroute.routing.threads import Threads
from neuroroute.store.budgets import Holds
from neuroroute.store.objects import OwnedObjects
from neuroroute.store.postgres import Database, DatabaseAway
from neuroroute.store.responses import StoredResponses
from neuroroute.store.semantic import SemanticAnswers
from neuroroute.store.usage import Usage
from neuroroute.telemetry.alert_rules import rules_of
from neuroroute.telemetry.alerts import Webhook, place_of
from neuroroute.telemetry.metrics import Metrics
from neuroroute.telemetry.shared import METRICS_FOLDER, Shared
from neuroroute.telemetry.tracing import traces_of
from neuroroute.telemetry.watch import Watch
from neuroroute.web import cors
from neuroroute.web.errors import errors
from neuroroute.web.lifecycle import Lifecycle
from neuroroute.web.openapi import DOCUMENT, dumped
from neuroroute.web.routes import table
from neuroroute.web.sink import KeepAlive
from neuroroute.web.state import DATABASE, KEEP_ALIVE, LIFECYCLE, OFFER, REDIS, RELOAD, REPEATS, SERVICES, VERSIONS, WATCH
from neuroroute.web.whole import lines_of

DEMO: Final[Mapping[str, Sequence[Model]]] = {"demo": DEMO_MODELS}
READINGS_PER_S: Final = 20.0
"""Prompts of named models that a worker labels: at 0.3 ms each less than a percent of a core."""
RETRY_FLOOR: Final = 10
"""Further attempts within 10 s that are always allowed: on a quiet gateway a share of the calls would be none. Guess: breakers open at 5."""
OUTLIERS_EVERY_S: Final = 2.0
JOURNAL_FOLDER: Final = "journal"
WATCH_LOCK: Final = "watch.lock"
LIMITS_FOLDER: Final = "limits"
NEIGHBOUR_WAIT_S: Final = 0.25
"""A worker that keeps the limits for its neighbours may be busy with a call; unlike a store of its own, that is hardly ever an outage."""
CACHE_CHANNEL: Final = "neuroroute_cache"
if TYPE_CHECKING:
    from neuroroute.store.kv_cluster import RedisStore

_log = logging.getLogger("neuroroute")


JOURNAL: Final = web.AppKey("journal", Journal)
NEIGHBOURS: Final[web.AppKey[Neighbours | None]] = web.AppKey("neighbours")  # None: one worker, or Redis
COUNTERS: Final["web.AppKey[RedisStore | None]"] = web.AppKey("counters")  # Redis again, with lines of its own for the limits
JOBS: Final[web.AppKey[dict[str, Callable[[], Awaitable[None]]]]] = web.AppKey("jobs")


def gather(settings: Settings) -> None:
    """Read and build what all workers of a machine have in common, before there are any."""
    Classifier.load()
    facts()
    build()  # of nothing: what is made at its first use is the checker
    if settings.redis_url is not None:
        __import__("neuroroute.store.kv_cluster")


def create(settings: Settings, *, config_path: Path | None = None, data_dir: Path | None = None, worker: int = 0) -> web.Application:
    """
    The gateway as an aiohttp application, ready to be served.

    settings.database_url must be set: the embedded server, where one is used, runs already. worker: its number on this machine.
    Raises: ConfigFaulty with every fault of the configuration file; SettingsFaulty where a setting needs an extra that is not installed.
    """
    assert settings.database_url is not None
    file = ConfigFile(config_path) if config_path is not None else None
    offer = Offer(settings, [file.layer] if file is not None else [], Found(DEMO))
    database = Database(
        settings.database_url,
        pool_min=settings.db_pool_min,
        pool_max=settings.db_pool_max,
        slow_query_ms=settings.db_slow_query_threshold,
    )
    redis = _redis(settings)
    home = data_dir or settings.neuroroute_data_dir
    journal = Journal(home / JOURNAL_FOLDER)
    neighbours = Neighbours(home / LIMITS_FOLDER, timeout_s=LISTEN_S) if redis is None and settings.workers > 1 else None
    counters = _redis(settings, LISTEN_S)
    services = _services(settings, offer, database, redis, home, worker, journal, _shared_limits(settings, redis, counters, neighbours))

    async def reload() -> bool:
        return file is not None and await file.check(offer.take, force=True)

    app = web.Application(client_max_size=settings.max_body_bytes, middlewares=[errors])
    app[SERVICES], app[DATABASE], app[REDIS] = services, database, redis
    app[REPEATS] = Repeats(services, lines_of)
    app[LIFECYCLE], app[KEEP_ALIVE] = Lifecycle(), KeepAlive(settings.keepalive_comment_s)
    app[OFFER], app[RELOAD] = offer, reload
    app[VERSIONS] = Versions(database, offer, Vault(settings.neuroroute_secret_key, home), home)
    app[JOURNAL], app[NEIGHBOURS], app[COUNTERS] = journal, neighbours, counters
    app[WATCH] = _watch(settings, offer, database, services.metrics, home)
    app[JOBS] = _jobs(app, file)
    for source in sources(services, database, journal, redis):
        services.metrics.source(source)
    cors.allow(app, settings.cors_origins)

    def swapped(catalog: Catalog) -> None:
        known = catalog.keys()
        services.health.keep(known)
        services.throttles.keep(known)
        _configure(services, offer)

    offer.on_swap = swapped
    _configure(services, offer)
    routes = table(settings)
    document: Callable[[], bytes] = functools.cache(lambda: dumped(routes, settings))
    app[DOCUMENT] = document
    app.add_routes(routes)
    app.cleanup_ctx.extend([_stores, _keys, _versions, _background, _open])
    return app


def _watch(settings: Settings, offer: Offer, database: Database, metrics: Metrics, home: Path) -> Watch:
    """What looks after this machine, by the rules of the configuration that is in effect."""
    watch = Watch(
        database,
        metrics,
        lambda: rules_of(offer.config.alerts, settings),
        lambda: [budget.budget() for budget in offer.config.budgets],
        lambda told: Webhook(lambda: place_of(offer.config.alert_webhook, settings), told),
        home / WATCH_LOCK,
    )
    metrics.source(watch.readings)
    return watch


def _redis(settings: Settings, timeout_s: float = WAIT_S) -> "RedisStore | None":
    """The client of REDIS_URL. Its library costs a tenth of a second of the start, so it is not imported where there is none."""
    if settings.redis_url is None:
        return None
    from neuroroute.store.kv_cluster import RedisStore

    return RedisStore(settings.redis_url, timeout_s=timeout_s)


def _jobs(app: web.Application, file: ConfigFile | None) -> dict[str, Callable[[], Awaitable[None]]]:
    """What runs beside the calls for as long as the process does, by name."""
    s, offer = app[SERVICES], app[OFFER]

    def found(models: Mapping[str, Sequence[Model]], local: Mapping[str, Provider]) -> None:
        offer.find(Found({**DEMO, **models}, local))

    unasked = local_servers(s.settings.lmstudio_api_url, timeouts_of(s.settings))
    discovery = Discovery(s.transport, lambda: offer.holder.current.providers, unasked, found)
    s.metrics.source(discovery.readings)
    jobs: dict[str, Callable[[], Awaitable[None]]] = {
        "configuration in the database": app[VERSIONS].follow,
        "ledger": s.ledger.run,
        "learning": s.learning.run,
        "judge": Judge(s, app[DATABASE]).run,
        "metrics": s.metrics.run,
        "alerts": app[WATCH].run,
        "alert webhook": app[WATCH].webhook.run,
        "limits": s.limiter.run,
        "budgets": s.budgets.run,
        "load": s.load.run,
        "outliers": lambda: _look_for_outliers(s),
        "journal": app[JOURNAL].run,
        "journals left behind": Recovery(app[JOURNAL].folder, Usage(app[DATABASE]).insert_many, USAGE).run,
        "discovery": discovery.run,
        "keep-alive": app[KEEP_ALIVE].run,
        "stored responses": lambda: _expire(s),
    }
    if s.concurrency.shared is not None:
        jobs["places"] = s.concurrency.shared.run
    if app[REDIS] is not None:
        jobs["cache"] = s.cache.run
    if s.traces is not None:
        jobs["traces"] = s.traces.run
    if s.texts is not None:
        jobs["texts of calls"] = s.texts.run
    if file is not None:
        jobs["configuration"] = lambda: file.watch(offer.take)
    return jobs


async def _look_for_outliers(s: Services) -> None:
    """Compare the targets with each other, for ever."""
    while True:
        await asyncio.sleep(OUTLIERS_EVERY_S)
        s.health.eject(monotonic_s())


async def _stores(app: web.Application) -> AsyncIterator[None]:
    yield
    await app[SERVICES].transport.close()
    for store in (app[REDIS], app[COUNTERS]):
        if store is not None:
            await store.close()
    await app[DATABASE].close()


async def _keys(app: web.Application) -> AsyncIterator[None]:
    await app[SERVICES].keyring.start()
    yield
    await app[SERVICES].keyring.close()


async def _versions(app: web.Application) -> AsyncIterator[None]:
    """What admins changed is in force before the first call."""
    await app[VERSIONS].start()
    yield
    app[VERSIONS].close()


async def _background(app: web.Application) -> AsyncIterator[None]:
    s, journal, neighbours = app[SERVICES], app[JOURNAL], app[NEIGHBOURS]
    await asyncio.to_thread(journal.start)
    if (leases := s.limiter.leases) is not None:  # who shares the limits, before the first call needs to know
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                await leases.beat()
    end = _shared_drops(app) if app[REDIS] is None else None
    tasks = Tasks()
    for name, work in app[JOBS].items():
        tasks.keep(name, work)
    yield
    await app[SERVICES].tapes.close()
    await tasks.close()
    if end is not None:
        end()
    if neighbours is not None:
        await neighbours.close()
    if s.traces is not None:
        await s.traces.close()
    await app[WATCH].webhook.close()
    await app[WATCH].close()
    await s.learning.close()
    if s.texts is not None:
        await s.texts.close()
    await s.ledger.close()
    await s.budgets.close()
    await s.metrics.close()
    await asyncio.to_thread(journal.close)


def _shared_drops(app: web.Application) -> Callable[[], None]:
    """Without Redis the database tells all processes what is dropped from the cache. Returns what ends it."""
    cache, database, own = app[SERVICES].cache, app[DATABASE], new_id("wrk")

    def dropped(tag: str | None) -> None:
        spawn(_tell(database, f"{own} {tag or ''}"), name="cache drop")

    def told(payload: str) -> None:
        sender, _, tag = payload.partition(" ")
        if sender != own:
            cache.drop(tag or None, told=True)

    cache.on_drop = dropped
    return database.listen(CACHE_CHANNEL, told)


async def _tell(database: Database, payload: str) -> None:
    try:
        await database.notify(CACHE_CHANNEL, payload)
    except DatabaseAway:
        _log.warning("the database is away: other workers keep what was dropped here from the cache until it expires")


def _configure(s: Services, offer: Offer) -> None:
    """What the configuration says of limits and budgets takes effect."""
    config = offer.config
    s.semantic.configure(config)
    s.cache_rules.ttl_s = s.settings.cache_ttl if config.cache.ttl_s is None else config.cache.ttl_s
    s.cache_rules.share = Share(config.cache.share or ("key" if s.settings.cache_by_user else "user"))
    s.transport.guard.origins = private_hosts.guarded(config, offer.layers)
    s.limit_rules.configure(config.limits.limits())
    s.hedging.configure(config.routing.hedging)
    s.budget_rules.configure([budget.budget() for budget in config.budgets])
    named = {name: provider.limits.limits() for name, provider in config.providers.items()}
    named |= {f"{model.provider}/{name}": model.limits.limits() for name, model in config.models.items()}
    s.queues.configure(
        {
            name: (limits.requests_per_minute or 0, limits.tokens_per_minute or 0, limits.concurrency or 0)
            for name, limits in named.items()
            if limits != Limits()
        }
    )


async def _open(app: web.Application) -> AsyncIterator[None]:
    app[LIFECYCLE].ready = True
    yield
    app[LIFECYCLE].draining = True


def _services(
    settings: Settings,
    offer: Offer,
    database: Database,
    redis: "RedisStore | None",
    data_dir: Path,
    worker: int,
    journal: Journal,
    shared_limits: tuple[Limiter, SharedPlaces | None],
) -> Services:
    limiter, places = shared_limits
    metrics_of = Shared(data_dir / METRICS_FOLDER, f"{worker}-{os.getpid()}") if settings.workers > 1 else None
    metrics = Metrics(sample_rate=settings.metrics_sample_rate, shared=metrics_of)
    budgets = Budgets(
        books=Holds(database), holders=settings.workers, percents=(settings.alert_budget_percent, 100.0), alert=_alert(metrics)
    )
    classifier, flights = Classifier.load(), Flights()
    learning = Learning(database, lambda: offer.config.routing.learning, classifier.mean_difficulty)
    health = Health(settings.breaker_failures, settings.breaker_open_s)
    return Services(
        settings=settings,
        keyring=Keyring(database, data_dir=data_dir, stale_max_s=settings.auth_stale_max_s),
        load=Load(settings.overload_lag_ms / 1000, settings.max_running_calls),
        limit_rules=LimitRules(settings),
        limiter=limiter,
        concurrency=Concurrency(places),
        queues=Queues(limiter, places),
        throttles=Throttles(limiter),
        budget_rules=BudgetRules(),
        budgets=budgets,
        cache=ResponseCache(settings.cache_max_bytes // settings.workers, redis, prefix=settings.cache_prefix),
        semantic=Semantic(SemanticAnswers(database)),
        cache_rules=Rules(settings.cache_ttl, Share.USER),
        classifier=classifier,
        readings=Allowance(READINGS_PER_S, burst=2 * READINGS_PER_S),
        catalog=offer.holder,
        router=Router(health, mean_difficulty=classifier.mean_difficulty, posteriors=learning.posteriors),
        threads=Threads(),
        health=health,
        retry_budget=RetryBudget(settings.retry_budget, floor=RETRY_FLOOR),
        hedging=Hedging(),
        transport=Transport(),
        responses=StoredResponses(database),
        objects=OwnedObjects(database),
        tapes=Tapes(redis),
        flights=flights,
        shared_flights=SharedFlights(flights, redis),
        learning=learning,
        ledger=Ledger(
            Usage(database).insert_many,
            journal=journal,
            codec=USAGE,
            on_written=budgets.booked,
        ),
        metrics=metrics,
        traces=traces_of(settings),
        texts=Texts(database, settings.store_prompts_days, masked=settings.store_prompts_masked) if settings.store_prompts else None,
    )


def _shared_limits(
    settings: Settings, redis: "RedisStore | None", counters: "RedisStore | None", neighbours: Neighbours | None
) -> tuple[Limiter, SharedPlaces | None]:
    """The limits per time and of calls at once, shared with the other processes where there are any. counters: Redis, for the former alone."""
    if neighbours is not None:
        leases = Leases(neighbours, holders=settings.workers, wait_s=NEIGHBOUR_WAIT_S)
        return Limiter(leases), SharedPlaces(neighbours, leases.holder, holders=settings.workers, wait_s=NEIGHBOUR_WAIT_S)
    if redis is not None and counters is not None:
        leases = Leases(counters, holders=settings.workers)
        return Limiter(leases), SharedPlaces(redis, leases.holder, holders=settings.workers, wait_s=WAIT_S)
    return Limiter(), None


def _alert(metrics: Metrics) -> Callable[[Budget, float], None]:
    def alert(budget: Budget, percent: float) -> None:
        metrics.count("neuroroute_budget_alerts", (budget.scope, f"{percent:g}"))
        _log.warning(
            "the %s budget of %s %s has reached %g %% of %g USD", budget.period, budget.scope, budget.subject, percent,
            budget.limit_nanousd / 1e9,
        )  # fmt: skip

    return alert


async def _expire(services: Services) -> None:
    """Once an hour, remove what was kept of responses long enough, a page at a time."""
    while True:
        gone = await services.responses.expire()
        if not gone:
            await services.semantic.expire()
        await asyncio.sleep(0.1 if gone else 3600)
