"""What other packages add, through entry points as installed packages have them."""

import json
from dataclasses import fields, replace
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import Field

from acdc import discover, extensions
from acdc.artefacts.circuit import Circuit
from acdc.artefacts.scores import Scores
from acdc.behaviour import ablations
from acdc.behaviour.ablations import Ablation
from acdc.benchmark import suites
from acdc.benchmark.case import Suite
from acdc.benchmark.compiled import CompiledCase
from acdc.errors import InputError
from acdc.execution.ablated import Ablated
from acdc.extensions import Registry
from acdc.progress import silent
from acdc.runs.exchange import FORMATS
from acdc.runs.run_directory import read_run
from acdc.runs.spec import DiscoveryJob
from acdc.runs.stability import plan_repeats, repeat_discovery
from acdc.search import registry
from acdc.search.cost import once
from acdc.search.options import RESERVED, SearchOptions
from acdc.search.registry import Method
from acdc.search.settings import DiscoverySettings
from acdc.task import metrics
from acdc.task.metrics import Metric
from acdc.task.registry import TASKS

REGISTRIES = (registry.METHODS, suites.SUITES, metrics.METRICS, ablations.ABLATIONS, TASKS, FORMATS)


@pytest.fixture
def of_another_package(monkeypatch):
    """Give an entry point as another installed package would have it."""

    def forget():
        for found in REGISTRIES:
            found.reload()

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


@pytest.mark.parametrize("random", [True, False])
def test_seeds_of_a_method_that_draws_are_repeated(acdc, of_another_package, induction, trio, random):
    """Where rows are given by --limit, a seed matters to a method alone that says it draws."""
    theirs = Method("theirs", registry.METHODS["random"].run, "random scores", random=random)
    of_another_package("acdc.methods", theirs)
    words = ("discover", "--task", "induction", "--limit", 24, "--method", "theirs", "--edges", 40)
    assert acdc(*words, "--verify", "none", "--out", "found").code == 0
    assert plan_repeats(Path("found"), 6).seeds == (3 if random else 0)
    found = repeat_discovery(read_run(Path("found")), Circuit.load("found"), trio, induction, 6, silent)
    assert (found.seeds is not None) == random
    if found.seeds is not None:
        assert [repeat.name for repeat in found.seeds.each] == ["seed 1", "seed 2", "seed 3"]
        assert max(repeat.jaccard for repeat in found.seeds.each) < 1


class PowerOptions(SearchOptions):
    power: float = Field(2.0, gt=0, description="Exponent.")


def powers(behaviour, options, progress):
    return Scores(np.arange(1.0, behaviour.graph.n_edges + 1) ** options.power, "importance")


POWERS = Method("powers", powers, "ranks of edges to a power", options=PowerOptions)
WORDS = ("--task", "induction", "--limit", 8, "--method", "powers", "--dtype", "float64", "--edges", 20)


def test_options_of_a_method(acdc, of_another_package, trio, induction):
    """From the command line, Python and a job file the same circuit, byte by byte, which says the option."""
    of_another_package("acdc.methods", POWERS)
    assert acdc("discover", *WORDS, "--option", "power=3", "--verify", "none", "--out", "found").code == 0
    written = Path("found/circuit.json").read_text()
    assert json.loads(written)["method"]["options"] == {"power": 3.0}
    result = discover(trio, induction, "powers", edges=20, limit=8, power=3)
    result.circuit.save("python.json")
    assert Path("python.json").read_text() == written and max(result.scores.values()) == result.circuit.edges_total**3
    Path("jobs.toml").write_text(
        '[[jobs]]\ntask = "induction"\nlimit = 8\nmethod = "powers"\nedges = 20\nverify = "none"\ndtype = "float64"\n'
        "power = [3.0, 2.0]\n"
    )
    assert acdc("run", "jobs.toml", "--out", "jobs").code == 0
    circuits = [path.read_text() for path in Path("jobs").glob("*/circuit.json")]
    assert len(circuits) == 2 and written in circuits
    command = read_run(Path("found")).command
    assert command.count("--option power=3.0") == 1 and "--steps 5" in command
    assert acdc(*command.split()[1:], "--verify", "none", "--out", "found").code == 0, "the run is of the same inputs"
    assert acdc("show", "found").code == 0
    scored = acdc("score", *WORDS[:8], "--option", "power=3", "--out", "scored")
    assert scored.code == 0 and json.loads(Path("scored/scores.json").read_text())["options"] == {"power": 3.0}


