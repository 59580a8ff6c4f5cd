"""
The ledger: takes the record of a finished call in a plain call and answers for it until it is in Postgres.

Records wait in order in memory. `run` (a tracked task) brings them to the table in batches and removes them only after the insert came back;
while the database is away it tries for ever, later each time. `close` writes what is left, with a deadline.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from typing import Final, Generic, TypeVar

from neuroroute.accounting.flusher import Flusher

R = TypeVar("R")

_log = logging.getLogger("neuroroute.ledger")

BATCH_ROWS: Final = 500
EVERY_S: Final = 0.2
BACKOFF_S: Final = 0.1
BACKOFF_MAX_S: Final = 3.0
MAX_WAITING: Final = 100_000  # about 100 MB of records: half an hour of outage at 50 calls a second


class Ledger(Generic[R]):
    """
    insert: see Flusher.
    max_waiting: records beyond it are lost, counted in `lost` and logged; it bounds the memory of a long outage.
    """

    def __init__(
        self,
        insert: Callable[[Sequence[R]], Awaitable[object]],
        *,
        every_s: float = EVERY_S,
        batch_rows: int = BATCH_ROWS,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self._flusher = Flusher(insert, self._reject)
        self._every_s, self._batch_rows, self._max_waiting = every_s, batch_rows, max_waiting
        self._waiting: deque[R] = deque()
        self._full_batch = asyncio.Event()
        self._writing = asyncio.Lock()
        self.away = False
        self.settled = 0
        self.retries = 0
        self.lost = 0
        self.rejected: list[R] = []

    def __len__(self) -> int:
        """Records that are not in the table yet."""
        return len(self._waiting)

    @property
    def written(self) -> int:
        """Records in the table."""
        return self._flusher.written

    def settle(self, record: R) -> None:
        """Take the record of a finished call. Never waits, never raises."""
        self.settled += 1
        if len(self._waiting) >= self._max_waiting:
            if not self.lost:
                _log.error("the ledger is full: records are lost until the database is back")
            self.lost += 1
            return
        self._waiting.append(record)
        if len(self._waiting) >= self._batch_rows:
            self._full_batch.set()

    async def run(self) -> None:
        """Write for ever: every `every_s`, or as soon as a batch is full."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._full_batch.wait(), self._every_s)
            self._full_batch.clear()
            await self.flush()

    async def flush(self) -> None:
        """Returns when all that was settled before is in the table, however long the database is away."""
        pause_s = BACKOFF_S
        async with self._writing:
            left = len(self._waiting)
            while left > 0:
                batch = list(islice(self._waiting, self._batch_rows))
                try:
                    await self._flusher.write(batch)
                except Exception as error:  # noqa: BLE001 - whatever stands in the way, records are kept and tried again
                    self._went_away(error)
                    await asyncio.sleep(pause_s)
                    pause_s = min(pause_s * 2, BACKOFF_MAX_S)
                    continue
                self._came_back()
                pause_s = BACKOFF_S
                left -= len(batch)
                for _ in batch:  # only now: a flush that is cancelled above has lost nothing
                    self._waiting.popleft()

    async def close(self, deadline_s: float = 5.0) -> int:
        """Write what is left, for at most `deadline_s`; how many records are left then."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline_s):
                await self.flush()
        if self._waiting:
            _log.error("%d records are not in the database", len(self._waiting))
        return len(self._waiting)

    def _went_away(self, error: Exception) -> None:
        if not self.away:
            _log.warning("the database is away, records wait: %s: %s", type(error).__name__, error)
        self.away = True
        self.retries += 1

    def _came_back(self) -> None:
        if self.away:
            _log.info("the database is back, %d records go on", len(self._waiting))
        self.away = False

    def _reject(self, record: R, error: Exception) -> None:
        self.rejected = [*self.rejected[-99:], record]
