"""What handlers find on the application."""

from typing import Final

from aiohttp import web

from neuroroute.chain.services import Services
from neuroroute.store.postgres import Database
from neuroroute.web.lifecycle import Lifecycle

SERVICES: Final = web.AppKey("services", Services)
LIFECYCLE: Final = web.AppKey("lifecycle", Lifecycle)
DATABASE: Final = web.AppKey("database", Database)
