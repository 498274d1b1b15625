"""Foreign formats: files written by hand to the letter of the formats are read, and what is written comes back."""

import json
from dataclasses import replace

import families
import networkx as nx
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from acdc.artefacts.circuit import Circuit, ImportRecord
from acdc.artefacts.codecs import ForeignGraph, Mark, autocircuit, eap_ig, edge_pruning, mib, networkx_graphs
from acdc.artefacts.codecs.translate import from_file, to_file
from acdc.errors import InputError
from acdc.graph import Anatomy, ComponentGraph
from acdc.options import Level
from acdc.runs.importing import import_circuit
from acdc.search.discover import Result, discover
from acdc.search.registry import METHODS
from acdc.search.settings import DiscoverySettings

GPT2 = Anatomy(12, 12, 12, 768, 64, 50257, 50257, 1024, learned_positions=True)
SMALL = Anatomy(1, 2, 2, 8, 4, 10, 10, 16, learned_positions=True)
GROUPED = Anatomy(1, 4, 2, 8, 2, 10, 10, 16)
EXACT = {codec.name: codec for codec in (eap_ig.CODEC, autocircuit.CODEC)}
GRAPHS = {codec.name: codec for codec in (networkx_graphs.NODE_LINK, networkx_graphs.GRAPHML)}
ALL = EXACT | GRAPHS | {edge_pruning.NAME: edge_pruning.CODEC}


def eap_ig_names(layers: int, heads: int) -> list[str]:
    """The edges of an EAP-IG file, from the format's definition alone."""
    names, before = [], ["input"]
    for layer in range(layers):
        own = [f"a{layer}.h{head}" for head in range(heads)]
        names += [f"{sender}->{head}<{slot}>" for sender in before for head in own for slot in "qkv"]
        before += own
        names += [f"{sender}->m{layer}" for sender in before]
        before.append(f"m{layer}")
    return names + [f"{sender}->logits" for sender in before]


def eap_ig_file(edges: dict, **changes) -> dict:
    """A file for `SMALL`, as EAP-IG writes it."""
    cfg = {"n_layers": 1, "n_heads": 2, "parallel_attn_mlp": False, "d_model": 8}
    nodes = {name: {"in_graph": True} for name in ("input", "a0.h0", "a0.h1", "m0", "logits")}
    return {"cfg": cfg, "nodes": nodes, "edges": edges, **changes}


def scored(value=lambda i: float(i)) -> dict:
    return {name: {"score": value(i), "in_graph": False} for i, name in enumerate(eap_ig_names(1, 2))}


def read(codec, path, anatomy: Anatomy) -> ForeignGraph:
    found = codec.decode(path, anatomy)
    return from_file(codec, found, ComponentGraph(anatomy, found.mark.split_embeddings), str(path))


def write(path, record) -> object:
    path.write_text(json.dumps(record))
    return path


def some_scores(graph: ComponentGraph, seed: int = 0) -> dict[str, float]:
    return dict(zip(graph.names, np.random.default_rng(seed).normal(size=graph.n_edges).tolist(), strict=True))


# ---- to the letter of the formats


def test_gpt2_has_32491_edges_in_eap_ig():
    graph = ComponentGraph(GPT2)
    record = json.loads(eap_ig.encode(ForeignGraph(some_scores(graph)), graph))
    assert record["cfg"] == {"n_layers": 12, "n_heads": 12, "parallel_attn_mlp": False, "d_model": 768}
    assert len(record["edges"]) == 32_491 and set(record["edges"]) == set(eap_ig_names(12, 12))
    assert len(record["nodes"]) == 1 + 12 * 13 + 1
    assert record["edges"]["input->a0.h0<q>"] == {"score": some_scores(graph)["input->a0.h0<q>"], "in_graph": False}


def test_an_eap_ig_file_is_read(tmp_path):
    edges = scored() | {"input->m0": {"score": -2.5, "in_graph": True}, "m0->logits": {"score": 0.5, "in_graph": True}}
    found = read(eap_ig.CODEC, write(tmp_path / "x.json", eap_ig_file(edges)), SMALL)
    assert found.edges == {"input->m0": -2.5, "m0->logits": 0.5}
    assert found.scores == {name: edge["score"] for name, edge in edges.items()}


def test_binary_circuits_of_mib_are_read(tmp_path):
    edges = {name: {"in_graph": name.endswith("logits")} for name in eap_ig_names(1, 2)}
    found = read(mib.CODEC, write(tmp_path / "x.json", eap_ig_file(edges)), SMALL)
    assert found.scores is None and set(found.edges) == {
        f"{name}->logits" for name in ("input", "a0.h0", "a0.h1", "m0")
    }


