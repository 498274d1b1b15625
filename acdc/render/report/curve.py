"""Faithfulness over the size of a circuit, as SVG in the colours of the page."""

from collections.abc import Sequence
from math import ceil, floor, log10

from acdc.render.report.markup import Markup
from acdc.words import count_of

WIDTH, HEIGHT = 720.0, 300.0
LEFT, RIGHT, TOP, BOTTOM = 64.0, 20.0, 16.0, 48.0
STEPS = (0.1, 0.2, 0.25, 0.5, 1.0, 2.0, 5.0)


def size_curve(measured: Sequence[tuple[int, float]], own: tuple[int, float] | None, unit: str = "edge") -> Markup:
    """`measured`: (units, faithfulness), at least one; `own`: that of the circuit itself."""
    axes = _Axes([*measured, *([own] if own else [])])
    points = [(axes.x(edges), axes.y(value), edges, value) for edges, value in measured]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y, *_ in points)
    dots = [
        f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="4" tabindex="0" role="img" '
        f'aria-label="{_said(edges, value, unit)}"><title>{_said(edges, value, unit)}</title></circle>'
        for x, y, edges, value in points
    ]
    if own:
        x, y, said = axes.x(own[0]), axes.y(own[1]), f"this circuit: {_said(*own, unit)}"
        dots.append(
            f'<path class="own" d="M{x:.1f} {y - 7:.1f}l7 7l-7 7l-7 -7z" tabindex="0" role="img" aria-label="{said}">'
            f"<title>{said}</title></path>"
        )
    return Markup(
        f'<svg class="chart" viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" role="group" aria-label="faithfulness over the '
        f'number of {unit}s">{"".join(axes.draw(unit))}<polyline points="{path}"/>{"".join(dots)}</svg>'
    )


def _said(edges: int, value: float, unit: str) -> str:
    return f"{count_of(edges, unit)}, {value:.1%} recovered"


class _Axes:
    """Edges from left to right by powers of ten, faithfulness from below up, with 0 and 1 always in sight."""

    def __init__(self, points: Sequence[tuple[int, float]]):
        sizes, values = [max(1, edges) for edges, _ in points], [0.0, 1.0, *(value for _, value in points)]
        self.first = floor(log10(min(sizes)))
        self.last = max(ceil(log10(max(sizes))), self.first + 1)
        span = max(values) - min(values)
        self.step = next((step for step in STEPS if span <= 6 * step), ceil(span / 6))
        self.low = self.step * floor(min(values) / self.step)
        self.high = self.step * ceil(max(values) / self.step)

    def x(self, edges: int) -> float:
        return LEFT + (log10(max(1, edges)) - self.first) / (self.last - self.first) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (value - self.low) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM)

    def draw(self, unit: str) -> list[str]:
        lines, bottom = [], HEIGHT - BOTTOM
        for place in range(round((self.high - self.low) / self.step) + 1):
            value = self.low + place * self.step
            kind = "whole" if abs(value - 1) < 1e-9 or abs(value) < 1e-9 else "grid"
            y = self.y(value)
            lines.append(f'<line class="{kind}" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            lines.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:.0%}</text>')
        for power in range(self.first, self.last + 1):
            x = self.x(10**power)
            lines.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}"/>')
            lines.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{10**power:,}</text>')
        middle = (LEFT + WIDTH - RIGHT) / 2
        lines.append(f'<text x="{middle:.0f}" y="{HEIGHT - 8}" text-anchor="middle">{unit}s selected, by rank</text>')
        return lines
