"""The artefact: a round trip, and what is no circuit."""

import json

import pytest

import acdc
from acdc.errors import InputError


@pytest.fixture(scope="module")
def circuit(trio, induction):
    return acdc.discover(trio, induction, method="eap", edges=30, limit=16).circuit


def test_round_trip(circuit, tmp_path):
    circuit.save(tmp_path)
    again = acdc.Circuit.load(tmp_path)
    assert again == circuit
    assert (again.mask == circuit.mask).all()
    again.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "circuit.json").read_bytes()


def test_contract_fields(circuit):
    record = circuit.model_dump(mode="json")
    assert (record["format"], record["version"], record["edges_total"]) == ("acdc-circuit", 1, 479)
    assert record["edges_effective"] == len(record["edges"]) <= 30
    assert set(record["edges"][0]) == {"id", "score"}
    assert record["task"]["discovery"] == [f"induction-{i:03d}" for i in range(16)]
    assert {"content_hash", "revision"} <= set(record["model"])
    assert record["score_kind"] == "effect" and "metric(edge ablated)" in record["sign_convention"]


def test_networkx(circuit):
    digraph = circuit.to_networkx()
    edges = {f"{u}->{v}": data["score"] for u, v, data in digraph.edges(data=True) if not data["wiring"]}
    assert edges == {edge.id: edge.score for edge in circuit.effective}


def test_shared_slots_are_wired_to_heads_that_write(circuit):
    """Two heads read one key; only the one with an outgoing edge is in the circuit."""
    shape = {**circuit.model.anatomy, "n_kv_heads": 2}
    edges = [{"id": name, "score": 1.0} for name in ("input->a0.kv1<k>", "a0.h3->logits")]
    model = circuit.model.model_copy(update={"anatomy": shape})
    grouped = acdc.Circuit.model_validate({**circuit.model_dump(), "model": model, "edges": edges})
    wiring = [(u, v) for u, v, data in grouped.to_networkx().edges(data=True) if data["wiring"]]
    assert wiring == [("a0.kv1<k>", "a0.h3")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "format"),
        ({"version": 2}, "version"),
        ({"edges": [{"id": "m9->logits", "score": 1.0}]}, "does not exist"),
        ({"edges": [{"id": "nonsense", "score": 1.0}]}, "not an edge id"),
        ({"edges": [{"id": "m3->logits", "score": "NaN"}]}, "score"),
        ({"model": {}}, "model"),
        ({"score_kind": "guess"}, "score_kind"),
    ],
)
def test_damaged_artefacts_are_refused(circuit, tmp_path, change, message):
    path = tmp_path / "circuit.json"
    path.write_text(json.dumps({**circuit.model_dump(mode="json"), **change}))
    with pytest.raises(InputError, match=message) as refusal:
        acdc.Circuit.load(path)
    assert str(path) in str(refusal.value)


def test_a_wrong_anatomy_is_refused(circuit, tmp_path):
    record = circuit.model_dump(mode="json")
    record["model"]["anatomy"] = {"n_layers": "many"}
    (tmp_path / "circuit.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="anatomy"):
        acdc.Circuit.load(tmp_path)
