"""
The composition root: Settings -> Services -> web.Application.

`create` builds everything and opens nothing; the application's contexts open what needs the loop, in the order in which the parts lean on each
other, and close it in the reverse order. A database or a Redis that is away delays no start: what needs them says so when it is asked.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aiohttp import web

from neuroroute.access.keyring import Keyring
from neuroroute.accounting.ledger import Ledger
from neuroroute.adapters.demo import MODELS as DEMO_MODELS
from neuroroute.adapters.discovery import Discovery, local_servers
from neuroroute.adapters.transport import Transport
from neuroroute.caching.responses import DROPS_CHANNEL, ResponseCache
from neuroroute.chain.allowance import Allowance
from neuroroute.chain.flight import Flights
from neuroroute.chain.gauges import readings
from neuroroute.chain.learning import Learning
from neuroroute.chain.limit_rules import LimitRules
from neuroroute.chain.offer import Found, Offer
from neuroroute.chain.services import Services
from neuroroute.chain.tapes import Tapes
from neuroroute.classifier import Classifier
from neuroroute.core.config import ConfigFile
from neuroroute.core.settings import Settings
from neuroroute.core.tasks import Tasks
from neuroroute.core.types import Model, Provider
from neuroroute.limits.concurrency import Concurrency
from neuroroute.limits.leases import Leases
from neuroroute.limits.rate import Limiter
from neuroroute.routing.health import Health, RetryBudget
from neuroroute.routing.offers import timeouts_of
from neuroroute.routing.router import Router
from neuroroute.routing.threads import Threads
from neuroroute.store.postgres import Database
from neuroroute.store.responses import StoredResponses
from neuroroute.store.usage import Usage
from neuroroute.telemetry.metrics import Metrics
from neuroroute.telemetry.shared import METRICS_FOLDER, Shared
from neuroroute.web import cors
from neuroroute.web.errors import errors
from neuroroute.web.lifecycle import Lifecycle
from neuroroute.web.openapi import DOCUMENT, dumped
from neuroroute.web.routes import table
from neuroroute.web.sink import KeepAlive
from neuroroute.web.state import DATABASE, KEEP_ALIVE, LIFECYCLE, OFFER, REDIS, RELOAD, SERVICES

DEMO: Final[Mapping[str, Sequence[Model]]] = {"demo": DEMO_MODELS}
READINGS_PER_S: Final = 50.0
"""Prompts of named models that a worker labels: at 0.1 ms each half a percent of a core."""
RETRY_FLOOR: Final = 10
"""Further attempts within 10 s that are always allowed: on a quiet gateway a share of the calls would be none. Guess: breakers open at 5."""
if TYPE_CHECKING:
    from neuroroute.store.kv_redis import RedisKV

_log = logging.getLogger("neuroroute")


JOBS: Final[web.AppKey[dict[str, Callable[[], Awaitable[None]]]]] = web.AppKey("jobs")


def create(settings: Settings, *, config_path: Path | None = None, data_dir: Path | None = None, worker: int = 0) -> web.Application:
    """
    The gateway as an aiohttp application, ready to be served.

    settings.database_url must be set: the embedded server, where one is used, runs already. worker: its number on this machine.
    Raises: ConfigFaulty with every fault of the configuration file.
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
    services = _services(settings, offer, database, redis, data_dir or settings.neuroroute_data_dir, worker)

    async def reload() -> bool:
        return file is not None and await file.check(offer.take, force=True)

    app = web.Application(client_max_size=settings.max_body_bytes, middlewares=[errors])
    app[SERVICES], app[DATABASE], app[REDIS] = services, database, redis
    app[LIFECYCLE], app[KEEP_ALIVE] = Lifecycle(), KeepAlive(settings.keepalive_comment_s)
    app[OFFER], app[RELOAD] = offer, reload
    app[JOBS] = _jobs(app, file)
    services.metrics.source(lambda: list(readings(services, database)))
    cors.allow(app, settings.cors_origins)
    offer.on_swap = lambda catalog: services.health.keep(frozenset(entry.key for entry in catalog.entries.values()))
    routes = table(settings)
    app[DOCUMENT] = dumped(routes, settings)
    app.add_routes(routes)
    app.cleanup_ctx.extend([_stores, _keys, _background, _open])
    return app


