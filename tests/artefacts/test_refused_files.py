"""Files that no codec reads: damaged, of another model, or pickles. Each is refused in a sentence with a place."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file
from test_codecs import ALL, SMALL, autocircuit_file, eap_ig_file, read, scored

from acdc.artefacts.codecs import autocircuit, mib
from acdc.errors import InputError


def without(record: dict, key: str) -> dict:
    return {name: value for name, value in record.items() if name != key}


BAD = [
    ("eap-ig", "{", "line 1: not valid JSON"),
    ("eap-ig", "[]", "expected an object, got []"),
    ("eap-ig", json.dumps(without(eap_ig_file({}), "nodes")), "nodes: expected an object"),
    ("eap-ig", json.dumps(eap_ig_file(scored(), cfg={"n_layers": 1})), "cfg lacks n_heads"),
    (
        "eap-ig",
        json.dumps(eap_ig_file({}, cfg={"n_layers": 2, "n_heads": 2, "parallel_attn_mlp": False, "d_model": 8})),
        "cfg.n_layers is 2, but the model's is 1",
    ),
    ("eap-ig", json.dumps(eap_ig_file(scored())).replace("0.0", "NaN", 1), "NaN is not a number"),
    (
        "eap-ig",
        json.dumps(eap_ig_file(scored())).replace("0.0", "1e999", 1),
        "edges['input->a0.h0<q>'].score: expected a finite",
    ),
    ("eap-ig", json.dumps(eap_ig_file(scored(lambda i: "x"))), "score: expected a number, got 'x'"),
    ("eap-ig", json.dumps(eap_ig_file(scored(lambda i: True))), "score: expected a number, got True"),
    ("eap-ig", json.dumps(eap_ig_file({"input->m0": {"in_graph": 1}})), "in_graph: expected true or false, got 1"),
    ("eap-ig", json.dumps(eap_ig_file(scored() | {"m7->logits": {"score": 1.0}})), "edge 'm7->logits' does not exist"),
    ("eap-ig", json.dumps(eap_ig_file(scored(), nodes={"a9.h9": {"in_graph": True}})), "node 'a9.h9' does not exist"),
    ("eap-ig", json.dumps(eap_ig_file(without(scored(), "input->m0"))), "the first missing is 'input->m0'"),
    (
        "eap-ig",
        json.dumps(eap_ig_file({"input->m0": {}, "m0->logits": {"score": 1.0}})),
        "edges['input->m0'] has no score",
    ),
    ("eap-ig", '{"cfg": {}, "cfg": {}}', "'cfg' occurs twice"),
    ("eap-ig", json.dumps(eap_ig_file(scored(), acdc={"level": "moods"})), "acdc.level was not written by acdc"),
    (
        "eap-ig",
        json.dumps(eap_ig_file(scored(), nodes={"m0": {"in_graph": True, "neurons": [True]}})),
        "nodes['m0'].neurons: a circuit of neurons",
    ),
    ("autocircuit", "{", "not valid JSON"),
    ("autocircuit", json.dumps(without(autocircuit_file(), "blocks.0.hook_mlp_in")), "lacks 'blocks.0.hook_mlp_in'"),
    (
        "autocircuit",
        json.dumps(autocircuit_file() | {"blocks.1.hook_mlp_in": [1]}),
        "'blocks.1.hook_mlp_in' does not exist",
    ),
    (
        "autocircuit",
        json.dumps(autocircuit_file() | {"blocks.0.hook_mlp_in": [1]}),
        "has the shape [1], but this model's is [3]",
    ),
    ("autocircuit", json.dumps(autocircuit_file() | {"blocks.0.hook_mlp_in": [[1], [2, 3]]}), "are not of one length"),
    (
        "autocircuit",
        json.dumps(autocircuit_file() | {"blocks.0.hook_mlp_in": [1, None, 2]}),
        "mlp_in[1]: expected a number",
    ),
    ("autocircuit", "\x00" * 8 + "{" * 40, "cannot be read as safetensors"),
    ("edge-pruning", "{}", "a list of [writer, reader] pairs"),
    ("edge-pruning", '[["m0"]]', "pair 0: expected [writer, reader]"),
    ("edge-pruning", '[["tok_embeds", "m0"], ["tok_embeds", "m0"]]', "pair 1: ['tok_embeds', 'm0'] occurs twice"),
    ("edge-pruning", '[["tok_embeds", "m5"]]', "edge 'tok_embed->m5' does not exist"),
    ("edge-pruning", '[["tok_embeds", "a0.h9.q"]]', "edge 'tok_embed->a0.h9<q>' does not exist"),
    (
        "networkx",
        '{"directed": true, "multigraph": false, "nodes": [{"id": "m0"}, {"id": "logits"}], '
        '"edges": [{"source": "m0", "target": "logits", "wiring": "no"}]}',
        "wiring of edge 'm0->logits': expected true or false, got 'no'",
    ),
    (
        "networkx",
        '{"directed": true, "multigraph": false, "nodes": [{"id": "m0", "in_circuit": "false"}], "edges": []}',
        "in_circuit of node 'm0': expected true or false, got 'false'",
    ),
    (
        "networkx",
        '{"directed": true, "multigraph": false, "graph": {"circuit": 0}, "nodes": [], "edges": []}',
        "circuit: expected true or false, got 0",
    ),
    ("networkx", "{}", "is not a node-link graph"),
    (
        "networkx",
        '{"directed": true, "multigraph": false, "nodes": [], "edges": [{"source": "m0", "target": "x"}]}',
        "edge 'm0->x' does not exist",
    ),
    (
        "networkx",
        '{"directed": true, "multigraph": false, "nodes": [], "edges": '
        '[{"source": "m0", "target": "logits"}, {"source": "m0", "target": "logits"}]}',
        "edge 2: 'm0->logits' occurs twice",
    ),
    ("networkx", '{"directed": false, "nodes": [], "edges": []}', "expected a directed graph"),
    ("graphml", "<graphml", "is not valid GraphML"),
    ("graphml", "nothing", "is not valid GraphML"),
    ("mib", "[]", "expected an object"),
]


@pytest.mark.parametrize(("codec", "text", "message"), BAD)
def test_bad_files_are_one_sentence_with_a_place(tmp_path, codec, text, message):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InputError) as refusal:
        read((ALL | {"mib": mib.CODEC})[codec], tmp_path / "x.json", SMALL)
    assert message in str(refusal.value)
    assert str(tmp_path / "x.json") in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize("codec", ALL)
@pytest.mark.parametrize("name", ["x.pt", "x.pkl", "x.json"])
def test_pickles_are_refused_unread(tmp_path, codec, name):
    """A pickle that would write a file when loaded; and torch's, which is a zip archive."""
    trap = b"\x80\x04cos\nsystem\n(V" + f"touch {tmp_path}/loaded".encode() + b"\ntR."
    for content in (trap, b"PK\x03\x04" + trap):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match="is a pickle, which acdc never loads; where it was made, run: python -c"):
            ALL[codec].decode(tmp_path / name, SMALL)
    assert not (tmp_path / "loaded").exists()


def test_safetensors_that_are_not_finite_are_refused(tmp_path):
    record = {name: np.array(value, dtype=float) for name, value in autocircuit_file().items()}
    record["blocks.0.hook_mlp_in"][1] = np.nan
    save_file(record, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match="x.safetensors: blocks.0.hook_mlp_in holds a number that is not finite"):
        read(autocircuit.CODEC, tmp_path / "x.safetensors", SMALL)


def test_tensors_that_hold_no_plain_numbers_are_refused(tmp_path):
    path = tmp_path / "scores.safetensors"
    save_file({"blocks.0.hook_mlp_in": np.zeros(3, dtype=np.complex64)}, path)
    with pytest.raises(InputError, match="convert it to float32"):
        autocircuit.decode(path, SMALL)
