"""
The way of records into the table: in order, in batches, until they are there.

A batch that fails because the database is away is tried again for ever, later each time. A batch that fails because of a row is split until
the row stands alone; that one goes to `reject` and holds nobody back.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

R = TypeVar("R")

_log = logging.getLogger("neuroroute.ledger")

BACKOFF_S: Final = 0.1
BACKOFF_MAX_S: Final = 5.0
INSERT_TIMEOUT_S: Final = 15.0


class Flusher(Generic[R]):
    """
    insert: writes rows and returns when they are durable; the same row twice is one row.
    bad_row: what `insert` raises when a row itself can not be stored. Anything else means that the database is away.
    reject: takes a row that can not be stored.
    """

    def __init__(
        self,
        insert: Callable[[Sequence[R]], Awaitable[object]],
        reject: Callable[[R, Exception], None],
        *,
        bad_row: tuple[type[Exception], ...],
        timeout_s: float = INSERT_TIMEOUT_S,
    ) -> None:
        self._insert, self._reject, self._bad_row, self._timeout_s = insert, reject, bad_row, timeout_s
        self.away = False
        self.written = 0
        self.retries = 0
        self.rejected = 0

    async def write(self, rows: Sequence[R]) -> None:
        """Returns when every row is in the table or rejected."""
        pause_s = BACKOFF_S
        while True:
            try:
                await self.write_once(rows)
            except Exception as error:  # noqa: BLE001 - whatever the database says, rows are kept and tried again
                if not self.away:
                    _log.warning("the database is away, records wait: %s: %s", type(error).__name__, error)
                self.away = True
                self.retries += 1
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, BACKOFF_MAX_S)
            else:
                if self.away:
                    _log.info("the database is back, records go on")
                self.away = False
                return

    async def write_once(self, rows: Sequence[R]) -> None:
        """One try. Raises what `insert` raised if the database is away; then some of the rows may be in the table."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._insert(rows)
            self.written += len(rows)
        except self._bad_row as error:
            if len(rows) == 1:
                self.rejected += 1
                _log.error("a record can not be stored and is set aside: %s", error)
                self._reject(rows[0], error)
                return
            middle = len(rows) // 2
            await self.write_once(rows[:middle])
            await self.write_once(rows[middle:])
