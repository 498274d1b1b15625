"""What is folded in pictures of large attribution graphs: nothing is lost, and what is left can be read."""

import numpy as np
import pytest
from test_attribution_graphs import small

from acdc.artefacts.attribution.graph import AttributionGraph, Origin
from acdc.artefacts.attribution.nodes import Node, NodeKind
from acdc.render.attribution.folding import by_influence, fold
from acdc.render.attribution.picture import draw
from acdc.render.attribution.places import HEIGHT, WIDTH, arrange

LAYERS = 30


def deep(length: int = 5, each: int = 5) -> AttributionGraph:
    """A graph of 30 layers with units at random places, most of them at the last token, all of whose links are kept."""
    draw = np.random.default_rng(0)
    places = [(layer, length - 1) for layer in range(LAYERS) for _ in range(each)]
    places += draw.integers(0, (12, length), (40, 2)).tolist()
    units = [Node(NodeKind.NEURON, layer, at, n, value=1.0) for n, (layer, at) in enumerate(sorted(map(tuple, places)))]
    rests = [Node(NodeKind.REST, layer, at) for layer in range(LAYERS) for at in range(1, length)]
    tokens = [Node(NodeKind.TOKEN, -1, at, at, label=f" token{at}") for at in range(length)]
    logits = [Node(NodeKind.LOGIT, LAYERS, length - 1, n, value=1.0, weight=0.1, label=f" word{n}") for n in range(8)]
    nodes = (*units, *rests, *tokens, Node(NodeKind.FIRST), *logits)
    sources = nodes[: -len(logits)]
    weights = draw.normal(size=(len(units) + len(logits), len(sources))) ** 3
    for row, target in enumerate((*units, *logits)):
        for column, source in enumerate(sources):
            if source.layer >= target.layer or source.position > target.position:
                weights[row, column] = 0.0
    origin = Origin("toy", "abc", "float64", "many tokens", {"units": "hidden neurons"}, 400, 0.9, 0.98, {})
    return AttributionGraph(nodes, weights, origin)


@pytest.mark.parametrize("length", [5, 24])
def test_large_graphs_are_folded_until_they_can_be_read(length):
    graph = deep(length)
    pruning = graph.prune()
    assert len(graph.kept(pruning)) > 200
    found = arrange(graph, pruning)
    assert found.fits and found.places.width <= WIDTH and found.places.height <= HEIGHT
    own = {node.id for node in found.folded.graph.kept(found.folded.pruning) if node.is_unit}
    assert {node.id for node in by_influence(graph, pruning)[:8]} <= own
    assert found.folded.count + len(found.places.boxes) - _boxes(found) == len(graph.kept(pruning))
    assert {node.id for node in graph.logits} <= found.places.boxes.keys()


def _boxes(found) -> int:
    return sum(node.kind is NodeKind.FOLDED for node in found.folded.graph.nodes)


def test_boxes_do_not_overlap():
    graph = deep()
    boxes = list(arrange(graph, graph.prune()).places.boxes.values())
    for number, one in enumerate(boxes):
        for other in boxes[:number]:
            apart_x = abs(one.x - other.x) >= (one.width + other.width) / 2
            assert apart_x or abs(one.y - other.y) >= (one.height + other.height) / 2


@pytest.mark.parametrize("columns", [False, True])
def test_links_of_folded_nodes_are_summed_up(columns):
    graph = deep(8)
    pruning = graph.prune()
    found = fold(graph, pruning, by_influence(graph, pruning)[:20], columns)
    inside = {node.id: node for node in found.graph.nodes if node.kind is NodeKind.FOLDED}
    kept = graph.kept(pruning)
    assert sum(node.index for node in inside.values()) + len(found.graph.kept(found.pruning)) - len(inside) == len(kept)
    own = {node.id for node in found.graph.nodes} & {node.id for node in kept}
    between = sum(link.weight for link in graph.links(pruning) if {link.source.id, link.target.id} <= own)
    links = found.graph.links(found.pruning)
    assert sum(k.weight for k in links if {k.source.id, k.target.id} <= own) == pytest.approx(between)
    assert all(link.source is not link.target for link in links)
    into = {name: sum(k.influence for k in links if k.target.id == name) for name in own}
    for link in graph.links(pruning):
        if link.target.id in own:
            into[link.target.id] -= link.influence
    assert np.allclose(list(into.values()), 0, atol=1e-12)


def test_small_graphs_are_not_folded():
    graph = small()
    found = arrange(graph, graph.prune())
    assert found.folded.count == 0 and found.places.boxes.keys() == {node.id for node in graph.kept(graph.prune())}


def test_every_node_is_drawn_where_that_is_asked_for():
    graph = deep()
    picture = draw(graph, graph.prune(), every=True)
    assert len(picture.nodes) == len(graph.kept(graph.prune())) and picture.height > HEIGHT
    folded = draw(graph, graph.prune())
    assert len(folded.nodes) < 150 and len({node.id for node in folded.nodes}) == len(folded.nodes)
    assert min(node.label.size for node in folded.nodes) > 10