def test_autocircuit_has_the_order_of_sources_and_shapes(tmp_path):
    graph, heads = ComponentGraph(GPT2), 12
    wanted = {
        "a3.h7->a5.h2<v>": ("blocks.5.hook_v_input", (2, 1 + 3 * (heads + 1) + 7)),
        "m3->m5": ("blocks.5.hook_mlp_in", (1 + 3 * (heads + 1) + heads,)),
        "a5.h11->m5": ("blocks.5.hook_mlp_in", (1 + 5 * (heads + 1) + 11,)),
        "input->logits": ("blocks.11.hook_resid_post", (0,)),
    }
    (tmp_path / "x").write_bytes(
        autocircuit.encode(ForeignGraph(dict.fromkeys(graph.names, 0.0) | dict.fromkeys(wanted, 2.0)), graph)
    )
    tensors = load_file(tmp_path / "x")
    assert len(tensors) == 12 * 4 + 1
    assert sum(tensor.size for tensor in tensors.values()) == 32_491
    assert sum(np.count_nonzero(tensor) for tensor in tensors.values()) == len(wanted)
    for module, place in wanted.values():
        assert tensors[module][place] == 2.0
    assert tensors["blocks.5.hook_q_input"].shape == (12, 1 + 5 * 13)
    assert tensors["blocks.5.hook_mlp_in"].shape == (1 + 5 * 13 + 12,)
    assert tensors["blocks.11.hook_resid_post"].shape == (1 + 12 * 13,)


def autocircuit_file() -> dict:
    """For `SMALL`: two heads that read the input alone, an MLP that reads three, logits that read four."""
    slots = {f"blocks.0.hook_{slot}_input": [[10.0 * i], [10.0 * i + 1]] for i, slot in enumerate("qkv")}
    return slots | {"blocks.0.hook_mlp_in": [1, 2, 3], "blocks.0.hook_resid_post": [4, 5, 6, 7]}


@pytest.mark.parametrize("kind", ["json", "safetensors"])
def test_prune_scores_of_autocircuit_are_read(tmp_path, kind):
    if kind == "json":
        path = write(tmp_path / "x.json", autocircuit_file())
    else:
        path = tmp_path / "x.safetensors"
        save_file({name: np.array(value, dtype=np.float32) for name, value in autocircuit_file().items()}, path)
    scores = read(autocircuit.CODEC, path, SMALL).scores
    assert scores["input->a0.h1<k>"] == 11 and scores["input->a0.h0<v>"] == 20
    assert [scores[f"{name}->m0"] for name in ("input", "a0.h0", "a0.h1")] == [1, 2, 3]
    assert [scores[f"{name}->logits"] for name in ("input", "a0.h0", "a0.h1", "m0")] == [4, 5, 6, 7]


def test_positions_of_autocircuit_are_added_up_and_said(tmp_path):
    record = autocircuit_file() | {"blocks.0.hook_mlp_in": [[1, 2, 3], [10, 20, 30]]}
    found = read(autocircuit.CODEC, write(tmp_path / "x.json", record), SMALL)
    assert [found.scores[f"{name}->m0"] for name in ("input", "a0.h0", "a0.h1")] == [11, 22, 33]
    assert "added up over positions" in found.mark.lost[0]


def test_pairs_of_edge_pruning_are_read(tmp_path):
    pairs = [
        ["tok_embeds", "a0.h1.q"],
        ["pos_embeds", "a0.h1.q"],
        ["tok_embeds", "m0"],
        ["a0.h1", "m0"],
        ["m0", "resid_post"],
    ]
    path = write(tmp_path / "x.json", pairs)
    found = edge_pruning.decode(path, SMALL)
    split = from_file(edge_pruning.CODEC, found, ComponentGraph(SMALL, split_embeddings=True), "x")
    assert set(split.edges) == {
        "tok_embed->a0.h1<q>",
        "pos_embed->a0.h1<q>",
        "tok_embed->m0",
        "a0.h1->m0",
        "m0->logits",
    }
    whole = from_file(edge_pruning.CODEC, found, ComponentGraph(SMALL), "x")
    assert set(whole.edges) == {"input->a0.h1<q>", "input->m0", "a0.h1->m0", "m0->logits"}
    assert split.mark.lost == () and whole.mark.lost[0].startswith("1 edges of this model are several in the file")


