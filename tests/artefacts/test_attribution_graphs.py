"""Files of attribution graphs: written and read again, JSON of front ends, what is damaged or foreign; and
influence."""

import json

import numpy as np
import pytest

from acdc.artefacts.attribution.front_end import cantor, parse_front_end, to_front_end
from acdc.artefacts.attribution.graph import AttributionGraph, Origin, TokenHints
from acdc.artefacts.attribution.influence import graph_scores, prune, shares, total_influence
from acdc.artefacts.attribution.nodes import Node, NodeKind
from acdc.artefacts.attribution.store import is_trace, load_graph, save_graph
from acdc.errors import InputError

EVIL = '</script><img src=x onerror="alert(1)">\x1b[31m'


def small(kind=NodeKind.NEURON, label="a") -> AttributionGraph:
    """Two tokens, three units, two logits; the unit 0.2 at layer 1 has the id of an error in front ends."""
    remainder, units = (
        (NodeKind.REST, "hidden neurons") if kind is NodeKind.NEURON else (NodeKind.ERROR, "features of transcoders")
    )
    nodes = (
        Node(kind, 0, 0, 7, value=1.5),
        Node(kind, 0, 1, 1, value=-2.0),
        Node(kind, 1, 1, 4, value=0.5),
        Node(remainder, 0, 1),
        Node(remainder, 1, 1),
        Node(NodeKind.TOKEN, -1, 0, 11, label=label),
        Node(NodeKind.TOKEN, -1, 1, 12, label="b"),
        Node(NodeKind.POSITION, -1, 1),
        Node(NodeKind.BIAS),
        Node(NodeKind.FIRST),
        Node(NodeKind.LOGIT, 2, 1, 20, value=3.0, weight=0.7, label="yes"),
        Node(NodeKind.LOGIT, 2, 1, 21, 22, value=1.0, weight=0.2, label="no less so"),
    )
    generator = np.random.default_rng(0)
    weights = generator.normal(size=(5, 10))
    weights[0, :5] = weights[1, :5] = 0
    weights[2, [2, 4]] = 0
    origin = Origin("toy", "abc", "float64", f"{label}b", {"units": units}, 3, 1.0, 1.0, {"acdc": "0"})
    return AttributionGraph(nodes, weights, origin, {"m0.n7@0": TokenHints((("x", 1.0),), (("y", -1.0),))})


def test_ids():
    assert [node.id for node in small().nodes] == [
        "m0.n7@0", "m0.n1@1", "m1.n4@1", "m0.rest@1", "m1.rest@1", "token@0", "token@1", "position@1", "bias", "first",
        "logit:20", "logit:21-22",
    ]  # fmt: skip
    assert small(NodeKind.FEATURE).nodes[2].id == "m1.f4@1" and small(NodeKind.FEATURE).nodes[4].id == "m1.error@1"


def test_cantor_pairs_are_different():
    assert len({cantor(layer, unit) for layer in range(30) for unit in range(30)}) == 900
    assert cantor(0, 28) == 434  # of the reference file


def test_saved_and_loaded(tmp_path):
    graph = small()
    graph.save(tmp_path / "g")
    found = load_graph(tmp_path / "g")
    assert found.nodes == graph.nodes and (found.weights == graph.weights).all()
    assert found.origin == graph.origin and found.hints == graph.hints
    first = {path.name: path.read_bytes() for path in (tmp_path / "g").iterdir()}
    save_graph(found, tmp_path / "again")
    assert first == {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()}
    assert is_trace(tmp_path / "g") and is_trace(tmp_path / "g/attribution.json") and not is_trace(tmp_path)


def test_front_end_and_back(tmp_path):
    """The same nodes and weights, but for the values that such files do not have."""
    graph = small()
    values = to_front_end(graph, graph.prune(), "toy graph!")
    assert values["metadata"]["slug"] == "toy-graph-" and values["metadata"]["schema_version"] == 1
    assert [node["is_target_logit"] for node in values["nodes"]][-2:] == [True, False]
    (tmp_path / "g.json").write_text(json.dumps(values))
    found = load_graph(tmp_path / "g.json")
    assert [node.id for node in found.nodes] == [node.id for node in graph.nodes]
    assert is_trace(tmp_path / "g.json")
    ambiguous = {graph.index["m0.n1@1"], graph.index["m1.rest@1"]}  # both 0_1_1 there
    others = [place for place in range(10) if place not in ambiguous]
    assert np.allclose(found.weights[:, others], graph.weights[:, others])
    assert np.allclose(found.weights[:, sorted(ambiguous)].sum(1), graph.weights[:, sorted(ambiguous)].sum(1))
    assert [node.label for node in found.logits] == ["yes", "no less so"]
    assert [node.weight for node in found.logits] == [0.7, 0.2]
    assert found.logits[0].value == pytest.approx(graph.weights[3].sum())


