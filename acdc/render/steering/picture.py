"""The dose-response curve as SVG text: strengths from left to right, the metric with its interval from below up, and
random directions of the same norm as open circles."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from acdc.render.escaping import escape
from acdc.render.style import INK, NODE_LINE

if TYPE_CHECKING:
    from acdc.steering.steer import Dose, Steered

WIDTH, HEIGHT = 640.0, 400.0
LEFT, RIGHT, TOP, BOTTOM = 80.0, 24.0, 72.0, 60.0
GRID, QUIET = "#e3e7eb", "#5f6b76"
LINE, BAND = NODE_LINE["attention"], 0.18


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        span = self.high - self.low or 1.0
        return self.start + (value - self.low) / span * (self.stop - self.start)


def to_svg(found: "Steered") -> str:
    """Of a task's metric; the model as it is stands at strength 0."""
    first = found.doses[0].task
    points = sorted(
        [(0.0, first.before), *((one.strength, one.task.after) for one in found.doses)], key=lambda at: at[0]
    )
    values = [end for _, one in points for end in (one.low, one.value, one.high) if end is not None]
    values += [one.task.after.value for one in found.random if one.task.after.value is not None]
    slack = 0.05 * (max(values) - min(values) or 1.0)
    x = _Scale(points[0][0], points[-1][0], LEFT, WIDTH - RIGHT)
    y = _Scale(min(values) - slack, max(values) + slack, HEIGHT - BOTTOM, TOP)
    placed = [(x(strength), y(one.value)) for strength, one in points if one.value is not None]
    upper = [(x(s), y(one.high)) for s, one in points if one.high is not None]
    lower = [(x(s), y(one.low)) for s, one in points if one.low is not None]
    heading = f"{first.metric} of {first.task} in {found.model}"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH:.0f}" height="{HEIGHT:.0f}" '
        f'viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" font-family="Helvetica, Arial, sans-serif" font-size="12" '
        f'fill="{INK}" role="img" aria-label="{escape(heading)}">',
        f'<rect width="{WIDTH:.0f}" height="{HEIGHT:.0f}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="28" font-size="16" font-weight="bold">{escape(heading)}</text>',
        f'<text x="{LEFT}" y="48" fill="{QUIET}">{escape(found.direction)}, added at {escape(found.at)}</text>',
        *_grid(x, y, [strength for strength, _ in points]),
        f'<polygon points="{_path(upper + lower[::-1])}" fill="{LINE}" opacity="{BAND}"/>',
        f'<polyline points="{_path(placed)}" fill="none" stroke="{LINE}" stroke-width="2"/>',
        *(f'<circle cx="{at:.1f}" cy="{to:.1f}" r="3.5" fill="{LINE}"/>' for at, to in placed),
        *(_random(one, x, y) for one in found.random),
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 16}" text-anchor="middle">norm of what is added '
        f"(the residual stream there: {found.norm:.3g}); open circles: random directions</text>",
        "</svg>",
        "",
    ]
    return "\n".join(lines)


def _path(points: list[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _grid(x: _Scale, y: _Scale, strengths: list[float]) -> list[str]:
    lines = []
    for part in range(5):
        value = y.low + (y.high - y.low) * part / 4
        at = y(value)
        lines.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}" stroke="{GRID}"/>')
        lines.append(f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{value:.3g}</text>')
    for strength in strengths:
        at = x(strength)
        lines.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="{GRID}"/>')
        lines.append(f'<text x="{at:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{strength:g}</text>')
    return lines


def _random(one: "Dose", x: _Scale, y: _Scale) -> str:
    value = one.task.after.value
    if value is None:
        return ""
    return f'<circle cx="{x(one.strength):.1f}" cy="{y(value):.1f}" r="4" fill="none" stroke="{QUIET}"/>'
