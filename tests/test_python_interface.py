"""The Python interface: what it takes, what it says of wrong calls, and what it shows."""

import traceback

import numpy as np
import pytest
import torch

import acdc
from acdc.arguments import as_arguments
from acdc.artefacts.scores import Scores
from acdc.behaviour.ablations import ABLATIONS
from acdc.errors import AcdcWarning, InputError
from acdc.execution.ablated import Ablated
from acdc.search.registry import METHODS


@pytest.fixture(scope="module")
def found(trio, induction):
    return acdc.discover(trio, induction, method="eap", edges=40, limit=8)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda m, t: acdc.discover(m, "ioi"), "task must be a Task, not the text 'ioi': acdc.load_task"),
        (
            lambda m, t: acdc.discover("trio", t),
            "model must be a Model, not the text 'trio': acdc.load_model",
        ),
        (lambda m, t: acdc.verify(m, t, 3), "circuit must be a Circuit, not a int"),
        (lambda m, t: acdc.discover(m, t, method="eap", edges=10**5), "edges=100000 is more than the graph's"),
        (lambda m, t: acdc.discover(m, t, edges=4), "takes threshold, not edges"),
        (lambda m, t: acdc.discover(m, t, method="eap", edges=0.1), "edges=0.1 must be a whole number"),
        (lambda m, t: acdc.discover(m, t, method="eap", n_edges=4), "did you mean 'edges'"),
        (lambda m, t: acdc.discover(m, t, method="eap", edges=4, steps=5), "steps works only with .*, not with eap"),
        (lambda m, t: acdc.discover(m, t, method="eap-ig"), "did you mean 'eap-ig-inputs' or 'eap-ig-activations'"),
        (lambda m, t: acdc.discover(m, t, metric="logitdiff"), "did you mean 'logit_diff'"),
        (lambda m, t: acdc.load_task("ioo", m), "did you mean 'ioi'"),
        (lambda m, t: acdc.load_model(3), "cannot be loaded from a int: give a name"),
        (lambda m, t: acdc.draw("circuit"), "a str is not drawn"),
        (lambda m, t: acdc.score(m, t, "acdc"), "gives no scores: use discover"),
        (lambda m, t: acdc.plan(m, "ioi"), "a plan is made from a model's name"),
    ],
)
def test_a_wrong_call_is_told_in_one_sentence(trio, induction, call, said):
    with pytest.raises(InputError, match=said) as refusal:
        call(trio, induction)
    assert "--" not in str(refusal.value) and "\n" not in str(refusal.value)
    frames = [frame.name for frame in traceback.extract_tb(refusal.tb)]
    assert frames[-1] == "call" and len(frames) <= 4, "none of what is inside is shown"


def test_a_result_stands_for_its_circuit(trio, induction, found):
    report = acdc.verify(trio, induction, found, extent="quick", rows=8)
    assert report == acdc.verify(trio, induction, found.circuit, extent="quick", rows=8)
    assert acdc.draw(found).heading == acdc.draw(found.circuit).heading
    assert str(report) == repr(report) and len(str(report)) < 100
    assert list(report.to_dataframe("random").columns) == ["edges", "faithfulness"]
    with pytest.warns(AcdcWarning, match="verified on 2 rows only"):
        acdc.verify(trio, induction, found, extent="quick", rows=2)


def test_a_colour_by_another_name(found):
    with pytest.raises(InputError, match="no option 'colors'; did you mean 'colours'"):
        acdc.draw(found, colors="score")


def test_nothing_left_to_verify_on_is_told(trio, induction):
    few = acdc.Task("few", induction.rows[:4], "logit_diff")
    with pytest.warns(AcdcWarning, match="none are left for acdc.verify"):
        circuit = acdc.discover(trio, few, method="eap", edges=40, limit=4).circuit
    assert "not verified: discovery used all 4 rows" in repr(acdc.verify(trio, few, circuit))


def test_own_methods_and_ablations(trio, induction, monkeypatch):
    """A function that does what eap's own scores say, and one that ablates to zero, give what these give."""
    for registry in (METHODS, ABLATIONS):  # other tests do not know them
        monkeypatch.setattr(registry, "_added", {})
        monkeypatch.setattr(registry, "_all", None)
    exact = acdc.score(trio, induction, "eap", ablation="zero", limit=8)

    def known(behaviour, options, progress):
        """The scores that are known."""
        return Scores(np.array([exact.scores[name] for name in behaviour.graph.names]), "effect")

    def nothing(behaviour, batch):
        """Nothing at all."""
        return Ablated(torch.zeros_like(batch.clean.values[:, :1, :1]))

    own = acdc.discover(trio, induction, known, ablation=nothing, edges=30, limit=8)
    same = acdc.discover(trio, induction, "eap", ablation="zero", edges=30, limit=8)
    assert own.circuit.edges == same.circuit.edges and (own.circuit.method.name, own.circuit.ablation) == (
        "known",
        "nothing",
    )
    assert acdc.methods()["known"] == "The scores that are known." and "nothing" in acdc.ablations()
    quick = [acdc.verify(trio, induction, one, extent="quick", rows=8).faithfulness for one in (own, same)]
    assert quick[0] == pytest.approx(quick[1])
    known.__name__ = "eap"
    with pytest.raises(InputError, match="acdc has a method of that name"):
        acdc.discover(trio, induction, known, edges=30)


