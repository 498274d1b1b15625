"""ROC curves as SVG text: how many true edges are found at the price of how many false ones."""

from collections.abc import Sequence
from dataclasses import dataclass

from acdc.render.escaping import escape
from acdc.render.style import INK

SIDE, LEFT, TOP, BOTTOM, LEGEND, GAP = 400.0, 64.0, 66.0, 56.0, 260.0, 24.0
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#5f6b76", "#000000")
DASHES = ("", "6 3", "2 3")
GRID, TICKS = "#e3e7eb", (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True)
class Curve:
    """A named curve: (false, true positive rate) by rising rates, and the area under it."""

    name: str
    points: Sequence[tuple[float, float]]
    area: float


def to_svg(heading: str, below: str, curves: Sequence[Curve]) -> str:
    """Curves as lower staircases, with a legend by falling area."""
    ranked = sorted(curves, key=lambda curve: (-curve.area, curve.name))
    width, height = LEFT + SIDE + GAP + LEGEND, TOP + max(SIDE, 20.0 * len(ranked)) + BOTTOM
    lines = [line for place, curve in enumerate(ranked) for line in _curve(curve, place)]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
            f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="Helvetica, Arial, sans-serif" font-size="12" '
            f'fill="{INK}" role="img" aria-label="{escape(heading)}">',
            f'<rect width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>',
            f'<text x="{LEFT}" y="28" font-size="16" font-weight="bold">{escape(heading)}</text>',
            f'<text x="{LEFT}" y="48" fill="#5f6b76">{escape(below)}</text>',
            *_axes(),
            *lines,
            "</svg>",
            "",
        ]
    )


def _x(rate: float) -> float:
    return LEFT + rate * SIDE


def _y(rate: float) -> float:
    return TOP + (1 - rate) * SIDE


def _axes() -> list[str]:
    lines = []
    for rate in TICKS:
        x, y = _x(rate), _y(rate)
        lines.append(f'<path d="M{LEFT} {y:.1f}H{LEFT + SIDE}M{x:.1f} {TOP}V{TOP + SIDE}" stroke="{GRID}"/>')
        lines.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{rate:.1f}</text>')
        lines.append(f'<text x="{x:.1f}" y="{TOP + SIDE + 18}" text-anchor="middle">{rate:.1f}</text>')
    middle = LEFT + SIDE / 2
    lines.append(f'<text x="{middle}" y="{TOP + SIDE + 40}" text-anchor="middle">share of other edges found</text>')
    lines.append(
        f'<text transform="translate(18 {TOP + SIDE / 2}) rotate(-90)" text-anchor="middle">share of true edges '
        "found</text>"
    )
    return lines


def _curve(curve: Curve, place: int) -> list[str]:
    colour, dash = COLOURS[place % len(COLOURS)], DASHES[place // len(COLOURS) % len(DASHES)]
    path = f"M{_x(0):.1f} {_y(0):.1f}" + "".join(f"H{_x(false):.1f}V{_y(true):.1f}" for false, true in curve.points)
    style = f'stroke="{colour}" stroke-width="1.8"' + (f' stroke-dasharray="{dash}"' if dash else "")
    x, y = LEFT + SIDE + GAP, TOP + 10 + 20 * place
    return [
        f'<path d="{path}" fill="none" {style}><title>{escape(curve.name)}</title></path>',
        f'<path d="M{x} {y - 4:.0f}H{x + 26}" {style}/>',
        f'<text x="{x + 34}" y="{y:.0f}">{escape(curve.name)}, area {curve.area:.3f}</text>',
    ]
