"""A circuit as DOT text: layers as ranks, component classes by fill, q, k and v edges by colour, width by |score|."""

from itertools import groupby

import graphviz

from acdc.circuit.circuit import Circuit
from acdc.render.diagram import Diagram, build_diagram
from acdc.render.style import INK, NODE_FILL, NODE_LABEL, NODE_LINE, legend_edges, subtitle, title

MANY_LINKS = 300  # above, dot's careful layout takes minutes


def to_dot(circuit: Circuit) -> str:
    """DOT text of the effective circuit, with a legend. Scores stand in the edges' tooltips."""
    dot = graphviz.Digraph("circuit")
    font = {"fontname": "Helvetica,Arial,sans-serif", "fontcolor": INK}
    dot.attr(label=f"{title(circuit)}\n{subtitle(circuit)}", labelloc="t", fontsize="16", **font)
    dot.attr(rankdir="TB", ranksep="0.6", nodesep="0.2")
    dot.attr("node", shape="box", style="filled,rounded", fontsize="12", height="0.35", penwidth="1.4", **font)
    dot.attr("edge", arrowsize="0.6", **font)
    diagram = build_diagram(circuit)
    if len(diagram.links) > MANY_LINKS:
        dot.attr(splines="line", mclimit="0.05", nslimit="0.5", nslimit1="0.5")
    _add_nodes(dot, diagram)
    for link in diagram.links:
        dot.edge(
            _quote(link.source),
            _quote(link.target),
            color=link.colour,
            penwidth=f"{link.width:g}",
            style="dotted" if link.is_wiring else "dashed" if link.dashed else "solid",
            tooltip=link.tooltip or "shared slot",
        )
    _add_legend(dot)
    return dot.source


def _quote(name: str) -> str:
    """Node names without the characters that DOT reads as markup or ports."""
    return name.replace("<", "_").replace(">", "")


def _add_nodes(dot: graphviz.Digraph, diagram: Diagram) -> None:
    """Nodes rank by rank; invisible anchors keep the ranks in order where no edge does."""
    previous = None
    for rank, nodes in groupby(diagram.nodes, key=lambda node: node.rank):
        anchor = f"rank {rank}"
        if previous is not None:
            dot.edge(previous, anchor, style="invis")
        previous = anchor
        with dot.subgraph(name=f"layer {rank}") as same:
            same.attr(rank="same")
            same.node(anchor, style="invis", shape="point", width="0")
            for node in nodes:
                kind = "attention" if node.kind == "slot" else node.kind
                small = {"fontsize": "9", "height": "0.2", "fillcolor": "white"} if node.kind == "slot" else {}
                look = {"fillcolor": NODE_FILL[kind], "color": NODE_LINE[kind], "label": node.label} | small
                same.node(_quote(node.id), **look)


def _add_legend(dot: graphviz.Digraph) -> None:
    rows = [
        f'<tr><td bgcolor="{NODE_FILL[kind]}" border="1" color="{NODE_LINE[kind]}" width="26"></td>'
        f'<td align="left">{label}</td></tr>'
        for kind, label in NODE_LABEL.items()
    ]
    rows += [
        f'<tr><td align="center"><font color="{colour}">{"- - -" if dashed else "&#8212;&#8212;"}</font></td>'
        f'<td align="left">{label}</td></tr>'
        for colour, label, dashed in legend_edges()
    ]
    table = f'<<table border="0" cellborder="0" cellspacing="3">{"".join(rows)}</table>>'
    dot.node("legend", label=table, shape="plain", style="", fontsize="10")
