"""The curve of a sweep as SVG text: edges kept against faithfulness."""

from collections.abc import Sequence
from math import ceil, floor, log10

from acdc.artefacts.curve import CurvePoint, CurveRecord
from acdc.render.escaping import escape
from acdc.render.style import INK, NODE_LINE
from acdc.words import count_of

WIDTH, HEIGHT = 640.0, 400.0
LEFT, RIGHT, TOP, BOTTOM = 72.0, 24.0, 64.0, 60.0
SEEN, UNSEEN = NODE_LINE["attention"], NODE_LINE["mlp"]
GRID = "#e3e7eb"
SLACK = 0.1  # how far, in steps, a value may stick out of the frame
STEPS = [base * 10.0**power for power in range(-1, 12) for base in (2, 5, 10)]  # between ticks of faithfulness


def to_svg(curve: CurveRecord) -> str:
    """Faithfulness on discovery and on unseen rows over the number of edges, on a logarithmic axis."""
    points, heading, metric = curve.points, f"{curve.task.name} in {curve.model.name}", curve.metric
    axes = _Axes(points)
    lines = [
        *_curve([(p.edges_effective, p.unseen_faithfulness, p) for p in points], axes, UNSEEN),
        *_curve([(p.edges_effective, p.faithfulness, p) for p in points], axes, SEEN),
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH:.0f}" height="{HEIGHT:.0f}" '
            f'viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" font-family="Helvetica, Arial, sans-serif" font-size="12" '
            f'fill="{INK}" role="img" aria-label="{escape(heading)}">',
            f'<rect width="{WIDTH:.0f}" height="{HEIGHT:.0f}" fill="#ffffff"/>',
            f'<text x="{LEFT}" y="28" font-size="16" font-weight="bold">{escape(heading)}</text>',
            f'<text x="{LEFT}" y="48" fill="#5f6b76">faithfulness in {escape(metric)} over the circuit size</text>',
            *axes.draw(),
            *lines,
            *_legend(any(p.unseen_faithfulness is not None for p in points)),
            "</svg>",
            "",
        ]
    )


class _Axes:
    """Edges from left to right by powers of ten, faithfulness from below up."""

    def __init__(self, points: Sequence[CurvePoint]):
        sizes = [max(1, p.edges_effective) for p in points]
        values = [f for p in points for f in (p.faithfulness, p.unseen_faithfulness) if f is not None]
        self.first, self.last = floor(log10(min(sizes))), max(ceil(log10(max(sizes))), floor(log10(min(sizes))) + 1)
        low, high = min(0.0, *values, 0.0), max(1.0, *values, 1.0)
        self.step = next(step for step in STEPS if high - low <= 8 * step)
        self.low = self.step * floor(low / self.step + SLACK)
        self.high = self.step * ceil(high / self.step - SLACK)

    def x(self, edges: int) -> float:
        share = (log10(max(1, edges)) - self.first) / (self.last - self.first)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    def draw(self) -> list[str]:
        lines = []
        ticks = [self.low + i * self.step for i in range(round((self.high - self.low) / self.step) + 1)]
        for value in ticks:
            y = self.y(value)
            lines.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{GRID}"/>')
            lines.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:.0%}</text>')
        for power in range(self.first, self.last + 1):
            x = self.x(10**power)
            lines.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="{GRID}"/>')
            lines.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{10**power:,}</text>')
        lines.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 18}" text-anchor="middle">edges</text>')
        return lines


def _curve(points: Sequence[tuple[int, float | None, CurvePoint]], axes: _Axes, colour: str) -> list[str]:
    placed = [(axes.x(edges), axes.y(value), p) for edges, value, p in points if value is not None]
    placed.sort(key=lambda at: at[:2])
    if not placed:
        return []
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in placed)
    dots = (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}">'
        f"<title>threshold {p.threshold:.4g}: {count_of(p.edges_effective, 'edge')}</title></circle>"
        for x, y, p in placed
    )
    return [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>', *dots]


def _legend(unseen: bool) -> list[str]:
    entries = [(SEEN, "discovery rows")] + ([(UNSEEN, "unseen rows")] if unseen else [])
    lines = []
    for place, (colour, text) in enumerate(entries):
        y = HEIGHT - BOTTOM - 34 + 18 * place
        lines.append(f'<circle cx="{WIDTH - RIGHT - 118}" cy="{y - 4:.0f}" r="4" fill="{colour}"/>')
        lines.append(f'<text x="{WIDTH - RIGHT - 108}" y="{y:.0f}">{text}</text>')
    return lines
