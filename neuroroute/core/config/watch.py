"""The configuration file, followed while the gateway runs."""

import asyncio
import hashlib
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from neuroroute.core.config.text import ConfigFaulty, Layer, read

LOOK_EVERY_S: Final = 1.0
_log = logging.getLogger("neuroroute.config")

Take = Callable[[Layer], None]
"""Takes a changed file into use; raises ConfigFaulty to refuse it."""


class ConfigFile:
    """
    One YAML file. `layer` is its last good state, `fault` tells why the present one is refused (None = it is in use).

    The constructor reads it. Raises: ConfigFaulty.
    """

    def __init__(self, path: Path, environ: Mapping[str, str] = os.environ) -> None:
        self.path, self._environ = path, environ
        self._seen = self._look()
        self.layer = read(path, environ)
        self.fault: str | None = None

    def _look(self) -> bytes:
        """What tells one state of the file from another: also where a replaced link or a coarse clock keeps the time the same."""
        try:
            found = self.path.stat()
            return hashlib.sha256(f"{found.st_ino} {found.st_mtime_ns} {found.st_size}".encode() + self.path.read_bytes()).digest()
        except OSError as error:
            return f"away: {error.strerror}".encode()

    def _read_if_changed(self, force: bool) -> Layer | None:
        seen = self._look()
        if seen == self._seen and not force:
            return None
        self._seen = seen
        return read(self.path, self._environ)

    async def check(self, take: Take, *, force: bool = False) -> bool:
        """Hand a changed file to `take`; `force`: an unchanged one too. A bad one is logged and the old one kept. True: taken into use."""
        try:
            layer = await asyncio.to_thread(self._read_if_changed, force)
            if layer is None:
                return False
            take(layer)
        except ConfigFaulty as faulty:
            self.fault = str(faulty)
            _log.error("the changed configuration is refused, the old one stays:\n%s", faulty)
            return False
        self.layer, self.fault = layer, None
        _log.info("the configuration of %s is in effect", self.path)
        return True

    async def watch(self, take: Take) -> None:
        """Look at the file every second, for ever."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await self.check(take)