def test_pairs_without_embeddings_have_all_of_them(tmp_path):
    found = edge_pruning.decode(write(tmp_path / "x.json", [["m0", "resid_post"]]), GROUPED)
    assert {"input->a0.kv1<k>", "input->m0", "input->logits", "m0->logits"} < set(found.edges)
    assert "no pair names an embedding" in found.mark.lost[0]


def test_edge_pruning_counts_kv_heads(tmp_path):
    found = edge_pruning.decode(write(tmp_path / "x.json", [["embeds", "a0.h1.k"], ["embeds", "a0.h3.q"]]), GROUPED)
    assert set(found.edges) == {"input->a0.kv1<k>", "input->a0.h3<q>"}


# ---- shared KV heads, split embeddings, within-head edges


def test_slots_that_heads_share_are_repeated_and_come_back(tmp_path):
    graph = ComponentGraph(GROUPED)
    scores = some_scores(graph)
    for codec in EXACT.values():
        found = to_file(codec, ForeignGraph(scores, {"input->a0.kv1<k>": 1.0}), graph)
        assert found.scores["input->a0.h2<k>"] == found.scores["input->a0.h3<k>"] == scores["input->a0.kv1<k>"]
        assert set(found.edges) == {"input->a0.h2<k>", "input->a0.h3<k>"} and found.mark.lost == ()
        (tmp_path / "x").write_bytes(codec.encode(found, codec.terms(GROUPED, found.mark)))
        back = read(codec, tmp_path / "x", GROUPED)
        assert back.scores == scores and set(back.edges) == {"input->a0.kv1<k>"} and back.mark.lost == ()


def grouped_file(edges: dict) -> dict:
    cfg = {"n_layers": 1, "n_heads": 4, "parallel_attn_mlp": False, "d_model": 8}
    own = {name: {"score": 1.0, "in_graph": False} for name in eap_ig_names(1, 4)} | edges
    return {"cfg": cfg, "nodes": {}, "edges": own}


def test_heads_of_other_tools_that_share_slots_are_added_up(tmp_path):
    edges = {"input->a0.h2<k>": {"score": -3.0, "in_graph": True}, "input->a0.h0<v>": {"score": 5.0, "in_graph": True}}
    found = read(eap_ig.CODEC, write(tmp_path / "x.json", grouped_file(edges)), GROUPED)
    assert found.scores["input->a0.kv1<k>"] == -3.0 + 1.0 and found.scores["input->a0.kv0<v>"] == 5.0 + 1.0
    assert set(found.edges) == {"input->a0.kv1<k>", "input->a0.kv0<v>"}
    assert "their scores were added up" in found.mark.lost[0] and found.mark.lost[1].startswith("2 edges of this model")


def test_repeated_scores_that_differ_are_refused(tmp_path):
    record = grouped_file({"input->a0.h2<k>": {"score": 3.0, "in_graph": False}}) | {"acdc": {"repeated": True}}
    with pytest.raises(InputError, match=r"'input->a0.h2<k>' and 'input->a0.h3<k>' are one edge, but differ in score"):
        read(eap_ig.CODEC, write(tmp_path / "x.json", record), GROUPED)


def test_split_embeddings_are_put_together_and_that_is_said():
    graph = ComponentGraph(SMALL, split_embeddings=True)
    scores = some_scores(graph)
    found = to_file(eap_ig.CODEC, ForeignGraph(scores, mark=Mark(split_embeddings=True)), graph)
    assert found.scores["input->m0"] == pytest.approx(scores["tok_embed->m0"] + scores["pos_embed->m0"], abs=1e-15)
    assert "token and position embedding are one there" in found.mark.lost[0] and not found.mark.split_embeddings


def test_wires_are_lost_to_other_tools_and_that_is_said():
    graph = ComponentGraph(SMALL, direct_edges=True)
    kept = {"input->a0.h0<q>": 1.0, "a0.h0<q>->a0.h0": 2.0}
    for codec in EXACT.values():
        found = to_file(codec, ForeignGraph(None, kept, mark=Mark(direct_edges=True)), graph)
        assert set(found.edges) == {"input->a0.h0<q>"} and "lacks 5 of 6" in found.mark.lost[0]
    for codec in GRAPHS.values():
        found = to_file(codec, ForeignGraph(None, kept, mark=Mark(direct_edges=True)), graph)
        assert found.edges == kept and found.mark.lost == ()


def test_parallel_blocks(tmp_path):
    graph = ComponentGraph(replace(SMALL, parallel=True))
    (tmp_path / "x").write_bytes(eap_ig.encode(ForeignGraph(some_scores(graph)), graph))
    record = json.loads((tmp_path / "x").read_text())
    assert record["cfg"]["parallel_attn_mlp"] is True and "a0.h0->m0" not in record["edges"]
    with pytest.raises(InputError, match="cfg.parallel_attn_mlp is True, but the model's is False"):
        eap_ig.decode(tmp_path / "x", SMALL)
    assert read(eap_ig.CODEC, tmp_path / "x", replace(SMALL, parallel=True)).scores == some_scores(graph)


