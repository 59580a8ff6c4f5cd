"""Charts as plain data: where each bar of an SVG stands. The template draws them; what a bar says is its title, so it needs no script."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from neuroroute.core.dataclass import dataclass

WIDTH: Final = 960
HEIGHT: Final = 220
_LEFT: Final = 64
_BOTTOM: Final = 24
_TOP: Final = 10
_LABELS: Final = 8
_NAMES: Final = 260
_TIMES: Final = 90
_LINE: Final = 26
_BARS_MAX: Final = 400
HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Bar:
    """
    x, width, middle: of the whole bar. parts: (class, y, height) from the bottom up. said: what it stands for, in words.

    dots: (class, y), where lines pass.
    """

    x: float
    width: float
    parts: tuple[tuple[str, float, float], ...]
    said: str
    dots: tuple[tuple[str, float], ...] = ()

    @property
    def middle(self) -> float:
        return round(self.x + self.width / 2, 1)


@dataclass(frozen=True, slots=True)
class Chart:
    """ticks: (y, text) of the rules across; marks: (x, text) below. empty: there is nothing to see. lines: (class, points) from dot to dot."""

    bars: tuple[Bar, ...]
    ticks: tuple[tuple[float, str], ...]
    marks: tuple[tuple[float, str], ...]
    empty: bool
    lines: tuple[tuple[str, str], ...] = ()
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    floor: int = HEIGHT - _BOTTOM


@dataclass(frozen=True, slots=True)
class Span:
    """Something that took its time. kind: its class. Times in ms, `at_ms` since the call began."""

    name: str
    kind: str
    at_ms: float
    took_ms: float


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a waterfall. x, width: of its bar; text_x: where its time is written. said: in words."""

    span: Span
    y: float
    x: float
    width: float
    text_x: float
    said: str


@dataclass(frozen=True, slots=True)
class Waterfall:
    """ticks: (x, text) of the lines down."""

    rows: tuple[Row, ...]
    ticks: tuple[tuple[float, str], ...]
    height: int
    width: int = WIDTH
    left: int = _NAMES


def waterfall(spans: Sequence[Span], total_ms: float) -> Waterfall:
    """Spans below each other over one axis of time. What is too short to be seen gets a bar of two units."""
    room, total_ms = WIDTH - _NAMES - _TIMES, total_ms or 1.0
    rows = []
    for place, span in enumerate(spans):
        x = _NAMES + min(span.at_ms / total_ms, 1.0) * room
        wide = max(min(span.took_ms / total_ms, 1.0) * room, 2.0)
        wide = min(wide, _NAMES + room + 2.0 - x)
        said = f"{span.name}: {_short_ms(span.took_ms)}, from {_short_ms(span.at_ms)} on"
        rows.append(Row(span, _TOP + place * _LINE, round(x, 1), round(wide, 1), round(x + wide + 6, 1), said))
    ticks = tuple((round(_NAMES + room * share, 1), _short_ms(total_ms * share)) for share in (0.0, 0.25, 0.5, 0.75, 1.0))
    return Waterfall(tuple(rows), ticks, _TOP + len(rows) * _LINE + _BOTTOM)


def _short_ms(value: float) -> str:
    return (
        f"{value / 1000:,.2f} s"
        if value >= 10_000
        else f"{value:,.0f} ms"
        if value >= 100
        else f"{value:.1f} ms"
        if value >= 1
        else f"{value * 1000:,.0f} µs"
    )


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
    return Chart(tuple(bars), _ticks(top, written), _marks(slots, group), most <= 0)


def lines(
    slots: Sequence[tuple[datetime, Mapping[str, Any] | None]],
    group: str,
    values: Callable[[Mapping[str, Any]], Sequence[tuple[str, float | None]]],
    written: Callable[[float], str],
    said: Callable[[Mapping[str, Any]], str],
) -> Chart:
    """Lines over time, broken where nothing is known. values: (class, amount) of a row, always the same classes. The others as in `stacked`."""
    found = [[(name, amount) for name, amount in values(row) if amount is not None] if row is not None else [] for _, row in slots]
    most = max((amount for row in found for _, amount in row), default=0.0)
    top, room, pitch = _round_up(most), HEIGHT - _BOTTOM - _TOP, (WIDTH - _LEFT) / max(len(slots), 1)
    bars, runs = [], dict[str, list[list[str]]]()
    for place, ((at, row), amounts) in enumerate(zip(slots, found, strict=True)):
        dots = tuple((name, round(HEIGHT - _BOTTOM - amount / top * room, 1)) for name, amount in amounts) if top else ()
        text = f"{_named(at, group)}: {said(row) if row is not None else 'no calls'}"
        bars.append(Bar(round(_LEFT + place * pitch, 1), round(pitch, 1), (), text, dots))
        known = dict(dots)
        for name in {*runs, *known}:
            strokes = runs.setdefault(name, [[]])
            if name in known:
                strokes[-1].append(f"{bars[-1].middle},{known[name]}")
            elif strokes[-1]:
                strokes.append([])
    drawn = tuple((name, " ".join(stroke)) for name, strokes in sorted(runs.items()) for stroke in strokes if len(stroke) > 1)
    return Chart(tuple(bars), _ticks(top, written), _marks(slots, group), most <= 0, drawn)


def _ticks(top: float, written: Callable[[float], str]) -> tuple[tuple[float, str], ...]:
    room = HEIGHT - _BOTTOM - _TOP
    return tuple((round(HEIGHT - _BOTTOM - room * share, 1), written(top * share)) for share in (0.0, 0.5, 1.0)) if top else ()


def _marks(slots: Sequence[tuple[datetime, Mapping[str, Any] | None]], group: str) -> tuple[tuple[float, str], ...]:
    pitch, every = (WIDTH - _LEFT) / max(len(slots), 1), max(-(-len(slots) // _LABELS), 1)
    return tuple(
        (round(_LEFT + (place + 0.5) * pitch, 1), _mark(at, group)) for place, (at, _) in enumerate(slots) if place % every == every // 2
    )


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
