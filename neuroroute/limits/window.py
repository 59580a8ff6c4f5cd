"""
One true sliding window: never more than the limit in any span of the window's length, wherever it begins.

Amounts are kept in runs: [time of the last event, amount, time of the first]. Events closer together than the grain share a run that is
dated by its last event, so a run never leaves too early and at most one grain too late. Small limits have no grain: they are exact. So a
counter holds at most EXACT_LIMIT or GRAINS runs, and an event costs O(1).
"""

from collections import deque
from typing import Final

GRAINS: Final = 100  # a run is at most 1 % of the window: the most by which a counter may admit too little
EXACT_LIMIT: Final = 128

Run = list[float]
"""[last_at_s, amount, began_at_s]"""


class SlidingWindow:
    """Amounts spent in the last `window_s` seconds. Times are given by the caller, monotonic and in order."""

    __slots__ = ("grain_s", "runs", "used", "window_s")

    def __init__(self, window_s: float, limit: float) -> None:
        self.window_s = window_s
        self.grain_s = window_s / GRAINS if limit > EXACT_LIMIT else 0.0
        self.runs: deque[Run] = deque()
        self.used = 0.0

    def advance(self, now_s: float) -> float:
        """Forget what left the window; what is still in it."""
        runs, edge_s = self.runs, now_s - self.window_s
        while runs and runs[0][0] <= edge_s:
            self.used -= runs.popleft()[1]
        if not runs:
            self.used = 0.0
        return self.used

    def add(self, now_s: float, amount: float) -> Run:
        """Spend; the run it went to, for `give_back`."""
        self.used += amount
        runs = self.runs
        if runs and now_s - runs[-1][2] < self.grain_s:
            run = runs[-1]
            run[0] = now_s
            run[1] += amount
            return run
        run = [now_s, amount, now_s]
        runs.append(run)
        return run

    def give_back(self, run: Run, amount: float, now_s: float) -> None:
        """Take back what was spent in `run`, if it is still counted."""
        if run[0] > now_s - self.window_s:
            amount = min(amount, run[1])
            run[1] -= amount
            self.used -= amount

    def correct(self, run: Run, difference: float, now_s: float) -> None:
        """Replace an estimate that was spent in `run`: `difference` more, or less, was used."""
        if difference < 0:
            self.give_back(run, -difference, now_s)
        else:
            self.advance(now_s)
            self.add(now_s, difference)

    def wait_s(self, now_s: float, amount: float, limit: float) -> float | None:
        """Seconds until `amount` fits under `limit` if nothing else is spent; None = never."""
        if amount > limit:
            return None
        excess = self.used + amount - limit
        for last_at_s, spent, _ in self.runs:
            if excess <= 0:
                break
            excess -= spent
            if excess <= 0:
                return max(last_at_s + self.window_s - now_s, 0.0)
        return 0.0

    def reset_s(self, now_s: float) -> float:
        """Seconds until nothing is counted any more."""
        return max(self.runs[-1][0] + self.window_s - now_s, 0.0) if self.runs else 0.0
