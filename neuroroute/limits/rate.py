"""
Requests and tokens per sliding window, all of a call's limits at once.

A `Check` names one limit of one subject and is made once per key, not per call. `Limiter.try_admit` answers in the process; where it can
not (a share of a limit must be fetched from Redis first) it says None and `admit` is awaited. Nothing is charged unless every check admits.
"""

import asyncio
from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple

from neuroroute.core.clock import monotonic_s
from neuroroute.core.dataclass import dataclass, field
from neuroroute.core.patience import patience
from neuroroute.limits.leases import ANSWER_S, Leases
from neuroroute.limits.share import Share
from neuroroute.limits.window import Run, SlidingWindow

_SWEEP_FROM: Final = 1024
_SWEEP_EVERY_S: Final = 30.0


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


class Standing(NamedTuple):
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
    charged: Sequence[tuple[SlidingWindow | Share, Run]] = ()
    charged_tokens: int = 0

    def headers(self) -> dict[str, str]:
        """OpenAI's x-ratelimit-* headers (lower-case), without those of units that are not limited."""
        found: dict[str, str] = {}
        if self.requests is not None:
            limit, remaining, reset_s = self.requests
            found["x-ratelimit-limit-requests"] = str(limit)
            found["x-ratelimit-remaining-requests"] = str(remaining)
            found["x-ratelimit-reset-requests"] = duration(reset_s)
        if self.tokens is not None:
            limit, remaining, reset_s = self.tokens
            found["x-ratelimit-limit-tokens"] = str(limit)
            found["x-ratelimit-remaining-tokens"] = str(remaining)
            found["x-ratelimit-reset-tokens"] = duration(reset_s)
        return found

    def correct(self, actual_tokens: int) -> None:
        """Replace the estimated tokens by what was used; also by 0 where nothing was."""
        difference = actual_tokens - self.charged_tokens
        if not self.charged or difference == 0:
            return
        self.charged_tokens = actual_tokens
        now_s = monotonic_s()
        for counter, run in self.charged:
            counter.correct(run, difference, now_s)


