"""
The way of records into the table: all of a batch, or the news that the database is away.

A record that can not be stored is told from a database that can not store: it is the record's fault if others of its batch were stored.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

from neuroroute.store.postgres import DatabaseAway
from neuroroute.store.usage import BadRows

R = TypeVar("R")

_log = logging.getLogger("neuroroute.ledger")

INSERT_TIMEOUT_S: Final = 15.0
_FAULTS_TO_BLAME_DATABASE: Final = 4


class NothingStored(Exception):
    """The database refused every record: it is the database's fault (a table that is missing, a full disk)."""


class Flusher(Generic[R]):
    """
    insert: writes rows and returns when they are durable; the same row twice is one row. Raises BadRows after all others are stored,
    DatabaseAway, or what it likes.
    reject: takes a row that can not be stored.
    """

    def __init__(
        self,
        insert: Callable[[Sequence[R]], Awaitable[object]],
        reject: Callable[[R, Exception], None],
        *,
        timeout_s: float = INSERT_TIMEOUT_S,
    ) -> None:
        self._insert, self._reject, self._timeout_s = insert, reject, timeout_s
        self.written = 0
        self.rejected = 0

    async def write(self, rows: Sequence[R]) -> None:
        """
        When it returns, every row is in the table or rejected.

        Raises DatabaseAway, TimeoutError, OSError, NothingStored: then some rows may be in the table, and all are to be tried again.
        """
        faults: list[tuple[R, Exception]] = []
        stored = await self._try(rows, faults, 0)
        if faults and not stored:
            raise NothingStored(str(faults[0][1])) from faults[0][1]
        self.written += stored
        for row, error in faults:
            self._set_aside(row, error)

    async def _try(self, rows: Sequence[R], faults: list[tuple[R, Exception]], stored: int) -> int:
        """How many of `rows` and of those before are stored. A batch that fails is split until the fault stands alone."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._insert(rows)
            return stored + len(rows)
        except BadRows as bad:
            for row, error in bad.rejected:
                self._set_aside(row, error)  # type: ignore[arg-type]
            return stored + len(rows)
        except (DatabaseAway, TimeoutError, OSError):
            raise
        except Exception as error:
            if len(rows) == 1:
                faults.append((rows[0], error))
                if not stored and len(faults) >= _FAULTS_TO_BLAME_DATABASE:
                    raise NothingStored(str(error)) from error
                return stored
        middle = len(rows) // 2
        stored = await self._try(rows[:middle], faults, stored)
        return await self._try(rows[middle:], faults, stored)

    def _set_aside(self, row: R, error: Exception) -> None:
        self.rejected += 1
        _log.error("a record can not be stored and is set aside: %s", error)
        self._reject(row, error)
