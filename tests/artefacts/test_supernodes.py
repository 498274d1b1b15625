"""Supernodes: sums of their members in pictures, names in the JSON of front ends."""

import json

import numpy as np
import pytest
from families import boot

from acdc.artefacts.attribution.front_end import parse_front_end, to_front_end
from acdc.artefacts.attribution.nodes import NodeKind
from acdc.artefacts.attribution.store import load_graph, save_graph
from acdc.artefacts.attribution.supernodes import merged, with_supernodes
from acdc.attribution.trace import TraceSettings, trace_prompt
from acdc.errors import InputError
from acdc.render.attribution.picture import to_dot, to_svg


@pytest.fixture(scope="module")
def graph():
    return trace_prompt(boot("llama", 2, 0), [3, 9, 4, 17, 22], TraceSettings(most_nodes=40)).graph


@pytest.fixture(scope="module")
def groups(graph):
    kept = [node.id for node in graph.kept(graph.prune()) if node.is_unit]
    return {"one": tuple(kept[:3]), "other <b>": tuple(kept[-2:])}


def test_a_supernode_sums_up_what_its_members_add_and_get(graph, groups):
    pruning = graph.prune()
    whole, kept = merged(with_supernodes(graph, pruning, groups), pruning)
    owner = {one: name for name, ids in groups.items() for one in ids}
    names = {node.id: node.label if node.kind is NodeKind.GROUP else node.id for node in whole.nodes}
    assert len(whole.nodes) == len(graph.nodes) - 3 and whole.adjacency.shape == (len(whole.nodes),) * 2
    expected = {}
    for t, target in enumerate(graph.nodes):
        for s, source in enumerate(graph.nodes):
            ends = owner.get(target.id, target.id), owner.get(source.id, source.id)
            expected[ends] = expected.get(ends, 0.0) + graph.adjacency[t, s]
    for t, target in enumerate(whole.nodes):
        for s, source in enumerate(whole.nodes):
            inside = target is source and target.kind is NodeKind.GROUP
            value = 0.0 if inside else expected[names[target.id], names[source.id]]
            assert whole.adjacency[t, s] == pytest.approx(value, abs=1e-12)
    assert kept.nodes.sum() == pruning.nodes.sum() - 3
    assert not np.diag(kept.edges).any() and 0 < kept.edges.sum() <= pruning.edges.sum()
    assert kept.through[kept.edges].min() > 0
    values = {node.label: node.value for node in whole.nodes if node.kind is NodeKind.GROUP}
    assert values["one"] == pytest.approx(sum(graph.nodes[graph.index[one]].value for one in groups["one"]))


def test_pictures_show_them_by_name(graph, groups):
    pruning = graph.prune()
    named = with_supernodes(graph, pruning, groups)
    svg, dot = to_svg(named, pruning), to_dot(named, pruning)
    assert ">one<" in svg and "other &lt;b&gt;" in svg and "<b>" not in svg and "group 0" in dot
    assert f">{groups['one'][0].split('.n')[1].split('@')[0]}<" in to_svg(graph, pruning)


def test_files_of_ours_and_of_front_ends_keep_them(graph, groups, tmp_path):
    pruning = graph.prune()
    named = with_supernodes(graph, pruning, groups)
    save_graph(named, tmp_path)
    assert load_graph(tmp_path).groups == groups
    content = to_front_end(named, pruning, "x")
    supernodes = content["qParams"]["supernodes"]
    there = {node["node_id"] for node in content["nodes"]}
    assert [entry[0] for entry in supernodes] == ["one", "other <b>"] and set(supernodes[0][1:]) <= there
    assert parse_front_end(json.loads(json.dumps(content)), tmp_path).groups == groups
    supernodes.append(["again", supernodes[0][1]])
    with pytest.raises(InputError, match="in two supernodes"):
        parse_front_end(content, tmp_path)


def test_the_command_line_takes_a_file(acdc, graph, groups, tmp_path):
    save_graph(graph, tmp_path / "saved")
    (tmp_path / "groups.json").write_text(json.dumps(groups))
    words = ("export", "saved", "--supernodes", "groups.json", "--format")
    assert acdc(*words, "svg", "--out", "x.svg").code == 0 and ">one<" in (tmp_path / "x.svg").read_text()
    assert acdc(*words, "attribution-graph", "--out", "x.json").code == 0
    assert acdc("export", "x.json", "--format", "svg", "--out", "y.svg").code == 0
    assert ">one<" in (tmp_path / "y.svg").read_text()
    assert acdc(*words, "html", "--out", "x.html").code == 0
    kept = json.dumps({"one": groups["one"]}, separators=(",", ":")).removesuffix("}")
    assert f'"groups":{kept}' in (tmp_path / "x.html").read_text()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([], "holds no supernodes"),
        ({"a": []}, "holds no supernodes"),
        ({"": ["m0.n1@2"]}, "must have 1 to 60 letters"),
        ({"a": ["m9.n1@2"]}, "the pruned graph has no node"),
        ({"a": ["token@1"]}, "is no neuron"),
    ],
)
def test_what_is_no_supernode_is_refused(acdc, graph, content, said, tmp_path):
    save_graph(graph, tmp_path / "saved")
    (tmp_path / "groups.json").write_text(json.dumps(content))
    refused = acdc("export", "saved", "--format", "svg", "--out", "x.svg", "--supernodes", "groups.json")
    assert refused.code == 2 and said in refused.err


def test_a_node_is_in_one_supernode_alone(graph, groups):
    with pytest.raises(InputError, match="is in supernode 'one' and again in 'two'"):
        with_supernodes(graph, graph.prune(), {"one": groups["one"], "two": groups["one"][:1]})
