"""A circuit as SVG text, written directly: it needs no Graphviz, and the same circuit gives the same bytes."""

from collections import defaultdict
from collections.abc import Sequence
from html import escape

from acdc.circuit.circuit import Circuit
from acdc.graph import ReaderKind
from acdc.render.diagram import Diagram, Link, build_diagram
from acdc.render.layout import Box, Layout, lay_out
from acdc.render.style import (
    INK,
    NODE_FILL,
    NODE_LABEL,
    NODE_LINE,
    TRUNK_COLOUR,
    legend_edges,
    subtitle,
    title,
)

MARGIN, HEADER, LEGEND_WIDTH, LEGEND_HEIGHT = 24.0, 62.0, 210.0, 250.0
LETTER = 9.4  # of a heading, on average
PORT_SHARE = {ReaderKind.Q: -0.3, ReaderKind.K: 0.0, ReaderKind.V: 0.3}


def to_svg(circuit: Circuit) -> str:
    """SVG text of the effective circuit, with a title, a legend and each edge's score as a tooltip."""
    return picture(
        build_diagram(circuit),
        title(circuit),
        subtitle(circuit),
        legend_edges(),
        "width grows with |score|",
        "no edges: nothing is needed beyond the ablated run",
    )


def picture(
    diagram: Diagram, heading: str, below: str, meanings: Sequence[tuple[str, str, bool]], note: str, nothing: str
) -> str:
    """SVG text of a diagram under two lines of text, with a legend of its (colour, meaning, dashed) edges and a note;
    `nothing` stands in the place of a diagram without nodes."""
    layout = lay_out(diagram)
    text_width = LETTER * max(len(heading), len(below))
    width = max(layout.width + LEGEND_WIDTH + 3 * MARGIN, text_width + 2 * MARGIN)
    height = max(layout.height, LEGEND_HEIGHT) + HEADER + 2 * MARGIN
    missing = [f'<text x="{MARGIN}" y="{HEADER + MARGIN:.0f}">{escape(nothing)}</text>']
    legend_x = width - LEGEND_WIDTH - MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
            f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="Helvetica, Arial, sans-serif" font-size="13" '
            f'fill="{INK}" role="img" aria-label="{escape(heading)}">',
            _arrowheads(meanings),
            f'<rect width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>',
            f'<text x="{MARGIN}" y="{MARGIN + 12:.0f}" font-size="17" font-weight="bold">{escape(heading)}</text>',
            f'<text x="{MARGIN}" y="{MARGIN + 32:.0f}" fill="#5f6b76">{escape(below)}</text>',
            f'<g transform="translate({MARGIN:.0f} {HEADER + MARGIN:.0f})">',
            *(_draw(diagram, layout) if diagram.nodes else missing),
            "</g>",
            f'<g transform="translate({legend_x:.0f} {HEADER + MARGIN:.0f})">',
            *_legend(meanings, note),
            "</g>",
            "</svg>",
            "",
        ]
    )


def _arrowheads(meanings: Sequence[tuple[str, str, bool]]) -> str:
    colours = sorted({colour for colour, _, _ in meanings})
    heads = "".join(
        f'<marker id="head{colour[1:]}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
        f'markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0L8 4L0 8z" fill="{colour}"/></marker>'
        for colour in colours
    )
    return f"<defs>{heads}</defs>"


def _draw(diagram: Diagram, layout: Layout) -> list[str]:
    ports = _ports(diagram, layout)
    strongest: dict[str, float] = defaultdict(float)
    for link in diagram.links:
        strongest[link.source] = max(strongest[link.source], link.width)
    parts = [_trunk(source, rank, layout, strongest[source]) for source, rank in sorted(layout.trunks)]
    parts += [_link(link, layout, ports) for link in sorted(diagram.links, key=lambda link: -link.width)]
    for node in diagram.nodes:
        box, kind = layout.boxes[node.id], "attention" if node.kind == "slot" else node.kind
        fill, radius = ("#ffffff", 12) if node.kind == "slot" else (NODE_FILL[kind], 6)
        parts.append(
            f'<g><rect x="{box.x - box.width / 2:.1f}" y="{box.y - box.height / 2:.1f}" width="{box.width:.1f}" '
            f'height="{box.height:.1f}" rx="{radius}" fill="{fill}" stroke="{NODE_LINE[kind]}" stroke-width="1.4"/>'
            f'<text x="{box.x:.1f}" y="{box.y + 4.5:.1f}" text-anchor="middle">{escape(node.label)}</text></g>'
        )
    return parts


