"""Bootstraps of runs: averaged scores against searches, and a program whose circuit does not depend on the rows."""

from pathlib import Path

import pytest

from acdc.benchmark.compiled import CompiledCase
from acdc.errors import InputError
from acdc.model.load import load_model
from acdc.progress import silent
from acdc.runs import bootstraps
from acdc.runs.bootstraps import bootstrap_discovery, check_bootstraps
from acdc.task.load import load_task


def measured(model, task, count, path="run"):
    record, circuit = check_bootstraps(Path(path), max(count, 100))
    return bootstrap_discovery(Path(path), record, circuit, model, task, count, silent)


@pytest.mark.parametrize(
    "how",
    [
        ("eap", "--edges", 30),
        ("eap-ig-inputs", "--threshold", 0.05),
        ("eap", "--edges", 30, "--choose", "greedy"),
        ("eap", "--edges", 30, "--ablation", "mean"),
    ],
    ids=str,
)
def test_averaged_scores_give_what_searches_give(acdc, trio, induction, monkeypatch, how):
    common = ("--task", "induction", "--dtype", "float64", "--limit", 10, "--verify", "none", "--out", "run")
    acdc("discover", *common, "--method", *how)
    averaged = measured(trio, induction, 8)
    monkeypatch.setattr(bootstraps, "SAME", -1.0)
    searched = measured(trio, induction, 8)
    assert averaged.averaged and not searched.averaged
    assert averaged.model_copy(update={"averaged": False}) == searched
    assert 0.3 < averaged.jaccard < 1.0 and averaged.to_circuit[0] < averaged.to_circuit[1] < averaged.to_circuit[2]


def test_scores_that_are_no_means_are_searched_again(acdc, trio, induction, monkeypatch):
    """Scores of the run that single rows do not give."""
    common = ("--task", "induction", "--dtype", "float64", "--limit", 8, "--verify", "none", "--out", "run")
    acdc("discover", *common, "--method", "eap", "--edges", 30)
    real = bootstraps.read_values
    monkeypatch.setattr(bootstraps, "read_values", lambda *at: 2 * real(*at))
    assert not measured(trio, induction, 8).averaged


@pytest.mark.parametrize("how", [("acdc",), ("eap", "--faithfulness", 0.9), ("exact", "--threshold", 0.1)], ids=str)
def test_the_circuit_of_a_program_is_stable(acdc, how):
    CompiledCase("suite", "previous-token").prepare(Path("case"), "cpu", None)
    inputs = ("--model", "case/plain", "--task", "case/task.jsonl", "--dtype", "float64", "--split-embeddings")
    acdc("discover", *inputs, "--limit", 12, "--verify", "none", "--method", *how, "--out", "run")
    model = load_model("case/plain", dtype="float64")
    found = measured(model, load_task("case/task.jsonl", model), 6 if how[0] == "acdc" else 100)
    assert found.averaged == (how[0] != "acdc") and found.sampling.rows == 12
    assert (found.jaccard, found.to_circuit, found.edges) == (1.0, (1.0, 1.0, 1.0), 2.0)
    assert found.frequencies == {"tok_embed->a0.h0<v>": 1.0, "a0.h0->logits": 1.0}


def test_too_few_are_refused(acdc):
    common = ("--task", "induction", "--verify", "none")
    acdc("discover", *common, "--method", "eap", "--edges", 30, "--limit", 10, "--out", "eap")
    with pytest.raises(InputError, match="--bootstraps 99 must be at least 100 with eap"):
        check_bootstraps(Path("eap"), 99)
    acdc("discover", *common, "--method", "random", "--edges", 30, "--limit", 10, "--out", "random")
    with pytest.raises(InputError, match="--bootstraps 5 must be at least 6 with random"):
        check_bootstraps(Path("random"), 5)
    acdc("discover", *common, "--method", "eap", "--edges", 30, "--limit", 7, "--out", "few")
    with pytest.raises(InputError, match="--bootstraps needs a discovery on at least 8 rows"):
        check_bootstraps(Path("few"), 100)
    acdc("discover", *common, "--method", "exact", "--level", "nodes", "--edges", 60, "--limit", 10, "--out", "nodes")
    with pytest.raises(InputError, match="it needs a circuit of edges, not of nodes"):
        check_bootstraps(Path("nodes"), 100)