def test_attention_alone(tmp_path):
    anatomy = replace(SMALL, attn_only=True)
    graph = ComponentGraph(anatomy)
    with pytest.raises(InputError, match="has an MLP in every layer"):
        to_file(eap_ig.CODEC, ForeignGraph(some_scores(graph)), graph)
    (tmp_path / "x").write_bytes(autocircuit.encode(ForeignGraph(some_scores(graph)), graph))
    assert "blocks.0.hook_mlp_in" not in load_file(tmp_path / "x")
    assert read(autocircuit.CODEC, tmp_path / "x", anatomy).scores == some_scores(graph)


def test_a_submission_to_mib_has_nine_sizes(tmp_path):
    """EAP-IG's `Graph.from_json` and MIB's `load_graph_from_json` read the key "score" of every edge."""
    graph = ComponentGraph(GPT2)
    scores = some_scores(graph)
    files = mib.circuits(ForeignGraph(scores), graph)
    counts, ranked = [], sorted(scores, key=lambda edge: -abs(scores[edge]))
    for name, content in files.items():
        record = json.loads(content)
        inside = {edge for edge, value in record["edges"].items() if value["in_graph"]}
        assert all(value["score"] == int(value["in_graph"]) for value in record["edges"].values()), name
        assert inside == set(ranked[: len(inside)])
        counts.append(len(inside))
    assert counts == [32, 64, 162, 324, 649, 1624, 3249, 6498, 16245]
    (tmp_path / "x.json").write_bytes(files["circuit_1.json"])
    found = read(mib.CODEC, tmp_path / "x.json", GPT2)
    assert found.scores is None and found.edges == dict.fromkeys((e for e in graph.names if e in ranked[:324]), None)
    assert mib.folder_name("arc_easy", "meta-llama/Llama-3.1-8B") == "arc-easy_llama3"
    assert mib.folder_name("ioi", "gpt2") == "ioi_gpt2"


# ---- circuits of real runs, there and back


@pytest.fixture(scope="module")
def llama():
    return families.boot("llama", 2, 0), families.random_rows([6] * 8)


CASES = {
    "acdc": ("trio", {"method": METHODS["acdc"], "limit": 16}),
    "eap": ("trio", {"method": METHODS["eap"], "limit": 16, "edges": 40}),
    "grouped": ("llama", {"method": METHODS["eap"], "limit": 4, "edges": 40}),
    "grouped acdc": ("llama", {"method": METHODS["acdc"], "limit": 4}),
    "split": ("trio", {"method": METHODS["eap"], "limit": 16, "edges": 40, "split_embeddings": True}),
    "wires": ("trio", {"method": METHODS["acdc"], "limit": 16, "direct_edges": True}),
    "nodes": ("trio", {"method": METHODS["eap"], "limit": 16, "edges": 100, "level": Level.nodes}),
}


@pytest.fixture(scope="module")
def cases(trio, induction, llama) -> dict:
    found = {}
    for name, (which, options) in CASES.items():
        model, task = (trio, induction) if which == "trio" else llama
        found[name] = model, task, discover(model, task, DiscoverySettings(**options))
    return found


