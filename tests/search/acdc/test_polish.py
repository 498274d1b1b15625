"""The second pass over a finished circuit: repairs, and a certificate that brute force agrees with."""

import itertools
import json

import numpy as np
import pytest

from acdc.artefacts.circuit import Circuit
from acdc.artefacts.scores import Decisions
from acdc.behaviour.behaviour import Behaviour
from acdc.benchmark.compiled import CompiledCase
from acdc.benchmark.programs.realism import KNOBS
from acdc.errors import InputError
from acdc.options import Level, ObjectiveKind
from acdc.progress import silent
from acdc.render.report.page import to_html
from acdc.render.style import polished
from acdc.runs.finished import load_report
from acdc.search.acdc import missing, polish
from acdc.search.acdc.circuits import EdgeCircuits
from acdc.search.acdc.search import acdc as search
from acdc.search.acdc.search import decide
from acdc.search.methods.acdc_complete import acdc_complete
from acdc.search.options import OrderOptions
from acdc.task.load import load_task
from acdc.task.metrics import METRICS
from acdc.task.objective import RAW, Objective, Wanted

CASES = [
    ("ioi", "logit_diff", ObjectiveKind.match, 0.0, 0.3),
    ("induction", "logit_diff", ObjectiveKind.raw, 0.0, 0.05),
    ("greater_than", "kl", ObjectiveKind.raw, 0.0, 0.02),
    ("induction", "logit_diff", ObjectiveKind.match, 0.3, 0.1),
]


def bound(model, task, metric, ablation="resample", rows=range(6), **graph):
    return Behaviour(model, load_task(task, model), rows, METRICS[metric], ablation, **graph)


def decided(kept, threshold):
    return Decisions((), kept, np.zeros(len(kept)), threshold, objective=0.0, drift=0.0, tried=0)


def naive(behaviour, wanted, circuits):
    """The objective of circuits, boolean [circuits, edges], by runs of the whole model."""
    objective = Objective(behaviour.metric, wanted)
    return objective.of(behaviour.measure(~circuits, objective.metrics), behaviour.plain(objective.metrics))


def toggled(kept, changes):
    found = np.repeat(kept[None], len(changes), axis=0)
    for mask, edges in zip(found, changes, strict=True):
        mask[list(edges)] ^= True
    return found


@pytest.mark.parametrize("program", ["induction", "miniature-ioi", "modular-addition", "duplicate", "sort", "reverse"])
def test_a_circuit_with_a_wrong_edge_and_without_a_right_one_is_repaired(program, tmp_path):
    """Whichever right edge is missing, unless more than one other goes with it, as then three have to come back."""
    case = CompiledCase("test", program, KNOBS["plain"]).prepare(tmp_path, "cpu", None)
    rows = range(0, len(case.task.rows), 3)
    behaviour = Behaviour(case.model, case.task, rows, METRICS["kl"], split_embeddings=True)
    graph, truth = behaviour.graph, behaviour.graph.mask(case.truths["resample"].edges)
    alone = naive(behaviour, RAW, toggled(truth, np.flatnonzero(truth)[:, None]))
    threshold, repaired = float(alone.min()) / 3, 0
    for edge in np.flatnonzero(truth):
        wrong = truth & (np.arange(len(truth)) != edge)
        if graph.prune(wrong).sum() < truth.sum() - 2:
            continue
        between = np.flatnonzero(missing.Ends(EdgeCircuits(behaviour), graph.prune(wrong)).between & ~truth)
        wrong[between[edge % len(between)]] = True
        found = polish.polish(behaviour, RAW, decided(wrong, threshold), 0, silent)
        assert graph.ids(found.kept) == graph.ids(truth)
        assert found.polish.added in (1, 2) and found.polish.removed == 1
        repaired += 1
    assert repaired