def test_a_method_is_planned_by_the_cost_that_it_declares(acdc, of_another_package):
    """Without one the cost is unknown, and nothing is guessed."""
    of_another_package("acdc.methods", POWERS)
    refused = acdc("plan", *WORDS)
    assert refused.code == 2 and refused.err.count("\n") == 1
    assert "the cost of method 'powers' is unknown" in refused.err
    of_another_package("acdc.methods", replace(POWERS, cost=once))
    plan = acdc("plan", *WORDS, "--json").json
    assert plan["method"] == "powers" and plan["forwards"] == [8, 8] and plan["likely"]["flops"] == plan["flops"][1]


def test_a_listing_has_the_options_of_every_method(acdc, of_another_package):
    """Also those of other packages, as they are given; no line is longer than a narrow terminal's."""
    of_another_package("acdc.methods", POWERS)
    listed = acdc("list", "methods").out.splitlines()
    assert max(map(len, listed)) <= 80
    assert [line.split() for line in listed if "power=" in line] == [
        ["powers", "scores", "edges", "-", "--option", "power="],
        ["--option", "power=", "2.0", "Exponent."],
    ]
    rows = {row["name"]: row for row in acdc("list", "methods", "--json").json}
    assert rows["powers"]["options"] == [{"name": "power", "default": 2.0, "what": "Exponent."}]
    assert rows["ugs"]["seeded"] and not rows["exact"]["seeded"] and rows["hisp"]["levels"] == ["edges", "nodes"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--option", "power=0"), "--power 0 must be above 0"),
        (("--option", "power=high"), "--power high must be a valid number"),
        (("--option", "power"), "--option 'power' is not of the form NAME=VALUE"),
        (("--option", "force=2"), "no method takes an option 'force'"),
        (("--option", "power=3", "--method", "eap"), "--power works only with powers, not with eap"),
        (("--steps", 3), "--steps works only with hybrid, eap-ig-inputs, eap-ig-activations, ensemble, not"),
    ],
)
def test_options_that_are_refused(acdc, of_another_package, words, said):
    of_another_package("acdc.methods", POWERS)
    refused = acdc("discover", *WORDS, *words)
    assert refused.code == 2 and said in refused.err and refused.err.count("\n") == 1


def test_no_option_has_the_name_of_something_else():
    class Taken(SearchOptions):
        model: str = ""

    with pytest.raises(InputError, match="an option cannot be called 'model'"):
        Method("theirs", powers, "", options=Taken)
    named = {field.name for kind in (DiscoveryJob, DiscoverySettings) for field in fields(kind)}
    assert named - SearchOptions.model_fields.keys() <= RESERVED


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


@pytest.mark.thorough
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


def test_one_that_is_not_known(of_another_package):
    """The sentence names those that are, plug-ins included; a registry is a mapping of all of them."""
    flat = Ablation("flat", "", lambda behaviour, batch: Ablated(torch.zeros(3, 1, 1, 64)))
    of_another_package("acdc.ablations", flat)
    known = ablations.ABLATIONS
    assert list(known) == [*known.built_in, "flat"] and known.find("flat") is known["flat"] is flat
    with pytest.raises(InputError, match="ablation 'none' is not one of resample, .*optimal, flat$"):
        known.find("none")


def test_one_that_cannot_be_imported(monkeypatch):
    entry = EntryPoint("theirs", "no_such_package:it", "acdc.metrics")
    broken = Registry("metric", "acdc.metrics", Metric, metrics.METRICS.built_in.values())
    monkeypatch.setattr(extensions, "entry_points", lambda **of: [entry])
    with pytest.raises(InputError, match=r"no_such_package:it \(acdc.metrics\) cannot be loaded: No module"):
        broken.find("kl")


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
