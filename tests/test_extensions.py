"""What other packages add, through entry points as installed packages have them."""

from importlib.metadata import EntryPoint

import numpy as np
import pytest
import torch

from acdc import extensions
from acdc.artefacts.scores import Scores
from acdc.behaviour import ablations
from acdc.behaviour.ablations import Ablation
from acdc.benchmark import suites
from acdc.benchmark.case import Suite
from acdc.benchmark.compiled import CompiledCase
from acdc.execution.ablated import Ablated
from acdc.runs.exchange import all_formats
from acdc.search import registry
from acdc.search.registry import Method
from acdc.task import metrics
from acdc.task.metrics import Metric
from acdc.task.registry import all_tasks

CACHES = (
    registry.all_methods,
    suites.all_suites,
    metrics.all_metrics,
    ablations.all_ablations,
    all_tasks,
    all_formats,
)


@pytest.fixture
def of_another_package(monkeypatch):
    """Give an entry point as another installed package would have it."""

    def forget():
        for cache in CACHES:
            cache.cache_clear()

    def install(group, found):
        entry = EntryPoint("theirs", "theirs:it", group)
        monkeypatch.setattr(EntryPoint, "load", lambda self: found)
        real = extensions.entry_points
        monkeypatch.setattr(extensions, "entry_points", lambda **of: [entry] if of["group"] == group else real(**of))
        forget()

    yield install
    monkeypatch.undo()
    forget()


def test_a_method(acdc, of_another_package):
    ones = Method("theirs", lambda behaviour, *_: Scores(np.ones(behaviour.graph.n_edges), "importance"), "all alike")
    of_another_package("acdc.methods", ones)
    assert "theirs" in acdc("list", "methods").out
    done = acdc("benchmark", "--cases", "and-gate", "--methods", "theirs", "--json")
    assert {row["edge_auroc"] for row in done.json["rows"]} == {0.0}


def test_a_suite(acdc, of_another_package):
    suite = Suite("their-suite", "one", lambda data: [CompiledCase("their-suite", "and-gate")])
    of_another_package("acdc.suites", suite)
    assert acdc("benchmark", "--suite", "their-suite", "--methods", "acdc").code == 0


def test_a_metric_is_known_to_every_command(acdc, of_another_package):
    """A metric of theirs that is twice one of ours keeps the same edges at twice the threshold."""
    logit_diff = metrics.METRICS["logit_diff"]
    double = Metric("double", lambda logits, batch: 2 * logit_diff.function(logits, batch), True, logit_diff.needs)
    of_another_package("acdc.metrics", double)
    words = ("discover", "--task", "induction", "--limit", 16)
    ours = acdc(*words, "--threshold", 1, "--metric", "logit_diff", "--json").json
    theirs = acdc(*words, "--threshold", 2, "--metric", "double", "--out", "found", "--json").json
    assert theirs["edges"] == ours["edges"] and theirs["faithfulness"] == pytest.approx(ours["faithfulness"], abs=1e-6)
    assert acdc("minimise", "found").code == 0


@pytest.mark.parametrize(("method", "threshold"), [("acdc", 1), ("eap", 0.02)])
def test_an_ablation_is_carried_like_ours(acdc, of_another_package, method, threshold):
    """One of theirs that carries what zero ablation does finds the same, byte by byte."""

    def nothing(behaviour, batch):
        return Ablated(torch.zeros_like(batch.clean.values[:, :1, :1]))

    words = ("discover", "--task", "induction", "--limit", 16, "--method", method, "--threshold", threshold)
    ours = acdc(*words, "--ablation", "zero", "--json").json
    of_another_package("acdc.ablations", Ablation("theirs", "nothing", nothing, has_within_head=False))
    theirs = acdc(*words, "--ablation", "theirs", "--json").json
    assert theirs["verification"]["measures"] == ours["verification"]["measures"]
    assert theirs["edges"] == ours["edges"] > 0
    refused = acdc("plan", "--ablation", "theirs")
    assert refused.code == 2 and "another package" in refused.err
    refused = acdc("discover", "--ablation", "theirs", "--direct-edges")
    assert refused.code == 2 and "--direct-edges" in refused.err


@pytest.mark.parametrize(
    ("group", "found", "said"),
    [
        ("acdc.methods", "no method", "is no Method but a str"),
        ("acdc.methods", registry.METHODS["acdc"], "the name 'acdc' is taken"),
        ("acdc.metrics", metrics.METRICS["kl"], "the name 'kl' is taken"),
        ("acdc.ablations", ablations.ABLATIONS["zero"], "the name 'zero' is taken"),
        (
            "acdc.ablations",
            Ablation("flat", "", lambda behaviour, batch: Ablated(torch.zeros(3, 1, 1, 64))),
            "gives values of shape [3, 1, 1, 64]",
        ),
    ],
)
def test_what_they_do_wrong_is_said_in_a_sentence(acdc, of_another_package, group, found, said):
    of_another_package(group, found)
    words = ("discover", "--limit", 8, "--method", "eap", "--ablation", getattr(found, "name", "zero"))
    outcome = acdc(*words)
    assert outcome.code == 2 and said in outcome.err and outcome.err.count("\n") == 1