def change(values, path, new):
    *before, last = path
    for step in before:
        values = values[step]
    values[last] = new


@pytest.mark.parametrize(
    ("path", "new", "says"),
    [
        (("nodes", 0, "feature_type"), "lorsa", "node '0_7_0' is of type 'lorsa'"),
        (("nodes", 0, "node_id"), "x", "node 'x' has no id of its type"),
        (("nodes", 0, "ctx_idx"), "a", "nodes.0.ctx_idx"),
        (("links", 0, "source"), "9_9_9", "no node '9_9_9' at that end"),
        (("links", 0, "weight"), float("inf"), "links.0.weight"),
        (("metadata",), {}, "metadata.scan"),
        (("nodes",), [], "has no tokens"),
    ],
)
def test_damaged_front_end_files(tmp_path, path, new, says):
    values = to_front_end(small(), small().prune(), "toy")
    change(values, path, new)
    with pytest.raises(InputError, match=says):
        parse_front_end(values, tmp_path / "g.json")


def test_pickles_are_refused(tmp_path):
    (tmp_path / "graph.pt").write_bytes(b"\x80\x04.")
    with pytest.raises(InputError, match="is a pickle, .* never loaded: write it as JSON .*create_graph_files"):
        load_graph(tmp_path / "graph.pt")


@pytest.mark.parametrize(
    ("path", "new", "says"),
    [
        (("version",), 2, "is not an attribution graph, version 1: version"),
        (("nodes", "layer"), [1], "its columns are of different lengths"),
        (("nodes", "kind", 0), "logit", "not in the order of their kinds"),
        (("weights",), "0", "does not belong to attribution.json"),
        (("nodes", "kind", 0), "person", "nodes.kind.0"),
    ],
)
def test_damaged_files(tmp_path, path, new, says):
    small().save(tmp_path)
    values = json.loads((tmp_path / "attribution.json").read_text())
    change(values, path, new)
    (tmp_path / "attribution.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match=says):
        load_graph(tmp_path)


def test_weights_of_other_nodes(tmp_path):
    small().save(tmp_path)
    values = json.loads((tmp_path / "attribution.json").read_text())
    values["nodes"] = {name: column[1:] for name, column in values["nodes"].items()}
    (tmp_path / "attribution.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match="does not hold the weights of the nodes"):
        load_graph(tmp_path)


def test_influence_is_the_sum_over_paths():
    """By hand: two tokens, a unit, a logit; the logit reads the unit (3) and the first token (1), the unit both."""
    matrix = np.zeros((4, 4))  # unit, tokens, logit
    matrix[3, 0], matrix[3, 1] = 3, -1
    matrix[0, 1], matrix[0, 2] = 1, 1
    weights = np.array([0, 0, 0, 0.5])
    assert shares(matrix)[3].tolist() == [0.75, 0.25, 0, 0]
    assert total_influence(shares(matrix), weights).tolist() == [0.375, 0.5 * (0.25 + 0.375), 0.1875, 0]
    scores = graph_scores(matrix, weights, np.array([0, 0, 1, 0]) > 0, np.array([0, 1, 0, 0]) > 0)
    assert scores.replacement == pytest.approx(0.625) and 0 < scores.completeness < 1


def test_pruning_leaves_no_dead_ends():
    """A unit whose only way out is dropped goes, and then what leads to it."""
    matrix = np.zeros((5, 5))  # two units in a row, a unit, a token, a logit
    matrix[4, 2], matrix[4, 1] = 10, 0.01
    matrix[1, 0], matrix[0, 3], matrix[2, 3] = 1, 1, 1
    weights, always = np.array([0, 0, 0, 0, 1.0]), np.array([0, 0, 0, 1, 1]) > 0
    units = np.array([1, 1, 1, 0, 0]) > 0
    found = prune(matrix, weights, always, units, 0.9999, 0.99)
    assert found.nodes.tolist() == [False, False, True, True, True]
    assert found.edges.sum() == 2
    whole = prune(matrix, weights, always, units, 1.0, 1.0)
    assert whole.nodes.all() and whole.edges.sum() == 5


def test_a_graph_without_weights():
    found = prune(np.zeros((2, 2)), np.array([0, 1.0]), np.array([True, True]), np.array([False, False]))
    assert found.nodes.all() and not found.edges.any() and np.isfinite(found.rank).all()


def test_constants_are_left_out():
    graph = small().without_constants()
    assert not {"position@1", "bias", "first"} & graph.index.keys()
    assert graph.weights.shape == (5, 7)
