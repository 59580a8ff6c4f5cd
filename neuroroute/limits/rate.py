"""
Requests and tokens per sliding window, all of a call's limits at once.

A `Check` names one limit of one subject and is made once per key, not per call. `Limiter.try_admit` answers in the process; where it can
not (a share of a limit must be fetched from Redis first) it says None and `admit` is awaited. Nothing is charged unless every check admits.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from neuroroute.core.clock import monotonic_s
from neuroroute.limits.window import Run, SlidingWindow

_SWEEP_FROM: Final = 1024


class Unit(StrEnum):
    REQUESTS = "requests"
    TOKENS = "tokens"


@dataclass(frozen=True, slots=True)
class Check:
    """
    One limit of one subject: at most `limit` units in any `window_s` seconds.

    scope: what the subject is (key, user, global, group:prompt, ...); named in the refusal.
    """

    scope: str
    subject: str
    limit: int
    window_s: float = 60.0
    unit: Unit = Unit.REQUESTS
    counter: str = field(init=False, repr=False, compare=False)
    is_tokens: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "counter", f"{self.unit[0]}:{self.scope}:{self.subject}:{self.window_s:g}")
        object.__setattr__(self, "is_tokens", self.unit is Unit.TOKENS)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a caller stands under its tightest limit of one unit. reset_s: until the limit is whole again."""

    limit: int
    remaining: int
    reset_s: float


@dataclass(slots=True)
class Verdict:
    """
    Whether a call may go on.

    refused_by: the check that said no. retry_after_s: when the same call would be let in; None when it never would (it asks for more tokens
    than the limit holds). requests and tokens: the tightest limit of each unit, for `headers`.
    """

    admitted: bool
    refused_by: Check | None = None
    retry_after_s: float | None = 0.0
    requests: Standing | None = None
    tokens: Standing | None = None
    charged: list[tuple[SlidingWindow, Run]] = field(default_factory=list, repr=False)
    charged_tokens: int = 0

    def headers(self) -> dict[str, str]:
        """OpenAI's x-ratelimit-* headers (lower-case), without those of units that are not limited."""
        found: dict[str, str] = {}
        for unit, standing in (("requests", self.requests), ("tokens", self.tokens)):
            if standing is not None:
                found[f"x-ratelimit-limit-{unit}"] = str(standing.limit)
                found[f"x-ratelimit-remaining-{unit}"] = str(standing.remaining)
                found[f"x-ratelimit-reset-{unit}"] = duration(standing.reset_s)
        return found

    def correct(self, actual_tokens: int) -> None:
        """Replace the estimated tokens by what was used. Once per call; also with 0 where nothing was."""
        difference = actual_tokens - self.charged_tokens
        if not self.charged or difference == 0:
            return
        self.charged_tokens = actual_tokens
        now_s = monotonic_s()
        for window, run in self.charged:
            if difference < 0:
                window.give_back(run, -difference, now_s)
            else:
                window.advance(now_s)
                window.add(now_s, difference)


class Limiter:
    """The counters of one process."""

    def __init__(self) -> None:
        self._windows: dict[str, SlidingWindow] = {}
        self._sweep_at = _SWEEP_FROM

    def __len__(self) -> int:
        return len(self._windows)

    def try_admit(self, checks: Sequence[Check], tokens: int = 0) -> Verdict | None:
        """Take one request and `tokens` tokens under every check. None: `admit` must be awaited."""
        return self._admit(checks, tokens, monotonic_s())

    async def admit(self, checks: Sequence[Check], tokens: int = 0) -> Verdict:
        """The same with the right to ask Redis, for at most 50 ms."""
        return self._admit(checks, tokens, monotonic_s())

    def _admit(self, checks: Sequence[Check], tokens: int, now_s: float) -> Verdict:
        windows: list[SlidingWindow] = []
        for check in checks:
            window = self._windows.get(check.counter) or self._open(check, now_s)
            amount = tokens if check.is_tokens else 1
            if window.advance(now_s) + amount > check.limit:
                return self._refuse(checks, tokens, now_s)
            windows.append(window)
        verdict = Verdict(True, charged_tokens=tokens)
        for check, window in zip(checks, windows, strict=True):
            if check.is_tokens:
                verdict.charged.append((window, window.add(now_s, tokens)))
            else:
                window.add(now_s, 1)
        _stand(verdict, checks, windows, now_s)
        return verdict

    def _refuse(self, checks: Sequence[Check], tokens: int, now_s: float) -> Verdict:
        """The refusal of the check that will hold the call back longest."""
        windows: list[SlidingWindow] = []
        refused_by, longest_s = checks[0], -1.0
        for check in checks:
            window = self._windows.get(check.counter) or self._open(check, now_s)
            window.advance(now_s)
            windows.append(window)
            wait_s = window.wait_s(now_s, tokens if check.is_tokens else 1, check.limit)
            if wait_s is None:
                refused_by, longest_s = check, float("inf")
            elif wait_s > longest_s:
                refused_by, longest_s = check, wait_s
        verdict = Verdict(False, refused_by, None if longest_s == float("inf") else longest_s)
        _stand(verdict, checks, windows, now_s)
        return verdict

    def _open(self, check: Check, now_s: float) -> SlidingWindow:
        if len(self._windows) >= self._sweep_at:
            self.sweep(now_s)
        window = self._windows[check.counter] = SlidingWindow(check.window_s, check.limit)
        return window

    def sweep(self, now_s: float | None = None) -> int:
        """Drop the counters that count nothing; how many."""
        now_s = monotonic_s() if now_s is None else now_s
        idle = [name for name, window in self._windows.items() if not window.advance(now_s)]
        for name in idle:
            del self._windows[name]
        self._sweep_at = max(_SWEEP_FROM, 2 * len(self._windows))
        return len(idle)


def _stand(verdict: Verdict, checks: Sequence[Check], windows: Sequence[SlidingWindow], now_s: float) -> None:
    requests_left = tokens_left = float("inf")
    for check, window in zip(checks, windows, strict=True):
        left = check.limit - window.used
        if check.is_tokens:
            if left < tokens_left:
                tokens_left = left
                verdict.tokens = Standing(check.limit, max(int(left), 0), window.reset_s(now_s))
        elif left < requests_left:
            requests_left = left
            verdict.requests = Standing(check.limit, max(int(left), 0), window.reset_s(now_s))


def duration(seconds: float) -> str:
    """As OpenAI writes it: 120ms, 8.64s, 1m0s, 6h0m0s."""
    if seconds < 1.0:
        return f"{max(int(seconds * 1000), 0)}ms"
    whole = int(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    rest = seconds - whole + whole % 60
    tail = f"{rest:.3f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{tail}"
    return f"{minutes}m{tail}" if minutes else tail
