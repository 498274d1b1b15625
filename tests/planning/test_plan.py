"""A plan, made from a configuration alone, says what the search then does."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import thorough_but
from families import ALL, EACH, HUGGING_FACE, NATIVE, boot, config_folder, random_rows, thorough_if_more

from acdc.errors import InputError
from acdc.execution.dry_run import dry_run, recording
from acdc.model.shape import find_model, shape_of
from acdc.model.sources import BUNDLED
from acdc.options import Level
from acdc.planning.job_plan import plan_job
from acdc.planning.search_plan import SearchPlan, plan_search
from acdc.progress import silent
from acdc.runs.spec import DiscoveryJob
from acdc.search.discover import bind, prepare
from acdc.search.registry import METHODS
from acdc.search.settings import DiscoverySettings
from acdc.task.rows import Task

STEPS, UPDATES, ROWS = 2, 4, 8
SETTINGS = DiscoverySettings(limit=ROWS, batch_size=4)
OPTIONS = {"steps": STEPS, "updates": UPDATES}


def settings(method: str, **more) -> DiscoverySettings:
    """Small ones that a method takes."""
    found = METHODS.find(method)
    own = found.options.own()
    return replace(SETTINGS, method=found, options={n: v for n, v in OPTIONS.items() if n in own}, **more)


def planned(model: str, task: Task, wanted: DiscoverySettings, dtype: str = "float64") -> SearchPlan:
    with dry_run() as tracker:
        return plan_search(tracker, shape_of(find_model(model, device="cpu", dtype=dtype)), task, wanted, loading=0)


def done(model, task: Task, wanted: DiscoverySettings):
    """(the costs of the search as it really is, its behaviour)."""
    split = prepare(model, task, wanted)
    with recording() as tracker:
        behaviour = bind(model, task, wanted, split.discovery)
        wanted.method.run(behaviour, wanted.search_options, silent)
    return tracker, behaviour


def flops(operations: Counter) -> float:
    return sum(operation.flops * times for operation, times in operations.items())


@pytest.mark.parametrize("name", [*thorough_but(EACH, [*HUGGING_FACE, *NATIVE]), *thorough_if_more([])])
def test_a_configuration_tells_shape_and_work_of_every_family(name, tmp_path):
    task, wanted = random_rows([7] * 4), DiscoverySettings(method=METHODS["eap"], limit=4)
    model = boot(name, 2, seed=0)
    _, behaviour = done(model, task, wanted)
    with dry_run() as tracker:
        shape = shape_of(find_model(str(config_folder(name, tmp_path)), device="cpu", dtype="float64"))
        assert shape.model.anatomy == model.anatomy
        mine, loaded = (m.components.weights.layers[1].attention for m in (shape.model, model))
        assert [getattr(mine, k).weight.shape for k in "qkv"] == [getattr(loaded, k).weight.shape for k in "qkv"]
        if name in ALL:
            assert shape.parameters == sum(parameter.numel() for parameter in ALL[name]().parameters())
        assert tracker.live >= 8 * shape.parameters
        plan = plan_search(tracker, shape, task, wanted, loading=0)
    components = model.anatomy.n_layers * (model.anatomy.n_heads + (not model.anatomy.attn_only))
    assert plan.edges == behaviour.graph.n_edges
    assert plan.most.forwards == pytest.approx(behaviour.work.evaluations / components) == 3 * 4
    assert plan.most.backwards == 4
    # the work of components has no backward products in it, which are about one forward's
    assert behaviour.work.flops < plan.most.flops < 1.6 * behaviour.work.flops


@pytest.mark.parametrize(
    ("method", "forwards", "backwards"),
    [
        ("eap", 3, 1),
        ("eap-ig-inputs", 2 + STEPS, STEPS),
        ("clean-corrupted", 4, 2),
        ("relp", 3, 1),
        ("hisp", 2, 1),
        ("ifr", 2, 0),
        ("atp-star", 7.8, 5),  # a pass per layer and one more; patterns are a part of one
    ],
)
def test_scores_cost_what_was_planned(trio, induction, method, forwards, backwards):
    """Passes are in addition to the clean run of every row that binding makes."""
    wanted = settings(method)
    tracker, behaviour = done(trio, induction, wanted)
    plan = planned("trio", induction, wanted)
    assert (plan.most.forwards, plan.most.backwards) == pytest.approx((ROWS * forwards, ROWS * backwards))
    assert plan.least == plan.most and plan.batches == len(behaviour.batches) == 2
    assert plan.most.flops == pytest.approx(flops(tracker.operations), rel=1e-6)
    assert plan.most.forwards == pytest.approx(behaviour.work.evaluations / 20)
    assert plan.memory.held + plan.memory.working == pytest.approx(tracker.peak, rel=0.1)


@pytest.mark.parametrize("level", Level)
def test_exact_costs_about_what_was_planned(trio, induction, level):
    """Of many runs some are dry-run."""
    wanted = settings("exact", level=level, limit=4)
    tracker, behaviour = done(trio, induction, wanted)
    plan = planned("trio", induction, wanted)
    assert plan.most.flops == pytest.approx(flops(tracker.operations), rel=0.1)
    assert plan.most.forwards == pytest.approx(behaviour.work.evaluations / 20, rel=0.1)
    assert plan.memory.held + plan.memory.working == pytest.approx(tracker.peak, rel=0.2)
    counts = {Level.edges: 479, Level.nodes: 21, Level.coordinates: 20 * 64, Level.positions: 9025}
    assert plan.candidates == (counts | {Level.neurons: 4 * (4 + 256)})[level]


@pytest.mark.thorough
def test_masks_cost_what_was_planned(trio, induction):
    wanted = settings("edge-pruning")
    tracker, _ = done(trio, induction, wanted)
    plan = planned("trio", induction, wanted)
    assert plan.is_range and plan.most.backwards == UPDATES * 4
    assert plan.most.flops == pytest.approx(flops(tracker.operations), rel=1e-6)
    assert plan.memory.held + plan.memory.working == pytest.approx(tracker.peak, rel=0.15)


@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("acdc", {}),
        pytest.param("acdc", {"level": Level.nodes}, marks=pytest.mark.thorough),
        pytest.param("acdc", {"direct_edges": True}, marks=pytest.mark.thorough),
        ("hybrid", {}),
    ],
)
def test_decisions_cost_something_in_between(trio, induction, method, more):
    wanted = settings(method, **more)
    tracker, _ = done(trio, induction, wanted)
    plan = planned("trio", induction, wanted)
    assert plan.least.flops < flops(tracker.operations) < plan.most.flops
    assert tracker.peak < plan.memory.held + plan.memory.working


@pytest.mark.parametrize("ablation", thorough_but(["mean-positional"], ["zero", "mean", "mean-positional"]))
def test_ablations(trio, induction, ablation):
    """Means take a run of the whole task."""
    wanted = settings("eap", ablation=ablation)
    tracker, _ = done(trio, induction, wanted)
    plan = planned("trio", induction, wanted)
    assert plan.most.flops == pytest.approx(flops(tracker.operations), rel=0.02)


@pytest.mark.thorough
def test_batches_of_many_shapes(tmp_path):
    """A few are dry-run, the others counted in proportion."""
    model, task = boot("gpt2", 2, seed=0), random_rows([4, 4, 7, 7, 11, 12, 17, 26, 27, 28])
    wanted = DiscoverySettings(method=METHODS["eap"], limit=10, batch_size=2)
    tracker, behaviour = done(model, task, wanted)
    plan = planned(str(config_folder("gpt2", tmp_path)), task, wanted)
    assert plan.batches == len(behaviour.batches) > 4 and plan.longest == 28
    assert plan.most.flops == pytest.approx(flops(tracker.operations), rel=0.05)


def job(**more) -> DiscoveryJob:
    return DiscoveryJob("trio", "induction", settings("eap", **more), device="cpu")


@pytest.fixture(scope="module")
def job_plan():
    return plan_job(job())


def test_what_fits(job_plan):
    plan = job_plan
    assert plan.fits and plan.fitting == plan.batch_size == 4
    memory = plan.search.memory
    needed = plan.base + memory.weights + memory.held
    assert replace(plan, free=needed + memory.working // 2).fitting == 2
    assert replace(plan, free=needed - 1).fitting is None and not replace(plan, free=needed - 1).fits
    assert replace(plan, free=None).fits is None
    loading = replace(plan, search=replace(plan.search, memory=replace(memory, loading=2 * plan.peak)))
    assert loading.peak == plan.base + 2 * plan.peak and replace(loading, free=plan.peak).fitting is None


def test_what_fits_on_other_devices(job_plan):
    plan = job_plan
    memory = replace(plan.search.memory, elsewhere={"cuda:1": 100})
    split = replace(plan, search=replace(plan.search, memory=memory), free_elsewhere={"cuda:1": 100})
    assert split.fits and split.fitting == 4
    cramped = replace(split, free_elsewhere={"cuda:1": 99})
    assert cramped.full == ["cuda:1"] and not cramped.fits and cramped.fitting is None
    assert replace(split, free_elsewhere={"cuda:1": None}).fits


@pytest.mark.thorough
def test_learnt_constants_cost_their_updates(induction):
    plain, optimal = (planned("trio", induction, settings("eap", ablation=name)) for name in ("zero", "optimal"))
    assert optimal.most.backwards == plain.most.backwards + 200 * 4


def test_a_search_that_would_be_refused_is_not_planned(tmp_path):
    """Experts are no part of what relp can do."""
    with pytest.raises(InputError, match="relp needs"):
        planned(
            str(config_folder("mixtral", tmp_path)),
            random_rows([7] * 4),
            DiscoverySettings(method=METHODS["relp"], limit=4),
        )


@pytest.mark.thorough
def test_the_command_needs_no_weights(acdc):
    """A folder with configuration and tokenizer alone, as JSON and as a table."""
    Path("m").mkdir()
    for path in BUNDLED["trio"].iterdir():
        if path.suffix == ".json":
            (Path("m") / path.name).write_bytes(path.read_bytes())
    plan = acdc("plan", "--model", "m", "--method", "eap", "--json").json
    assert plan["parameters"] == 218_112 and plan["edges"] == 479 and plan["forwards"] == [192, 192]
    assert plan["memory"]["peak"] >= plan["memory"]["base"] + plan["memory"]["weights"]
    assert 0 < plan["seconds"][0] < 60
    assert plan["verification"]["extent"] == "standard" and plan["verification"]["flops"] > plan["flops"][1]
    assert 0 < plan["choosing"]["seconds"] < 60
    chosen = acdc("plan", "--model", "m", "--method", "eap", "--edges", "9", "--verify", "none", "--json").json
    assert chosen["choosing"] is None and chosen["verification"] == {"extent": "none", "flops": 0, "seconds": 0}
    printed = acdc("plan", "--model", "m", "--method", "acdc", "--limit", "4")
    assert printed.code == 0 and printed.err == (
        "m has no weights here, so no short acdc search is run: the plan gives only bounds\n"
    )
    assert "at most" in printed.out and "which is unknown" in " ".join(printed.out.split())
    assert not [path for path in Path().rglob("*") if path.suffix not in (".json", "")]


@pytest.mark.thorough
def test_acdc_is_tried_before_it_is_planned(acdc):
    """What the estimate rests on is said; the search then takes what was planned."""
    words = ("--method", "acdc", "--task", "induction", "--limit", "16", "--threshold", "0.3")
    done = acdc("plan", *words)
    assert done.err == "loading trio and running a short acdc search (--no-probe: plan without it)\n"
    printed = " ".join(done.out.split())
    assert "search about" in printed and "edges kept" in printed and "verification at most" in printed
    assert (
        "comes from a short search on all 16 discovery rows" in printed
        and "Every edge into each of them was tested" in printed
    )
    plan = acdc("plan", *words, "--json").json
    assert acdc("discover", *words, "--verify", "none", "--out", "r").code == 0
    run, circuit = (json.loads(Path(f"r/{name}.json").read_text()) for name in ("run", "circuit"))
    assert plan["flops"][0] < run["flops"] < plan["flops"][1] < 3 * run["flops"]
    assert plan["preview"]["tests"] == circuit["method"]["selection"]["tests"]
    assert plan["likely"]["seconds"] > 0 and plan["preview"]["unreached"] == 0
    bounds = acdc("plan", *words, "--no-probe", "--json").json
    assert bounds["preview"] is None and bounds["likely"] is None and bounds["flops"][1] > plan["flops"][1]
