"""How often something may be done that is useful but not needed."""

from neuroroute.core.dataclass import dataclass, field


@dataclass(slots=True)
class Allowance:
    """`per_s` times a second on average, `burst` times at once."""

    per_s: float
    burst: float
    _left: float = field(init=False)
    _at_s: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self._left = self.burst

    def take(self, now_s: float) -> bool:
        """True, and counted, if it may be done now (monotonic seconds)."""
        self._left = min(self._left + (now_s - self._at_s) * self.per_s, self.burst)
        self._at_s = now_s
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
