"""What handlers find on the application."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from aiohttp import web

from neuroroute.chain.offer import Offer
from neuroroute.chain.repeats import Repeats
from neuroroute.chain.services import Services
from neuroroute.chain.versions import Versions
from neuroroute.store.postgres import Database
from neuroroute.telemetry.watch import Watch
from neuroroute.web.lifecycle import Lifecycle

if TYPE_CHECKING:
    from neuroroute.store.kv_cluster import RedisStore
    from neuroroute.web.sink import KeepAlive

SERVICES: Final = web.AppKey("services", Services)
REPEATS: Final = web.AppKey("repeats", Repeats)
LIFECYCLE: Final = web.AppKey("lifecycle", Lifecycle)
KEEP_ALIVE: Final["web.AppKey[KeepAlive]"] = web.AppKey("keep_alive")
DATABASE: Final = web.AppKey("database", Database)
REDIS: Final["web.AppKey[RedisStore | None]"] = web.AppKey("redis")  # None: cache and limits live in the process
WATCH: Final = web.AppKey("watch", Watch)
VERSIONS: Final = web.AppKey("versions", Versions)
OFFER: Final = web.AppKey("offer", Offer)
RELOAD: Final[web.AppKey[Callable[[], Awaitable[bool]]]] = web.AppKey("reload")
"""Reads the configuration file again; True if it is in effect."""
