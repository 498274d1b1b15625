"""The page of an attribution graph: its sentences, and a diagram to explore; one file that needs nothing else."""

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from string import Template
from typing import Any

from acdc.artefacts.attribution.graph import AttributionGraph
from acdc.artefacts.attribution.influence import Pruning
from acdc.artefacts.attribution.nodes import REMAINDERS, Node
from acdc.artefacts.attribution.verification import GraphVerification
from acdc.render.attribution.picture import look
from acdc.render.attribution.places import caption
from acdc.render.attribution.sentences import (
    HEAD,
    coverage,
    logit_head,
    logit_rows,
    strongest,
    subtitle,
    title,
    unit_rows,
    verified,
)
from acdc.render.grid import LOWERS, RAISES
from acdc.render.report.markup import Markup, element, facts, join, paragraph, safe, table
from acdc.render.style import NODE_FILL, NODE_LINE

SCRIPTS = ("fold.js", "arrange.js", "supernodes.js", "explorer.js", "controls.js", "start.js")
ROWS = 60  # of the table of units


def to_html(
    graph: AttributionGraph,
    pruning: Pruning,
    verification: GraphVerification | None = None,
    command: str = "",
    pages: Mapping[str, str] | None = None,
) -> str:
    """The page as text. `command` made the graph; `pages`: of what units mean, by their names."""
    sections = [
        _section(
            "Logits",
            "logits",
            table("What is explained", logit_head(graph), logit_rows(graph)),
        ),
        _section("Strongest units", "units", _units(graph, pruning)),
        _section("Verification", "verification", _verification(graph, verification)),
        _section("How it was made", "provenance", _provenance(graph, command)),
    ]
    return Template(_read("attribution", "page.html")).substitute(
        title=safe(title(graph)),
        subtitle=safe(subtitle(graph, pruning)),
        coverage=safe(coverage(graph)),
        colours=_colours(),
        style=_read("report", "report.css") + _read("attribution", "page.css"),
        sections=join(sections),
        data=_json(page_data(graph, pruning) | ({"pages": dict(pages)} if pages else {})),
        script="\n".join([_read("report", "basics.js"), *(_read("attribution", name) for name in SCRIPTS)]),
    )


def _read(folder: str, name: str) -> str:
    return (resources.files("acdc.render") / folder / name).read_text(encoding="utf-8")


def _json(value: Any) -> str:
    """JSON for a script element, which no text in it can end."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _colours() -> str:
    values = {"raises": RAISES, "lowers": LOWERS}
    for kind, fill in NODE_FILL.items():
        values |= {f"fill-{kind}": fill, f"line-{kind}": NODE_LINE[kind]}
    return ":root{" + "".join(f"--{name}:{value};" for name, value in values.items()) + "}"


def _section(name: str, anchor: str, content: str) -> Markup:
    return element("section", element("h2", name) + safe(content), id=anchor) if content else Markup("")


def _units(graph: AttributionGraph, pruning: Pruning) -> Markup:
    found = strongest(graph, pruning, ROWS)
    if not found:
        return paragraph("No unit is kept.")
    by = (
        "By influence on the logits; the direct effect is that on the first logit; tokens are those that it raises and "
        "lowers most by itself."
    )
    return table(by, HEAD, unit_rows(graph, found), words=(1, 5, 6))


def _verification(graph: AttributionGraph, found: GraphVerification | None) -> Markup:
    if found is None:
        return paragraph("This graph was not verified.")
    effects = [
        (e.id, *(f"{value:+.3g}" for value in (e.direct, e.measured_direct, e.total, e.attention_held, e.nothing_held)))
        for e in found.effects
    ]
    head = ("unit", "direct, graph", "direct, measured", "all paths, graph", "attention held", "nothing held")
    said = join(paragraph(sentence) for sentence in verified(graph, found))
    return said + (
        table("By how much the first logit falls with a unit at zero.", head, effects) if effects else Markup("")
    )


def _provenance(graph: AttributionGraph, command: str) -> Markup:
    origin = graph.origin
    rows = [
        ("model", origin.model),
        ("content", origin.content_hash),
        ("dtype", origin.dtype),
        *origin.units.items(),
        ("most units", "any" if origin.most_nodes is None else f"{origin.most_nodes:,}"),
        ("tokens", " ".join(str(token.index) for token in graph.tokens)),
        *origin.versions.items(),
    ]
    return facts(rows) + (element("pre", command, class_="command") if command else Markup(""))


def page_data(graph: AttributionGraph, pruning: Pruning) -> dict[str, Any]:
    """What the page's script draws: nodes, links as columns, strongest first, and supernodes."""
    kept = graph.kept(pruning)
    number = {node.id: count for count, node in enumerate(kept)}
    links = sorted(graph.links(pruning), key=lambda link: (-link.influence, link.source.id, link.target.id))
    return {
        "tokens": [repr(token.label) for token in graph.tokens],
        "nodes": [_node(graph, pruning, node) for node in kept],
        "links": {
            "source": [number[link.source.id] for link in links],
            "target": [number[link.target.id] for link in links],
            "weight": [_rounded(link.weight) for link in links],
            "influence": [_rounded(link.influence) for link in links],
        },
        "groups": {name: list(ids) for name, ids in graph.groups.items()},
    }


def _node(graph: AttributionGraph, pruning: Pruning, node: Node) -> dict[str, Any]:
    hints = graph.hints.get(node.id)
    return {
        "id": node.id,
        "look": look(node),
        "layer": node.layer,
        "position": node.position,
        "rest": node.kind in REMAINDERS,
        "always": not (node.is_unit or node.kind in REMAINDERS),
        "text": caption(node),
        "says": graph.describe(node),
        "value": _rounded(node.value) if node.is_target else None,
        "rank": _rounded(float(pruning.rank[graph.index[node.id]])),
        "raises": _tokens(hints.raises if hints else ()),
        "lowers": _tokens(hints.lowers if hints else ()),
    }


def _tokens(hints: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    return [(repr(text), _rounded(change)) for text, change in hints]


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
