"""
Numbers of several workers of one machine: each writes its own to a file in a folder they share, and adds up all files when asked.

A worker that is gone leaves its file: what it counted stays counted. The supervisor empties the folder when it starts.
"""

import contextlib
import logging
import os
from pathlib import Path
from typing import Final

from neuroroute.core.clock import unix_s
from neuroroute.core.jsonbytes import dumps, loads
from neuroroute.telemetry.series import Snapshot

_log = logging.getLogger("neuroroute.metrics")

METRICS_FOLDER: Final = "metrics"
"""Below the data directory."""

LIVE_S: Final = 10.0
"""A file older than this is of a worker that is gone: its counters count, its gauges do not."""

EVERY_S: Final = 2.0


class Shared:
    """folder: where the files are; name: of this worker's, unlike any other's."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._own = folder, folder / f"{name}.metrics"

    def write(self, snapshot: Snapshot) -> None:
        """Replace this worker's file. Blocks; raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        fresh = self._own.with_suffix(f".{os.getpid()}.tmp")
        fresh.write_bytes(dumps(snapshot.as_data()))
        fresh.replace(self._own)

    def others(self) -> list[tuple[Snapshot, bool]]:
        """The other workers' numbers, and whether each is alive. Blocks. A file that makes no sense is left out."""
        found: list[tuple[Snapshot, bool]] = []
        for path in sorted(self._folder.glob("*.metrics")):
            if path == self._own:
                continue
            try:
                alive = unix_s() - path.stat().st_mtime < LIVE_S
                found.append((Snapshot.of(loads(path.read_bytes())), alive))
            except (OSError, ValueError, TypeError, KeyError) as error:
                _log.warning("the metrics file %s can not be read: %s", path.name, type(error).__name__)
        return found


def empty(folder: Path) -> None:
    """Forget all workers' numbers. Blocks."""
    for path in folder.glob("*.metrics"):
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