@pytest.mark.parametrize(("task", "metric", "kind", "kl_share", "threshold"), CASES)
def test_no_single_removal_and_no_addition_improves_the_result(trio, task, metric, kind, kl_share, threshold):
    behaviour = bound(trio, task, metric)
    options = OrderOptions(threshold=threshold, objective=kind, kl_share=kl_share)
    before = search(behaviour, options, silent)
    found = search(behaviour, options.model_copy(update={"polish": True}), silent)
    weight = 0.0
    if kl_share:
        full, empty = behaviour.ends()
        nats = behaviour.measure(np.ones((1, len(found.kept)), dtype=bool), [METRICS["kl"]]).mean()
        weight = kl_share * abs(full - empty) / nats
    wanted = Wanted(kind, weight, 1 - kl_share)
    (now,) = naive(behaviour, wanted, found.kept[None])
    inside, outside = np.flatnonzero(found.kept), np.flatnonzero(~found.kept)
    rises = naive(behaviour, wanted, toggled(found.kept, inside[:, None])) - now
    falls = now - naive(behaviour, wanted, toggled(found.kept, outside[:, None]))
    assert rises.min() >= threshold and falls.max() < threshold
    assert found.objective == pytest.approx(now, abs=1e-9)
    sign = Objective(behaviour.metric, wanted).sign
    assert found.values[inside] == pytest.approx(sign * rises, abs=1e-9)
    assert not found.values[outside].any()
    record = found.polish
    assert record.rounds < polish.ROUNDS
    assert record.needed == len(inside) and record.helping == 0
    assert record.best + record.drawn == record.possible  # so few edges that all are tested
    assert record.steps and record.added + record.removed > 0
    start = naive(behaviour, wanted, behaviour.graph.prune(before.kept)[None])[0]
    assert start + sum(step.change for step in record.steps) == pytest.approx(now, abs=1e-9)


def test_no_path_through_an_absent_component_improves_the_result(trio):
    behaviour = bound(trio, "greater_than", "kl")
    found = search(behaviour, OrderOptions(threshold=0.1, polish=True), silent)
    graph = behaviour.graph
    writers, readers = graph.ends
    (now,) = naive(behaviour, RAW, found.kept[None])
    paths = []
    for absent in np.flatnonzero(~np.isin(np.arange(len(graph.writers)), writers[found.kept])):
        into = [edge for edge in np.flatnonzero(graph.owned[readers, absent]) if not found.kept[edge]]
        paths += itertools.product(into, np.flatnonzero(writers == absent))
    drawn = np.random.default_rng(0).choice(paths, 500, replace=False)
    assert (now - naive(behaviour, RAW, toggled(found.kept, drawn))).max() < 2 * 0.1


@pytest.mark.parametrize("ablation", ["zero", "mean"])
def test_it_ends_under_other_ablations_too(trio, ablation):
    behaviour = bound(trio, "induction", "logit_diff", ablation)
    found = search(behaviour, OrderOptions(threshold=0.2, polish=True), silent)
    (now,) = naive(behaviour, RAW, found.kept[None])
    assert found.objective == pytest.approx(now, abs=1e-9)
    assert 1 < found.polish.rounds <= polish.ROUNDS


@pytest.mark.thorough
def test_the_last_of_all_rounds_changes_nothing_and_says_what_is_left(trio, monkeypatch):
    behaviour = bound(trio, "ioi", "logit_diff")
    options = OrderOptions(threshold=0.1, objective=ObjectiveKind.match)
    kept = behaviour.graph.prune(search(behaviour, options, silent).kept)
    monkeypatch.setattr(polish, "ROUNDS", 1)
    found = search(behaviour, options.model_copy(update={"polish": True}), silent)
    assert (found.kept == kept).all() and found.polish.steps == ()
    wanted = Wanted(ObjectiveKind.match)
    rises = naive(behaviour, wanted, toggled(kept, np.flatnonzero(kept)[:, None])) - found.objective
    assert found.polish.needed == (rises >= 0.1).sum() < kept.sum()
    assert found.polish.helping > 0


