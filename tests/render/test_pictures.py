"""Pictures: everything in them, nothing outside them, and the same bytes every time."""

import re
import shutil
import subprocess
from xml.etree import ElementTree

import numpy as np
import pytest

import acdc
from acdc.circuit.circuit import Circuit, ScoredEdge
from acdc.graph import Anatomy, ComponentGraph
from acdc.render.diagram import build_diagram
from acdc.render.dot import to_dot
from acdc.render.layout import NODE_GAP, lay_out
from acdc.render.svg import to_svg

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def base(trio, induction) -> Circuit:
    return acdc.discover(trio, induction, method="random", edges=10, limit=4).circuit


def circuit_of(base: Circuit, n: int, kv_heads: int = 4, layers: int = 4, heads: int = 4) -> Circuit:
    """A circuit of about n random edges in a model of the given shape."""
    shape = {**base.model.anatomy, "n_kv_heads": kv_heads, "n_layers": layers, "n_heads": heads}
    graph = ComponentGraph(Anatomy(**shape))
    generator = np.random.default_rng(0)
    kept = np.zeros(graph.n_edges, dtype=bool)
    kept[generator.choice(graph.n_edges, n, replace=False)] = True
    edges = [ScoredEdge(id=graph.edges[i].id, score=float(generator.normal())) for i in np.flatnonzero(kept)]
    model = base.model.model_copy(update={"anatomy": shape})
    sizes = {"edges_total": graph.n_edges, "edges_effective": int(graph.prune(kept).sum())}
    return base.model_copy(update={"model": model, "edges": edges, **sizes})


SHAPES = [(12, 4, 4, 4), (200, 4, 4, 4), (200, 2, 4, 4), (1500, 12, 12, 12)]


@pytest.mark.parametrize(("n", "kv", "layers", "heads"), SHAPES)
def test_svg_shows_every_edge_and_node(base, n, kv, layers, heads):
    circuit = circuit_of(base, n, kv, layers, heads)
    text = to_svg(circuit)
    root = ElementTree.fromstring(text)
    titles = [element.text for element in root.iter(f"{SVG}title")]
    for edge in circuit.effective:
        assert f"{edge.id}: {edge.score:+.4g}" in titles
    labels = {element.text for element in root.iter(f"{SVG}text")}
    assert {node.label for node in build_diagram(circuit).nodes} <= labels
    assert {"attention head", "MLP", "embedding", "logits", "into a query", "into a key", "into a value"} <= labels
    assert text == to_svg(circuit)


@pytest.mark.parametrize(("n", "kv", "layers", "heads"), SHAPES)
def test_layout_has_room_and_flows_down(base, n, kv, layers, heads):
    diagram = build_diagram(circuit_of(base, n, kv, layers, heads))
    layout = lay_out(diagram)
    rows = {}
    for box in [*layout.boxes.values(), *layout.trunks.values()]:
        rows.setdefault(box.y, []).append((box.x - box.width / 2, box.x + box.width / 2))
        assert box.x - box.width / 2 >= -0.2 and box.x + box.width / 2 <= layout.width + 0.2
    for spans in rows.values():
        spans.sort()
        assert all(b[0] - a[1] >= NODE_GAP - 0.3 for a, b in zip(spans, spans[1:], strict=False))
    for link in diagram.links:
        assert layout.boxes[link.source].y < layout.boxes[link.target].y


def test_strength_and_sign_are_drawn(base):
    graph = ComponentGraph(Anatomy(**base.model.anatomy))
    ids = ["input->m0", "m0->logits", "input->logits"]
    edges = [ScoredEdge(id=name, score=score) for name, score in zip(ids, (-4.0, -1.0, 2.0), strict=True)]
    circuit = base.model_copy(
        update={"edges": edges, "score_kind": "effect", "larger_is_better": True, "edges_total": graph.n_edges}
    )
    links = {link.tooltip.split(":")[0]: link for link in build_diagram(circuit).links}
    assert links[ids[0]].width > links[ids[2]].width > links[ids[1]].width
    assert [links[name].dashed for name in ids] == [False, False, True], "a larger metric without it: it works against"


def test_empty_circuit_has_a_picture(base):
    circuit = base.model_copy(update={"edges": [], "edges_effective": 0})
    assert "no edges" in to_svg(circuit)
    assert ElementTree.fromstring(to_svg(circuit)) is not None
    assert "digraph" in to_dot(circuit)


def test_names_cannot_break_out(base):
    task = base.task.model_copy(update={"name": 'x"]<script>&'})
    circuit = base.model_copy(update={"task": task})
    assert "<script>" not in to_svg(circuit)
    assert ElementTree.fromstring(to_svg(circuit)) is not None


@pytest.mark.parametrize(("n", "kv", "layers", "heads"), SHAPES[:3])
def test_dot_is_read_by_graphviz(base, n, kv, layers, heads):
    if shutil.which("dot") is None:
        pytest.skip("Graphviz's dot is not installed")
    circuit = circuit_of(base, n, kv, layers, heads)
    drawn = subprocess.run(["dot", "-Tplain"], input=to_dot(circuit), text=True, capture_output=True, check=True)
    heights = {}
    for line in drawn.stdout.splitlines():
        if match := re.match(r'node "?([\w.<>]+)"? \S+ (\S+)', line):
            heights[match[1]] = float(match[2])
    for link in build_diagram(circuit).links:
        source, target = (name.replace("<", "_").replace(">", "") for name in (link.source, link.target))
        assert heights[source] > heights[target], "ranks run downwards"