def _ports(diagram: Diagram, layout: Layout) -> dict[Link, float]:
    """Where along a target's top each link arrives: q, k and v of a head apart, others by where they come from."""
    arriving: dict[str, list[Link]] = defaultdict(list)
    ports = {}
    for link in diagram.links:
        box = layout.boxes[link.target]
        if link.port in PORT_SHARE and not link.target.endswith(">"):
            ports[link] = box.x + PORT_SHARE[link.port] * box.width
        else:
            arriving[link.target].append(link)
    for target, links in arriving.items():
        box = layout.boxes[target]
        links.sort(key=lambda link: (_leaves(link, layout).x, link.source))
        for i, link in enumerate(links):
            ports[link] = box.x + box.width * 0.8 * ((i + 0.5) / len(links) - 0.5)
    return ports


def _leaves(link: Link, layout: Layout) -> Box:
    """The box that the drawn part of a link starts from: its source, or the source's trunk above the target."""
    rank = layout.ranks[link.target] - 1
    return layout.boxes[link.source] if layout.ranks[link.source] == rank else layout.trunks[link.source, rank]


def _trunk(source: str, rank: int, layout: Layout, strongest: float) -> str:
    """One step of a trunk: from the rank above into this rank's slot and through it."""
    start = layout.boxes[source] if layout.ranks[source] == rank - 1 else layout.trunks[source, rank - 1]
    end = layout.trunks[source, rank]
    top, bottom = start.y + start.height / 2, end.y - end.height / 2
    middle = (top + bottom) / 2
    return (
        f'<path d="M{start.x:.1f} {top:.1f}C{start.x:.1f} {middle:.1f} {end.x:.1f} {middle:.1f} {end.x:.1f} '
        f'{bottom:.1f}V{end.y + end.height / 2:.1f}" fill="none" stroke="{TRUNK_COLOUR}" '
        f'stroke-width="{0.6 * strongest + 0.8:.2f}"><title>output of {escape(source)}</title></path>'
    )


def _link(link: Link, layout: Layout, ports: dict[Link, float]) -> str:
    start, target, x = _leaves(link, layout), layout.boxes[link.target], ports[link]
    top, bottom = start.y + start.height / 2, target.y - target.height / 2
    middle = (top + bottom) / 2
    dash = ' stroke-dasharray="2 3"' if link.is_wiring else ' stroke-dasharray="6 4"' if link.dashed else ""
    return (
        f'<path d="M{start.x:.1f} {top:.1f}C{start.x:.1f} {middle:.1f} {x:.1f} {middle:.1f} {x:.1f} {bottom:.1f}" '
        f'fill="none" stroke="{link.colour}" stroke-width="{link.width:g}" stroke-opacity="0.85"{dash} '
        f'marker-end="url(#head{link.colour[1:]})"><title>{escape(link.tooltip or "shared slot")}</title></path>'
    )


def _legend(meanings: Sequence[tuple[str, str, bool]], note: str) -> list[str]:
    parts, y = [], 10.0
    for kind, label in NODE_LABEL.items():
        parts.append(
            f'<rect x="0" y="{y - 10:.0f}" width="26" height="14" rx="4" fill="{NODE_FILL[kind]}" '
            f'stroke="{NODE_LINE[kind]}" stroke-width="1.4"/><text x="36" y="{y + 2:.0f}">{label}</text>'
        )
        y += 22
    for colour, label, dashed in meanings:
        dash = ' stroke-dasharray="6 4"' if dashed else ""
        parts.append(
            f'<path d="M0 {y - 3:.0f}H26" stroke="{colour}" stroke-width="2.4"{dash}/>'
            f'<text x="36" y="{y + 2:.0f}">{label}</text>'
        )
        y += 22
    parts.append(f'<path d="M0 {y - 3:.0f}H26" stroke="{TRUNK_COLOUR}" stroke-width="3"/>')
    parts.append(f'<text x="36" y="{y + 2:.0f}">output carried to later layers</text>')
    parts.append(f'<text x="0" y="{y + 26:.0f}" fill="#5f6b76">{escape(note)}</text>')
    return parts