def test_others_are_drawn_by_the_seed(trio, monkeypatch):
    monkeypatch.setattr(missing, "BEST", 10)
    monkeypatch.setattr(missing, "SAMPLE", 10)
    behaviour = bound(trio, "ioi", "logit_diff")
    kept = behaviour.graph.prune(search(behaviour, OrderOptions(threshold=0.3), silent).kept)
    measured = polish.MeasuredObjective(behaviour, RAW)
    one, same, other = (
        missing.find_candidates(EdgeCircuits(behaviour), measured, kept, np.random.default_rng(seed))
        for seed in (0, 0, 1)
    )
    assert (one.drawn == same.drawn).all() and (one.best == other.best).all()
    assert set(one.drawn) != set(other.drawn) and not set(one.drawn) & set(one.best)
    assert len(one.best) == len(one.drawn) == 10 < one.possible


def test_the_best_by_estimate_are_those_that_help_most(trio):
    behaviour = bound(trio, "ioi", "logit_diff")
    kept = behaviour.graph.prune(search(behaviour, OrderOptions(threshold=0.3), silent).kept)
    measured = polish.MeasuredObjective(behaviour, RAW)
    found = missing.find_candidates(EdgeCircuits(behaviour), measured, kept, np.random.default_rng(0))
    edges = np.concatenate([found.best, found.drawn])
    changes = naive(behaviour, RAW, toggled(kept, edges[:, None])) - naive(behaviour, RAW, kept[None])
    assert len(edges) == found.possible
    assert set(np.argsort(changes)[:3]) <= set(range(20))


def test_several_thresholds_are_polished_each_by_itself(trio):
    behaviour = bound(trio, "induction", "logit_diff")
    options = OrderOptions(polish=True)
    thresholds = [0.5, 0.05]
    together = decide(behaviour, thresholds, options, silent)
    for threshold, found in zip(thresholds, together, strict=True):
        (alone,) = decide(behaviour, [threshold], options, silent)
        assert (found.kept == alone.kept).all() and found.polish == alone.polish


@pytest.mark.parametrize(
    ("graph", "metric", "options", "said"),
    [
        ({}, "logit_diff", {"level": Level.nodes}, "--level edges"),
        ({"direct_edges": True}, "logit_diff", {}, "--direct-edges"),
        ({}, "accuracy", {}, "step function"),
    ],
)
def test_what_cannot_be_polished_is_refused(trio, graph, metric, options, said):
    with pytest.raises(InputError, match=said):
        search(bound(trio, "ioi", metric, **graph), OrderOptions(threshold=0.1, polish=True, **options), silent)


def test_backup_components_are_not_polished_away(trio):
    with pytest.raises(InputError, match="acdc-complete"):
        acdc_complete(bound(trio, "ioi", "logit_diff"), OrderOptions(threshold=0.1, polish=True), silent)


def test_a_run_says_what_its_polish_found(acdc, tmp_path):
    words = ("discover", "--task", "induction", "--threshold", 0.5, "--limit", 8, "--verify", "quick", "--polish")
    done = acdc(*words, "--out", "run")
    assert done.code == 0, done.err
    circuit, record = Circuit.load(tmp_path / "run"), json.loads((tmp_path / "run/polish.json").read_text())
    selection = circuit.method.selection
    assert circuit.method.options["polish"] is True
    assert selection["polish_needed"] == len(circuit.edges) == circuit.edges_effective
    assert selection["polish_helping"] == 0
    assert {f"polish_{name}": value for name, value in record.items() if name != "steps"}.items() <= selection.items()
    last = [step for step in record["steps"] if step["added"]]
    assert len({edge for step in last for edge in step["edges"]}) >= selection["polish_added"]
    sentence = polished(circuit)
    assert f"each of the {len(circuit.edges)} edges is needed" in sentence and "none of" in sentence
    for printed in (done.out, acdc("show", "run").out):
        assert sentence in printed
    assert sentence in to_html(circuit, load_report(tmp_path / "run"), "acdc")
    again = acdc(*words, "--out", "again")
    assert again.code == 0
    for name in ("circuit.json", "polish.json"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_a_plan_of_it_is_refused(acdc):
    done = acdc("plan", "--task", "induction", "--polish")
    assert done.code == 2 and "leave it out to plan" in done.err