def _redis(settings: Settings) -> "RedisKV | None":
    """The client of REDIS_URL. Its library costs a tenth of a second of the start, so it is not imported where there is none."""
    if settings.redis_url is None:
        return None
    from neuroroute.store.kv_redis import RedisKV

    return RedisKV(settings.redis_url)


def _jobs(app: web.Application, file: ConfigFile | None) -> dict[str, Callable[[], Awaitable[None]]]:
    """What runs beside the calls for as long as the process does, by name."""
    s, offer = app[SERVICES], app[OFFER]

    def found(models: Mapping[str, Sequence[Model]], local: Mapping[str, Provider]) -> None:
        offer.find(Found({**DEMO, **models}, local))

    unasked = local_servers(s.settings.lmstudio_api_url, timeouts_of(s.settings))
    discovery = Discovery(s.transport, lambda: offer.holder.current.providers, unasked, found)
    jobs: dict[str, Callable[[], Awaitable[None]]] = {
        "ledger": s.ledger.run,
        "learning": s.learning.run,
        "metrics": s.metrics.run,
        "limits": s.limiter.run,
        "discovery": discovery.run,
        "keep-alive": app[KEEP_ALIVE].run,
        "stored responses": lambda: _expire(s),
    }
    if app[REDIS] is not None:
        jobs["cache"] = s.cache.run
    if file is not None:
        jobs["configuration"] = lambda: file.watch(offer.take)
    return jobs


async def _stores(app: web.Application) -> AsyncIterator[None]:
    yield
    await app[SERVICES].transport.close()
    if (redis := app[REDIS]) is not None:
        await redis.close()
    await app[DATABASE].close()


async def _keys(app: web.Application) -> AsyncIterator[None]:
    deafen = app[DATABASE].listen(DROPS_CHANNEL, app[SERVICES].cache.hear)
    await app[SERVICES].keyring.start()
    yield
    deafen()
    await app[SERVICES].keyring.close()


async def _background(app: web.Application) -> AsyncIterator[None]:
    tasks = Tasks()
    for name, work in app[JOBS].items():
        tasks.keep(name, work)
    yield
    await app[SERVICES].tapes.close()
    await tasks.close()
    await app[SERVICES].learning.close()
    await app[SERVICES].ledger.close()
    await app[SERVICES].metrics.close()


async def _open(app: web.Application) -> AsyncIterator[None]:
    app[LIFECYCLE].ready = True
    yield
    app[LIFECYCLE].draining = True


def _services(settings: Settings, offer: Offer, database: Database, redis: "RedisKV | None", data_dir: Path, worker: int) -> Services:
    classifier = Classifier.load()
    learning = Learning(database, lambda: offer.config.routing.learning, classifier.mean_difficulty)
    shared = Shared(data_dir / METRICS_FOLDER, f"{worker}-{os.getpid()}") if settings.workers > 1 else None
    health = Health(settings.breaker_failures, settings.breaker_open_s)
    return Services(
        settings=settings,
        keyring=Keyring(database, data_dir=data_dir, stale_max_s=settings.auth_stale_max_s),
        limit_rules=LimitRules(settings),
        limiter=Limiter(Leases(redis) if redis is not None else None),
        concurrency=Concurrency(),
        cache=ResponseCache(settings.cache_max_bytes, redis, prefix=settings.cache_prefix),
        cache_shared_by_all=offer.config.cache.share == "everyone",
        classifier=classifier,
        readings=Allowance(READINGS_PER_S, burst=2 * READINGS_PER_S),
        catalog=offer.holder,
        router=Router(health, mean_difficulty=classifier.mean_difficulty, posteriors=learning.posteriors),
        threads=Threads(),
        health=health,
        retry_budget=RetryBudget(settings.retry_budget, floor=RETRY_FLOOR),
        transport=Transport(),
        responses=StoredResponses(database),
        tapes=Tapes(redis),
        flights=Flights(),
        learning=learning,
        ledger=Ledger(Usage(database).insert_many),
        metrics=Metrics(enabled=settings.enable_metrics, sample_rate=settings.metrics_sample_rate, shared=shared),
    )


async def _expire(services: Services) -> None:
    """Once an hour, remove what was kept of responses long enough, a page at a time."""
    while True:
        gone = await services.responses.expire()
        await asyncio.sleep(0.1 if gone else 3600)
