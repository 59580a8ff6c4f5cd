"""Charts as plain data: where each bar of an SVG stands. The template draws them; what a bar says is its title, so it needs no script."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

WIDTH: Final = 960
HEIGHT: Final = 220
_LEFT: Final = 64
_BOTTOM: Final = 24
_TOP: Final = 10
_LABELS: Final = 8
_BARS_MAX: Final = 400
HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Bar:
    """x, width: of the whole bar. parts: (class, y, height) from the bottom up. said: what it stands for, in words."""

    x: float
    width: float
    parts: tuple[tuple[str, float, float], ...]
    said: str


@dataclass(frozen=True, slots=True)
class Chart:
    """ticks: (y, text) of the lines across; marks: (x, text) below. empty: there is nothing to see."""

    bars: tuple[Bar, ...]
    ticks: tuple[tuple[float, str], ...]
    marks: tuple[tuple[float, str], ...]
    empty: bool
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    floor: int = HEIGHT - _BOTTOM


def step_of(length: timedelta) -> str:
    """The group that makes a readable number of bars."""
    return "hour" if length <= timedelta(days=4) else "day"


def filled(
    rows: Sequence[Mapping[str, Any]], group: str, since: datetime, until: datetime
) -> list[tuple[datetime, Mapping[str, Any] | None]]:
    """Every hour or day of a time, the last _BARS_MAX of them, with its row if it has one."""
    step = HOUR if group == "hour" else DAY
    known = {row[group]: row for row in rows}
    begun = max(since, until - step * _BARS_MAX).astimezone(UTC)
    at = begun.replace(hour=begun.hour if group == "hour" else 0, minute=0, second=0, microsecond=0)
    found = []
    while at < until:
        found.append((at, known.get(at)))
        at += step
    return found


def stacked(
    slots: Sequence[tuple[datetime, Mapping[str, Any] | None]],
    group: str,
    parts: Callable[[Mapping[str, Any]], Sequence[tuple[str, float]]],
    written: Callable[[float], str],
    said: Callable[[Mapping[str, Any]], str],
) -> Chart:
    """
    Bars over time.

    parts: (class, amount) of a row from the bottom up. written: an amount on the axis. said: a row in words.
    """
    stacks = [[(name, max(float(amount), 0.0)) for name, amount in parts(row)] if row is not None else [] for _, row in slots]
    most = max((sum(amount for _, amount in stack) for stack in stacks), default=0.0)
    top = _round_up(most)
    room = HEIGHT - _BOTTOM - _TOP
    pitch = (WIDTH - _LEFT) / max(len(slots), 1)
    wide = max(pitch * 0.72, 1.0)
    bars = []
    for place, ((at, row), stack) in enumerate(zip(slots, stacks, strict=True)):
        x, y, drawn = _LEFT + place * pitch + (pitch - wide) / 2, float(HEIGHT - _BOTTOM), []
        for name, amount in stack:
            height = amount / top * room if top else 0.0
            y -= height
            if height > 0:
                drawn.append((name, round(y, 1), round(max(height, 0.8), 1)))
        bars.append(Bar(round(x, 1), round(wide, 1), tuple(drawn), f"{_named(at, group)}: {said(row) if row is not None else 'no calls'}"))
    ticks = tuple((round(HEIGHT - _BOTTOM - room * share, 1), written(top * share)) for share in (0.0, 0.5, 1.0)) if top else ()
    every = max(-(-len(slots) // _LABELS), 1)
    marks = tuple(
        (round(_LEFT + (place + 0.5) * pitch, 1), _mark(at, group)) for place, (at, _) in enumerate(slots) if place % every == every // 2
    )
    return Chart(tuple(bars), ticks, marks, most <= 0)


def _round_up(most: float) -> float:
    """The next round number, so that half of it is one too."""
    if most <= 0:
        return 0.0
    power = 10.0 ** (len(str(int(most))) - 1) if most >= 1 else 1.0
    while power > most:
        power /= 10
    return next(power * factor for factor in (1, 2, 3, 4, 5, 6, 8, 10) if power * factor >= most)


def _named(at: datetime, group: str) -> str:
    return at.strftime("%a %d %b, %H:%M") if group == "hour" else at.strftime("%a %d %b %Y")


def _mark(at: datetime, group: str) -> str:
    return at.strftime("%H:%M") if group == "hour" else at.strftime("%d %b")
