"""What the process is doing, as health checks and the shutdown see it."""

from neuroroute.core import clock
from neuroroute.core.dataclass import dataclass, field


@dataclass(slots=True)
class Lifecycle:
    """`ready`: serves calls; `draining`: finishes the running ones and takes no more; `live_calls`: how many are running."""

    ready: bool = False
    draining: bool = False
    live_calls: int = 0
    started_s: float = field(default_factory=clock.monotonic_s)

    @property
    def uptime_s(self) -> float:
        return clock.monotonic_s() - self.started_s
