"""
The ledger: takes the record of a finished call in a plain call and answers for it until it is in Postgres.

Records wait in order. `run` (a tracked task) brings them to the table in batches and lets go of them only after the insert came back; while the
database is away it tries for ever, later each time. With a journal a call is noted before its provider is asked (`open`) and again when it is
finished (`settle`), so a killed process loses nothing; records then wait there, and in memory only where the journal had no room.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from typing import Final, Generic, NamedTuple, TypeVar

from neuroroute.accounting.flusher import Flusher
from neuroroute.accounting.journal import Journal, JournalFull, Place
from neuroroute.accounting.records import Codec
from neuroroute.core.errors import Unavailable
from neuroroute.store.usage import Written

R = TypeVar("R")

_log = logging.getLogger("neuroroute.ledger")

BATCH_ROWS: Final = 500
EVERY_S: Final = 0.2
BACKOFF_S: Final = 0.1
BACKOFF_MAX_S: Final = 3.0
MAX_IN_MEMORY: Final = 200_000  # about an hour of outage at 50 calls a second
_REJECTED_KEPT: Final = 100


class _Waiting(NamedTuple, Generic[R]):
    """A record that is not in the table yet: in the journal (`place`), else in memory (`record`). key: where the ledger has a codec."""

    key: str
    place: Place | None
    record: R | None


class Ledger(Generic[R]):
    """
    insert: see Flusher. journal and codec: go together; without them a killed process loses what waits.
    max_in_memory: of records that are not in the journal; more are lost, counted in `lost` and logged.
    on_written: called with the keys of records that are in the table now, or that it can not hold.
    """

    def __init__(
        self,
        insert: Callable[[Sequence[R | Written]], Awaitable[object]],
        *,
        journal: Journal | None = None,
        codec: Codec[R] | None = None,
        every_s: float = EVERY_S,
        batch_rows: int = BATCH_ROWS,
        max_in_memory: int = MAX_IN_MEMORY,
        on_written: Callable[[Sequence[str]], object] = lambda keys: None,
    ) -> None:
        self._flusher = Flusher(insert, self._reject)
        self._journal = journal if codec is not None else None
        self._codec = codec
        self._every_s, self._batch_rows, self._on_written = every_s, batch_rows, on_written
        self._max_in_memory = max_in_memory
        self._waiting: deque[_Waiting[R]] = deque()
        self._opened: dict[str, Place] = {}
        self._full_batch = asyncio.Event()
        self._writing = asyncio.Lock()
        self.away = False
        self.settled = 0
        self.retries = 0
        self.lost = 0
        self.unjournaled = 0
        self.rejected: list[R | Written] = []
        self._fresh_rejects: list[R | Written] = []

    def __len__(self) -> int:
        """Records that are not in the table yet."""
        return len(self._waiting)

    @property
    def written(self) -> int:
        """Records in the table."""
        return self._flusher.written

    @property
    def has_room(self) -> bool:
        """Whether another call may begin."""
        return self._journal is None or self._journal.has_room

    def open(self, key: str, begun: bytes) -> None:
        """
        Note a call before its provider is asked. begun: what the codec decodes to a record; fields may be missing.

        Raises Unavailable if there is no space to note it: then it must not be made.
        """
        if self._journal is None:
            return
        try:
            self._opened[key] = self._journal.append_open(begun)
        except (JournalFull, ValueError) as error:
            raise Unavailable("The gateway can not keep its books at the moment.", retry_after_s=5.0) from error

    def settle(self, record: R) -> None:
        """Take the record of a finished call. Never waits, never raises."""
        self.settled += 1
        key = self._codec.key(record) if self._codec is not None else ""
        place = self._close_in_journal(key, record)
        if place is not None:
            self._waiting.append(_Waiting(key, place, None))
        elif len(self._waiting) < self._max_in_memory:
            self._waiting.append(_Waiting(key, None, record))
        else:
            if not self.lost:
                _log.error("the ledger is full: records are lost until the database is back")
            self.lost += 1
            return
        if len(self._waiting) >= self._batch_rows:
            self._full_batch.set()

    def _close_in_journal(self, key: str, record: R) -> Place | None:
        journal, codec = self._journal, self._codec
        if journal is None or codec is None:
            return None
        place = None
        try:
            place = journal.append_close(codec.encode(record))
        except (JournalFull, ValueError, TypeError) as error:
            if not self.unjournaled:
                _log.error("finished calls are not in the journal, only in memory: %s", error)
            self.unjournaled += 1
        opened = self._opened.pop(key, None)
        if opened is not None:
            journal.release(opened)
        return place

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
                    await self._flusher.write(self._rows(batch))
                except Exception as error:  # noqa: BLE001 - whatever stands in the way, records are kept and tried again
                    self._went_away(error)
                    await asyncio.sleep(pause_s)
                    pause_s = min(pause_s * 2, BACKOFF_MAX_S)
                    continue
                self._came_back()
                await self._keep_rejected()
                pause_s = BACKOFF_S
                left -= len(batch)
                self._let_go(len(batch))
                self._on_written([waiting.key for waiting in batch])

    def _rows(self, batch: Sequence[_Waiting[R]]) -> list[R | Written]:
        found: list[R | Written] = []
        for _, place, record in batch:
            if record is not None:
                found.append(record)
            elif place is not None:
                frame = place[0].frame_at(place[1])
                if frame is None:
                    _log.error("a record in the journal was damaged while it waited")
                    self.lost += 1
                else:
                    found.append(Written(frame.payload))
        return found

    def _let_go(self, count: int) -> None:
        """Only after the insert came back: a flush that is cancelled before has lost nothing."""
        for _ in range(count):
            place = self._waiting.popleft().place
            if place is not None and self._journal is not None:
                self._journal.release(place)

    async def close(self, deadline_s: float = 5.0) -> int:
        """Write what is left, for at most `deadline_s`; how many records are left then."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline_s):
                await self.flush()
        if self._waiting:
            where = "wait in the journal" if self._journal is not None else "are lost"
            _log.error("%d records are not in the database and %s", len(self._waiting), where)
        return len(self._waiting)

    def readings(self) -> list[tuple[str, tuple[str, ...], float]]:
        """For metrics: (name, label values, value)."""
        return [
            ("neuroroute_ledger_waiting", (), len(self._waiting)),
            ("neuroroute_ledger_written", (), self.written),
            ("neuroroute_ledger_retries", (), self.retries),
            ("neuroroute_ledger_rejected", (), self._flusher.rejected),
            ("neuroroute_ledger_lost", (), self.lost),
            ("neuroroute_ledger_unjournaled", (), self.unjournaled),
        ]

    def _went_away(self, error: Exception) -> None:
        if not self.away:
            _log.warning("the database is away, records wait: %s: %s", type(error).__name__, error)
        self.away = True
        self.retries += 1

    def _came_back(self) -> None:
        if self.away:
            _log.info("the database is back, %d records go on", len(self._waiting))
        self.away = False

    def _reject(self, record: R | Written, error: Exception) -> None:
        self.rejected = [*self.rejected[1 - _REJECTED_KEPT :], record]
        self._fresh_rejects.append(record)

    async def _keep_rejected(self) -> None:
        """Before their places in the journal are given up."""
        rejects, self._fresh_rejects = self._fresh_rejects, []
        if rejects and self._journal is not None and self._codec is not None:
            payloads = [one.text if isinstance(one, Written) else self._codec.encode(one) for one in rejects]
            await asyncio.to_thread(self._journal.set_aside, payloads)