class Limiter:
    """
    The counters of one process.

    leases: the contact with other processes that share the limits; None = the limits are this process's own.
    """

    def __init__(self, leases: Leases | None = None) -> None:
        self._windows: dict[str, SlidingWindow] = {}
        self._sweep_at = _SWEEP_FROM
        self.leases = leases

    def __len__(self) -> int:
        return len(self._windows) + (len(self.leases.shares) if self.leases is not None else 0)

    @property
    def away(self) -> bool:
        """Whether the limits are shared and the common store can not be reached."""
        return self.leases is not None and self.leases.away

    def readings(self) -> list[tuple[str, tuple[str, ...], float]]:
        """For metrics: (name, label values, value)."""
        found: list[tuple[str, tuple[str, ...], float]] = [
            ("neuroroute_limit_counters", (), len(self)),
            ("neuroroute_shared_store_away", (), int(self.away)),
        ]
        if self.leases is not None:
            of_calls = self.leases.trips_of_calls
            found += [
                ("neuroroute_shared_store_failures", (), self.leases.failures),
                ("neuroroute_limit_trips", ("call",), of_calls),
                ("neuroroute_limit_trips", ("beat",), self.leases.trips - of_calls),
            ]
        return found

    def try_admit(self, checks: Sequence[Check], tokens: int = 0) -> Verdict | None:
        """Take one request and `tokens` tokens under every check. None: `admit` must be awaited."""
        if self.leases is None:
            return self._admit(checks, tokens, monotonic_s())
        now_s = monotonic_s()
        if self.leases.away:
            return self._admit_alone(self.leases, checks, tokens, now_s)
        verdict = self._admit_leased(self.leases, checks, tokens, now_s, ask=False)
        return self._admit_alone(self.leases, checks, tokens, now_s) if verdict is None and self.leases.late else verdict

    async def admit(self, checks: Sequence[Check], tokens: int = 0) -> Verdict:
        """
        The same with the right to ask the common store, and to wait for it as long as `wait_s`.

        Then this process decides alone.
        """
        leases = self.leases
        if leases is None:
            return self._admit(checks, tokens, monotonic_s())
        try:
            async with patience(leases.wait_s):
                while not (leases.away or leases.late):
                    verdict = self._admit_leased(leases, checks, tokens, monotonic_s(), ask=True)
                    if verdict is not None:
                        return verdict
                    await leases.wait()
        except TimeoutError:
            leases.overdue()
        return self._admit_alone(leases, checks, tokens, monotonic_s())

    async def run(self) -> None:
        """The background work, for ever: the beat of shared limits, or the dropping of idle counters."""
        if self.leases is not None:
            await self.leases.run()
        while True:
            await asyncio.sleep(_SWEEP_EVERY_S)
            self.sweep()

    def _admit(self, checks: Sequence[Check], tokens: int, now_s: float) -> Verdict:
        windows: list[SlidingWindow] = []
        for check in checks:
            window = self._windows.get(check.counter)
            if window is None:
                window = self._open(check, now_s)
            runs = window.runs
            if runs and runs[0][0] <= now_s - window.window_s:
                window.advance(now_s)
            if window.used + (tokens if check.is_tokens else 1) > check.limit:
                return self._refuse(checks, tokens, now_s)
            windows.append(window)
        verdict = Verdict(True)
        for check, window in zip(checks, windows, strict=True):
            if check.is_tokens:
                verdict.charged = (*verdict.charged, (window, window.add(now_s, tokens)))
                verdict.charged_tokens = tokens
            else:
                window.add(now_s, 1)
            _stand(verdict, check, check.limit - window.used, check.window_s)
        return verdict

    def _refuse(self, checks: Sequence[Check], tokens: int, now_s: float) -> Verdict:
        """The refusal of the check that will hold the call back longest."""
        verdict = Verdict(False)
        longest_s = -1.0
        for check in checks:
            window = self._windows.get(check.counter) or self._open(check, now_s)
            window.advance(now_s)
            wait_s = window.wait_s(now_s, tokens if check.is_tokens else 1, check.limit)
            longest_s = _hold_back(verdict, check, wait_s, longest_s)
            _stand(verdict, check, check.limit - window.used, window.reset_s(now_s))
        return verdict

    def _admit_leased(self, leases: Leases, checks: Sequence[Check], tokens: int, now_s: float, *, ask: bool) -> Verdict | None:
        shares: list[Share] = []
        lacking = refused = False
        for check in checks:
            share = leases.shares.get(check.counter)
            if share is None:
                share = leases.shares[check.counter] = Share(check.window_s, check.limit)
            share.limit = check.limit
            amount = tokens if check.is_tokens else 1
            shares.append(share)
            if (share.left >= amount and now_s < share.expires_s) or not amount:
                continue
            if amount > check.limit or (now_s < share.refused_until_s and amount >= share.refused_amount):
                refused = True
            else:
                lacking = True
                if ask:
                    leases.ask(check.counter, share, amount)
        if refused:
            return _refuse_leased(checks, shares, tokens, now_s)
        if lacking:
            return None
        verdict = Verdict(True)
        for check, share in zip(checks, shares, strict=True):
            run = share.spend(now_s, tokens if check.is_tokens else 1)
            if check.is_tokens:
                verdict.charged = (*verdict.charged, (share, run))
                verdict.charged_tokens = tokens
            if share.left <= share.low and not share.asked:
                leases.ask(check.counter, share)
            _stand(verdict, check, share.room + share.left, check.window_s)
        return verdict

    def _admit_alone(self, leases: Leases, checks: Sequence[Check], tokens: int, now_s: float) -> Verdict:
        verdict, longest_s = Verdict(True), -1.0
        shares: list[Share] = []
        for check in checks:
            share = leases.shares.get(check.counter)
            if share is None:
                share = leases.shares[check.counter] = Share(check.window_s, check.limit)
            share.limit = check.limit
            shares.append(share)
            amount = tokens if check.is_tokens else 1
            if leases.away:
                part = share.part(now_s, leases.holders, leases.contact_s)
                left = part - share.own.advance(now_s)
            else:
                left = share.cautious(now_s, leases.holders)
                if (share.left < amount or now_s >= share.expires_s) and not share.asked:
                    leases.ask(check.counter, share)
            if amount > left:
                verdict.admitted = False
                if amount > check.limit:
                    wait_s = None
                elif not leases.away:  # then it has answered, or is away
                    wait_s = ANSWER_S
                elif (wait_s := share.own.wait_s(now_s, amount, part)) is None:  # our part never holds so much: the store may be back
                    wait_s = check.window_s / 4
                longest_s = _hold_back(verdict, check, wait_s, longest_s)
            _stand(verdict, check, left - amount, check.window_s)
        for check, share in zip(checks, shares, strict=True) if verdict.admitted else ():
            run = share.spend(now_s, tokens if check.is_tokens else 1)
            if check.is_tokens:
                verdict.charged = (*verdict.charged, (share, run))
                verdict.charged_tokens = tokens
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


def _refuse_leased(checks: Sequence[Check], shares: Sequence[Share], tokens: int, now_s: float) -> Verdict:
    verdict, longest_s = Verdict(False), -1.0
    for check, share in zip(checks, shares, strict=True):
        amount = tokens if check.is_tokens else 1
        if amount > check.limit:
            longest_s = _hold_back(verdict, check, None, longest_s)
        elif now_s < share.refused_until_s and amount >= share.refused_amount:
            longest_s = _hold_back(verdict, check, share.retry_at_s - now_s, longest_s)
        _stand(verdict, check, share.room + share.left, check.window_s)
    return verdict


def _hold_back(verdict: Verdict, check: Check, wait_s: float | None, longest_s: float) -> float:
    """Name `check` in the refusal if it holds the call back longer than those before; None = for ever."""
    if wait_s is None:
        verdict.refused_by, verdict.retry_after_s = check, None
        return float("inf")
    if wait_s > longest_s:
        verdict.refused_by, verdict.retry_after_s = check, wait_s
        return wait_s
    return longest_s


def _stand(verdict: Verdict, check: Check, left: float, reset_s: float) -> None:
    known = verdict.tokens if check.is_tokens else verdict.requests
    if known is None or left < known[1]:
        standing = Standing(check.limit, int(left) if left > 0 else 0, reset_s)
        if check.is_tokens:
            verdict.tokens = standing
        else:
            verdict.requests = standing


@lru_cache(maxsize=256)  # most are whole windows
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
