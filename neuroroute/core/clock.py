"""The only readers of clocks. `monotonic_s` measures, `unix_s` and `utcnow` date."""

import time
from datetime import UTC, datetime

monotonic_s = time.monotonic


def unix_s() -> float:
    """Seconds since 1970, UTC."""
    return time.time()


def utcnow() -> datetime:
    """Now, aware, in UTC."""
    return datetime.now(UTC)
