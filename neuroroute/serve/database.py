"""The database that this instance runs on: the embedded server or the one of DATABASE_URL, and its schema."""

import asyncio
import logging
from pathlib import Path
from typing import Final

from neuroroute.core.settings import Settings
from neuroroute.store.embedded import EmbeddedPostgres

RETRY_S: Final = 1.0
REACH_S: Final = 2.0
PING: Final = "SELECT 1"
_log = logging.getLogger("neuroroute.serve")


class Ground:
    """
    The embedded server, where no DATABASE_URL is set. `start` and `stop` block; `watch` keeps it running.

    Raises: EmbeddedFailed by `start`.
    """

    def __init__(self, settings: Settings, data_dir: Path) -> None:
        self._url = settings.database_url
        self.server = EmbeddedPostgres(data_dir) if settings.database_url is None else None

    def start(self) -> str:
        """The URL to connect to."""
        if self.server is not None:
            self._url = self.server.start()
        assert self._url is not None
        return self._url

    def stop(self) -> None:
        if self.server is not None:
            self.server.stop()

    def let_go(self) -> None:
        """In a fork: the server stays its parent's."""
        if self.server is not None:
            self.server.let_go()

    async def watch(self) -> None:
        assert self.server is not None
        await self.server.watch()


async def prepare(settings: Settings, data_dir: Path) -> bool:
    """
    Bring the schema up to date, where AUTO_MIGRATE says so, and see to it that an admin can get in.

    Several processes may do it at once. False: the database can not be reached now.
    Raises: MigrationFailed.
    """
    from neuroroute.access.keys import ensure_admin
    from neuroroute.store import migrate as migrations
    from neuroroute.store.postgres import Database, DatabaseAway, DatabaseFault

    assert settings.database_url is not None
    async with Database(settings.database_url, pool_min=0, pool_max=1) as database:
        try:
            await database.fetchval(PING, timeout_s=REACH_S)  # a server that hangs must not hold up the start
            done = await migrations.run(database) if settings.auto_migrate else []
            await ensure_admin(database, data_dir, settings.neuroroute_admin_key)
        except DatabaseAway as away:
            _log.warning("the database can not be reached: its schema is seen to later (%s)", away)
            return False
        except DatabaseFault as fault:
            raise migrations.MigrationFailed("The schema is not up to date: neuroroute migrate up brings it there.") from fault
    if done:
        _log.info("the schema is up to date: %s", ", ".join(done))
    return True


async def prepare_later(settings: Settings, data_dir: Path) -> None:
    """The same as soon as the database can be reached. Returns when that is done."""
    while True:
        await asyncio.sleep(RETRY_S)
        if await prepare(settings, data_dir):
            return