def test_an_own_metric_that_fails_says_what_it_is_called_with(trio, induction):
    def wrong(logits):
        return logits

    with pytest.raises(InputError, match=r"metric 'wrong' failed on logits \[8, 250\].*Boolean") as refusal:
        acdc.discover(trio, induction, method="eap", metric=wrong, edges=30, limit=8)
    assert isinstance(refusal.value.__cause__, TypeError)


def test_results_are_saved_and_exchanged(trio, induction, found, tmp_path):
    found.save(tmp_path / "mine")
    again = acdc.load_run(tmp_path / "mine")
    assert again.circuit == found.circuit and again.scores == found.scores and again.report is None
    report = acdc.verify(trio, induction, found, extent="quick", rows=8)
    report.save(tmp_path / "mine")
    assert acdc.load_run(tmp_path / "mine").report == report
    assert found.circuit.export("eap-ig", tmp_path / "graph.json", scores=found.scores) == []
    theirs = acdc.import_circuit(trio, induction, tmp_path / "graph.json", "eap-ig", limit=8)
    assert theirs.edges == found.circuit.edges and "imported from eap-ig" in repr(theirs)
    with pytest.raises(InputError, match="explore"):
        found.circuit.export("html", tmp_path / "x.html")
    with pytest.raises(InputError, match="does not hold the edges"):
        found.circuit.export("eap-ig", tmp_path / "x.json", scores={"m3->logits": 1.0})


def test_what_surrounds_a_discovery(trio, induction, found):
    smaller = acdc.minimise(trio, induction, found)
    assert {edge.id for edge in smaller.edges} < {edge.id for edge in found.circuit.edges}
    both = acdc.diff(trio, induction, found, smaller)
    assert both.edges.both == len(smaller) and len(repr(both)) < 100
    assert both.to_dataframe()["circuit"].tolist() == ["first", "second", "union", "intersection"]
    assert acdc.check_task(trio, induction).measures["accuracy"]["clean"] == 1.0
    planned = acdc.plan("trio", "ioi", "eap", probe=False, limit=8)
    assert planned.search.rows == 8 and "eap for ioi in trio" in repr(planned)


def test_names_are_listed():
    assert acdc.__version__ and "trio" in acdc.models() and "ioi" in acdc.tasks() and "kl" in acdc.metrics()
    assert "eap" in acdc.methods() and "mean" in acdc.ablations() and "eap-ig" in acdc.formats()


def test_prompts(trio, tmp_path):
    prompt = "When Mary and John went to the store , John gave a drink to"
    graph = acdc.trace(trio, prompt, logits="Mary", max_nodes=20)
    assert [node.label for node in graph.logits] == ["Mary"]
    table = graph.to_dataframe()
    assert len(table) == len(graph.nodes) and table["kept"].sum() == graph.prune().nodes.sum()
    assert graph.describe(0) == graph.describe(graph.nodes[0]) == graph.describe(graph.nodes[0].id)
    assert all(len(repr(one)) < 200 for one in (graph, graph.prune()))
    graph.explore().save(tmp_path / "graph.html")
    off = acdc.intervene(trio, prompt, set={"a3.h2": 0})
    assert off == acdc.intervene(trio, prompt, set="a3.h2=0") and len(off.to_dataframe()) == len(off.prompt.tokens)
    along = np.ones(64)
    given = acdc.intervene(trio, prompt, add={"m3": along})
    assert given.prompt == acdc.intervene(trio, prompt, add="m3=v", vectors={"v": along}).prompt


def test_steering_takes_arrays_and_prompts(trio, induction):
    how = {"strengths": [2.0], "limit": 4, "progress": acdc.silent}
    steered = acdc.steer(trio, induction, "blocks.3.hook_resid_post", vector=np.ones(64), **how)
    same = acdc.steer(trio, induction, "resid_post3", vector=torch.ones(64), **how)
    assert steered.doses == same.doses and len(repr(steered)) < 200 and len(steered.to_dataframe()) == 4
    texts = {"toward": ["apple river"], "away": ["stone cloud"]}
    assert acdc.steer(trio, induction, "resid_post3", **texts, **how).direction == "mean over 1 prompt less 1 prompt"


def test_patching_and_sweeps_as_rows(trio, induction):
    record = acdc.patch(trio, induction, ["head"], limit=4)
    assert len(record.to_dataframe()) == 16 and len(repr(record)) < 150 and acdc.draw(record).width > 0
    curve = acdc.sweep(trio, induction, [5.0], limit=4)
    assert curve.to_dataframe()["edges_effective"].tolist() == [curve.points[0].circuit.size]


def test_models_from_memory(trio, induction, tmp_path):
    again = acdc.load_model(trio.bridge, dtype="float64", tokenizer=trio.tokenizer)
    tokens = torch.tensor([induction.rows[0].clean])
    torch.testing.assert_close(again.bridge(tokens), trio.bridge(tokens), rtol=1e-5, atol=1e-5)  # as float32 softmax
    acdc.save_model(trio.bridge, tmp_path / "mine")
    with pytest.raises(InputError, match="holds a model already"):
        acdc.save_model(trio.bridge, tmp_path / "mine")
    assert acdc.load_model(str(tmp_path / "mine"), dtype="float64").anatomy == trio.anatomy


def test_a_circuit_lists_its_own_names(found):
    assert {"edges", "score", "to_dataframe", "export"} <= set(dir(found.circuit))
    assert "parse_obj" not in dir(found.circuit)


def test_only_options_are_renamed():
    """Not what stands in the name of a file."""
    said = as_arguments("my--edges.json, a/--limit and b.--seed: give --edges 4, or --batch-size")
    assert said == "my--edges.json, a/--limit and b.--seed: give edges=4, or batch_size"