def there_and_back(codec, case, tmp_path) -> tuple[ForeignGraph, Circuit, dict | None]:
    model, task, result = case
    result: Result
    circuit = result.circuit
    found = to_file(codec, ForeignGraph.of_circuit(circuit, result.scores), circuit.graph)
    path = tmp_path / codec.name
    path.write_bytes(codec.encode(found, codec.terms(circuit.graph.anatomy, found.mark)))
    decoded = codec.decode(path, model.anatomy)
    split = circuit.model.split_embeddings
    graph = ComponentGraph(model.anatomy, split, decoded.mark.direct_edges)
    back = from_file(codec, decoded, graph, str(path))
    settings = DiscoverySettings(
        limit=len(circuit.task.discovery),
        split_embeddings=split,
        direct_edges=decoded.mark.direct_edges,
        level=decoded.mark.level,
    )
    record = ImportRecord(format=codec.name, content_hash="", lost=list(back.mark.lost))
    imported = import_circuit(model, task, settings, back, record, str(path))
    imported.circuit.check()
    return found, imported.circuit, imported.scores


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("codec", ALL)
def test_round_trips(cases, tmp_path, codec, case):
    """Nothing is lost but what is said to be."""
    _, _, result = cases[case]
    before = result.circuit
    if codec in EXACT and case == "split":
        found, _, _ = there_and_back(ALL[codec], cases[case], tmp_path)
        assert "token and position embedding are one there" in found.mark.lost[0]
        kept = {edge.id for edge in before.edges}
        halves = {name.partition("->")[2] for name in kept if "embed->" in name}
        partial = [slot for slot in halves if not {f"tok_embed->{slot}", f"pos_embed->{slot}"} <= kept]
        assert not partial or f"that of {len(partial)} edges of the file" in found.mark.lost[1]
        return
    found, after, scores = there_and_back(ALL[codec], cases[case], tmp_path)
    lost = list(found.mark.lost)
    if case == "wires" and codec not in GRAPHS:
        assert "within-head edges" in lost.pop(0)
        assert {edge.id for edge in after.edges} == {edge.id for edge in before.edges if ">->" not in edge.id}
        return
    assert [edge.id for edge in after.edges] == [edge.id for edge in before.edges]
    assert (after.edges_effective, after.metric) == (before.edges_effective, before.metric)
    if codec == edge_pruning.NAME:
        assert lost.pop(0) == "scores of edges" and after.sign_convention.startswith("the file has no scores")
        assert case != "nodes" or "circuit of nodes" in lost.pop(0)
    elif case == "nodes" and codec == autocircuit.NAME:
        assert "circuit of nodes" in lost.pop(0)
    else:
        assert (after.edges, after.nodes, after.level) == (before.edges, before.nodes, before.level)
        assert (after.score_kind, after.sign_convention) == (before.score_kind, before.sign_convention)
    if codec in EXACT and case not in ("nodes", "split"):
        assert scores == result.scores
    if codec in GRAPHS and result.scores is not None:
        left, kind = len(result.scores) - len(before.parts), "nodes" if case == "nodes" else "edges"
        assert lost.pop(0) == f"scores of the {left} {kind} outside the circuit"
    assert lost == []


@pytest.mark.parametrize("codec", [*EXACT, *GRAPHS])
@pytest.mark.parametrize("anatomy", [SMALL, GROUPED], ids=["small", "grouped"])
def test_scores_alone_come_back(tmp_path, codec, anatomy):
    graph, codec = ComponentGraph(anatomy), ALL[codec]
    scores = some_scores(graph)
    found = to_file(codec, ForeignGraph(scores, mark=Mark(score_kind="effect")), graph)
    (tmp_path / "x").write_bytes(codec.encode(found, codec.terms(anatomy, found.mark)))
    back = read(codec, tmp_path / "x", anatomy)
    assert (back.scores, back.edges, back.mark.score_kind) == (scores, None, "effect")


def test_graphml_has_plain_attributes(cases, tmp_path):
    """Texts, whole numbers, numbers and truth values are what yEd and Gephi read."""
    from xml.etree import ElementTree

    there_and_back(networkx_graphs.GRAPHML, cases["nodes"], tmp_path)
    root = ElementTree.parse(tmp_path / "graphml").getroot()
    keys = root.findall("{http://graphml.graphdrawing.org/xmlns}key")
    assert {key.get("attr.type") for key in keys} <= {"string", "int", "long", "double", "float", "boolean"}
    drawn = nx.read_graphml(tmp_path / "graphml")
    assert drawn.is_directed() and nx.is_directed_acyclic_graph(drawn)


def test_coordinates_are_refused_or_said(trio, induction):
    settings = DiscoverySettings(method=METHODS["eap"], limit=8, edges=40, level=Level.coordinates)
    circuit = discover(trio, induction, settings).circuit
    with pytest.raises(InputError, match="cannot hold a circuit of coordinates"):
        to_file(eap_ig.CODEC, ForeignGraph.of_circuit(circuit), circuit.graph)
    found = to_file(networkx_graphs.GRAPHML, ForeignGraph.of_circuit(circuit), circuit.graph)
    assert found.mark.lost == ("which coordinates of its nodes are in the circuit",)


# ---- bad files


def test_the_same_scores_give_the_same_bytes(cases):
    """Metadata too, which is written in any order where it has several keys."""
    result = next(result for _, _, result in cases.values() if result.scores and result.circuit.level is Level.edges)
    found = to_file(autocircuit.CODEC, ForeignGraph.of_circuit(result.circuit, result.scores), result.circuit.graph)
    target = autocircuit.terms(result.circuit.graph.anatomy, found.mark)
    assert len({autocircuit.encode(found, target) for _ in range(12)}) == 1
