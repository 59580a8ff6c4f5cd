"""The cost-quality picture of the evaluation, as SVG text."""

from collections.abc import Mapping, Sequence
from html import escape
from math import log10
from typing import Any, Final

WIDTH: Final = 760
HEIGHT: Final = 440
LEFT: Final = 64
RIGHT: Final = 24
TOP: Final = 44
BOTTOM: Final = 56
_HALO: Final = 'paint-order="stroke" stroke="#fff" stroke-width="4"'
"""Words stay readable where they cross a line."""


def picture(title: str, report: Mapping[str, Any]) -> str:
    """One stream: single models as dots, the dial 0..10 as a line, balanced, random and oracle; cost on a logarithmic scale."""
    singles: Mapping[str, Mapping[str, float]] = report["singles"]
    dial = [report["dial"][at] for at in sorted(report["dial"], key=float)]
    named: dict[str, Mapping[str, float]] = {"balanced": report["balanced"], "random": report["random"], "oracle": report["oracle"]}
    everything: list[Mapping[str, float]] = [*singles.values(), *dial, *named.values()]
    costs = [log10(point["cost_usd"]) for point in everything]
    qualities = [point["quality"] for point in everything]
    low, high = min(costs) - 0.05, max(costs) + 0.05
    floor, ceiling = min(qualities) - 0.02, max(qualities) + 0.02

    def place(point: Mapping[str, float]) -> tuple[float, float]:
        across = LEFT + (log10(point["cost_usd"]) - low) / (high - low) * (WIDTH - LEFT - RIGHT)
        down = HEIGHT - BOTTOM - (point["quality"] - floor) / (ceiling - floor) * (HEIGHT - TOP - BOTTOM)
        return round(across, 1), round(down, 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="system-ui, sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/><text x="{LEFT}" y="24" font-size="15" font-weight="600">{escape(title)}</text>',
        *_axes(floor, ceiling, low, high),
    ]
    for model, point in singles.items():
        x, y = place(point)
        parts.append(f'<circle cx="{x}" cy="{y}" r="4" fill="#9aa5b1"><title>{escape(model)}</title></circle>')
    parts.append(_line([place(point) for point in dial]))
    for name, point in named.items():
        x, y = place(point)
        parts.append(
            f'<circle cx="{x}" cy="{y}" r="5" fill="none" stroke="#c2410c" stroke-width="2"/><text x="{x + 4}" y="{y + 18}" {_HALO}>{name}</text>'
        )
    best = report["best_single"]
    x, y = place(best)
    parts.append(f'<text x="{x + 4}" y="{y + 18}" text-anchor="end" fill="#52606d" {_HALO}>{escape(str(best["model"]))}</text></svg>')
    return "\n".join(parts) + "\n"


def _line(points: Sequence[tuple[float, float]]) -> str:
    path = " ".join(f"{x},{y}" for x, y in points)
    dots = "".join(f'<circle cx="{x}" cy="{y}" r="3" fill="#1d4ed8"><title>dial {at}</title></circle>' for at, (x, y) in enumerate(points))
    return f'<polyline points="{path}" fill="none" stroke="#1d4ed8" stroke-width="2"/>{dots}'


def _axes(floor: float, ceiling: float, low: float, high: float) -> list[str]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = [f'<path d="M{LEFT} {TOP}V{bottom}H{right}" fill="none" stroke="#7b8794"/>']
    for step in range(6):
        quality = floor + (ceiling - floor) * step / 5
        y = bottom - (bottom - TOP) * step / 5
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{quality:.2f}</text>')
        cost = 10 ** (low + (high - low) * step / 5)
        x = LEFT + (right - LEFT) * step / 5
        parts.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">${cost * 1000:.3g}</text>')
    parts.append(f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 12}" text-anchor="middle">cost of 1,000 calls (logarithmic)</text>')
    parts.append(f'<text x="14" y="{TOP - 8}">quality</text>')
    return parts
