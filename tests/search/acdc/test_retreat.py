"""Where memory runs out, passes are made narrower: the same decisions, and the artefacts say so."""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from acdc.behaviour.behaviour import Behaviour
from acdc.behaviour.variants import Variants, measure_variants
from acdc.behaviour.variants_at_spans import measure_variants_at_spans
from acdc.errors import AcdcWarning, is_out_of_memory
from acdc.execution import retreat
from acdc.execution.executor import Executor
from acdc.execution.removals import CircuitRun
from acdc.execution.retreat import Retreat
from acdc.execution.subgraph import SubgraphRun
from acdc.execution.work import Work
from acdc.options import Level
from acdc.progress import silent
from acdc.search.acdc.increments import Increments
from acdc.search.acdc.journal import Journal
from acdc.search.acdc.positional_increments import PositionalIncrements
from acdc.search.acdc.propagation import Propagation
from acdc.search.acdc.search import acdc as find
from acdc.search.discover import discover
from acdc.search.methods import gradients
from acdc.search.options import OrderOptions
from acdc.search.registry import METHODS
from acdc.search.settings import DiscoverySettings
from acdc.task.metrics import METRICS

ERRORS = [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), RuntimeError("can't allocate memory: 9 bytes")]


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize(("most", "tried"), [(9, [9]), (5, [9, 4, 4, 1]), (1, [9, 4, 2] + [1] * 9)])
def test_passes_are_halved(error, most, tried):
    work, widths = Work(), []

    def make(part):
        widths.append(part.stop - part.start)
        if widths[-1] > most:
            raise error
        return list(range(part.start, part.stop))

    found = Retreat(work, lambda: None)
    assert sum((made for _, made in found.passes("a", 9, make)), []) == list(range(9))
    assert widths == tried and work.pass_splits == len([width for width in tried if width > most])
    widths.clear()
    assert len(list(found.passes("a", 3, make))) == (1 if most > 1 else 3), "what was too wide is not tried again"
    assert found.most("b", 9) == 9


def test_one_candidate_is_tried_again_without_what_is_held(trio, induction):
    released, tries = [], []

    def make(part):
        tries.append(part)
        if len(tries) < 2 or len(tries) > 3:
            raise MemoryError
        return "made"

    found = Retreat(Work(), lambda: released.append(True))
    assert [made for _, made in found.passes("a", 1, make)] == ["made"] and released == [True]
    list(found.passes("a", 1, make))
    with pytest.raises(MemoryError):
        list(found.passes("a", 1, make))
    assert released == [True]


def test_other_errors_are_raised():
    def make(part):
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        list(Retreat(Work(), lambda: None).passes("a", 4, make))
    assert not is_out_of_memory(RuntimeError("shapes cannot be multiplied"))


def short_of_memory(monkeypatch, most, width_of, kind, name):
    """Let a method run out of memory for more than so many candidates; the widths that it was asked for."""
    real, widths = getattr(kind, name), []

    def cramped(self, *arguments, **named):
        widths.append(width_of(*arguments, **named))
        if widths[-1] > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return real(self, *arguments, **named)

    monkeypatch.setattr(kind, name, cramped)
    return widths


def behaviour_of(trio, induction):
    return Behaviour(trio, induction, range(8), METRICS["kl"])


@pytest.mark.parametrize("most", [1, 3])
@pytest.mark.parametrize(
    ("kind", "level"),
    [(Increments, Level.edges), pytest.param(PositionalIncrements, Level.positions, marks=pytest.mark.slow)],
)
def test_acdc_decides_the_same(trio, induction, monkeypatch, most, kind, level):
    options = OrderOptions(threshold=0.05, level=level)
    whole = find(behaviour_of(trio, induction), options, silent)
    behaviour = behaviour_of(trio, induction)
    widths = short_of_memory(monkeypatch, most, lambda wanted, before=None: len(wanted.columns), kind, "measure")
    found = find(behaviour, options, silent)
    assert behaviour.work.pass_splits >= 1 and max(widths) > most
    assert widths.count(max(widths)) == 1, "what was too wide once is not tried again"
    assert np.array_equal(found.kept, whole.kept)
    assert [(test.candidate, test.kept) for test in found.tests] == [(t.candidate, t.kept) for t in whole.tests]
    assert [test.after for test in found.tests] == pytest.approx([test.after for test in whole.tests], abs=1e-12)


@pytest.mark.parametrize("most", [1, 2, 5])
@pytest.mark.parametrize("dense", [False, True])
def test_measures_are_the_same(trio, induction, monkeypatch, most, dense):
    """By runs of the components that subgraphs consist of, and where these are all, by runs from what is removed on."""
    removed = np.random.default_rng(0).random((12, 479)) < (0.02 if dense else 0.97)
    whole = behaviour_of(trio, induction).measure(removed)
    behaviour = behaviour_of(trio, induction)
    kind, name = (Executor, "resume_without") if dense else (SubgraphRun, "logits")
    real, widths = getattr(kind, name), []

    def cramped(self, *arguments):
        widths.append(len(arguments[1] if dense else self.kept))
        if widths[-1] > most:
            raise MemoryError
        return real(self, *arguments)

    monkeypatch.setattr(kind, name, cramped)
    assert behaviour.measure(removed) == pytest.approx(whole, abs=1e-12)
    assert behaviour.work.pass_splits >= 1 and max(widths) > most


@pytest.mark.parametrize("most", [1, 3])
def test_variants_are_the_same(trio, induction, monkeypatch, most):
    kept = np.random.default_rng(0).random(479) < 0.3
    changed = Variants(kept, [np.array([place]) for place in np.flatnonzero(kept)[:40]])
    whole = np.concatenate(list(measure_variants(behaviour_of(trio, induction), changed)), axis=1)
    behaviour = behaviour_of(trio, induction)
    short_of_memory(monkeypatch, most, lambda masks, reached: len(masks), CircuitRun, "variants")
    found = np.concatenate(list(measure_variants(behaviour, changed)), axis=1)
    assert found == pytest.approx(whole, abs=1e-12) and behaviour.work.pass_splits >= 1


def test_variants_at_spans_are_the_same(trio, induction, monkeypatch):
    behaviour = behaviour_of(trio, induction)
    graph = behaviour.units(Level.positions).positional
    kept = np.random.default_rng(0).random(graph.n_edges) < 0.3
    changed = Variants(kept, [np.array([place]) for place in np.flatnonzero(kept)[:12]])
    whole = measure_variants_at_spans(behaviour, graph, changed, [behaviour.metric])
    short_of_memory(monkeypatch, 2, lambda trace, layer, count, *rest: count, Executor, "resume")
    behaviour = behaviour_of(trio, induction)
    found = measure_variants_at_spans(behaviour, graph, changed, [behaviour.metric])
    assert found == pytest.approx(whole, abs=1e-12) and behaviour.work.pass_splits >= 1


def test_the_run_says_so(acdc, monkeypatch):
    words = ("discover", "--task", "induction", "--limit", 8, "--threshold", 0.5, "--verify", "quick")
    acdc(*words, "--out", "whole")
    short_of_memory(monkeypatch, 2, lambda wanted, before=None: len(wanted.columns), Increments, "measure")
    acdc(*words, "--out", "run")
    whole, found = (json.loads(Path(out, "circuit.json").read_text()) for out in ("whole", "run"))
    splits = found["method"]["selection"].pop("pass_splits")
    assert splits >= 1 and [e["id"] for e in found["edges"]] == [e["id"] for e in whole["edges"]]
    assert json.loads(Path("run/run.json").read_text())["pass_splits"] >= splits
    assert json.loads(Path("whole/run.json").read_text())["pass_splits"] == 0


def test_freed_memory_is_given_back_before_the_next_attempt(monkeypatch):
    said = []
    monkeypatch.setattr(retreat, "return_free_memory", lambda: said.append("given back"))

    def make(part):
        said.append(part.stop - part.start)
        if part.stop - part.start > 1:
            raise MemoryError

    list(Retreat(Work(), lambda: None).passes("a", 2, make))
    assert said == [2, "given back", 1, 1]


@pytest.mark.parametrize("options", [{"threshold": 0.02}, {"threshold": 0.02, "options": {"screen": 0.5}}])
def test_batches_are_halved_where_one_candidate_does_not_fit(trio, induction, monkeypatch, tmp_path, options):
    """It then does what a search with batches of that size does."""
    settings = DiscoverySettings(metric="kl", limit=8, **options)
    real = Propagation.run

    def cramped(self, *arguments):
        if self.state.rows > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return real(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Propagation, "run", cramped)
        found, told = [], []
        for _ in range(2):
            with Journal(tmp_path / "passes.jsonl", {}) as journal, warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                found.append(discover(trio, induction, settings, journal=journal))
            told.append([str(warning.message) for warning in caught if warning.category is AcdcWarning])
    assert [message[-22:] for message in told[0]] == ["with at most 4 in each", "with at most 2 in each"]
    assert told[1] == [], "a resumed search begins with batches that fit"
    assert found[1].work.evaluations < found[0].work.evaluations
    assert found[0].circuit == found[1].circuit and found[0].decisions == found[1].decisions
    plain = discover(trio, induction, replace(settings, batch_size=2))
    assert found[0].circuit.method.selection == plain.circuit.method.selection | {"batch_size": 2}
    assert found[0].decisions == plain.decisions and found[0].circuit.edges == plain.circuit.edges


def test_a_row_that_does_not_fit_is_an_error(trio, induction, monkeypatch):
    def cramped(self, *arguments):
        raise MemoryError

    monkeypatch.setattr(Propagation, "run", cramped)
    with pytest.raises(MemoryError), pytest.warns(AcdcWarning, match="at most 1 in each"):
        discover(trio, induction, DiscoverySettings(metric="kl", limit=8, threshold=0.02))


def test_attribution_of_a_row_that_does_not_fit_is_not_tried_again(trio, induction, monkeypatch):
    """It has halved its batches down to that row already."""
    batches = []

    def cramped(batch_scores, level, absolute, behaviour, batch):
        batches.append(len(batch.index))
        raise MemoryError

    monkeypatch.setattr(gradients, "_attribution", cramped)
    with pytest.raises(MemoryError):
        discover(trio, induction, DiscoverySettings(METHODS["eap"], limit=8, edges=9))
    assert batches == [8, 4, 2, 1]


def test_a_circuit_is_verified_in_batches_that_fitted(acdc, tmp_path, monkeypatch):
    real, bind, bound = Propagation.run, Behaviour.__init__, []

    def cramped(self, *arguments):
        if self.state.rows > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return real(self, *arguments)

    def binding(self, *arguments, **named):
        bind(self, *arguments, **named)
        bound.append(max(len(batch.rows) for batch in self.batches))

    monkeypatch.setattr(Propagation, "run", cramped)
    monkeypatch.setattr(Behaviour, "__init__", binding)
    done = acdc("discover", "--task", "induction", "--limit", 8, "--threshold", 2.0, "--out", "run")
    assert done.code == 0 and "starting over with at most 2 in each" in done.err
    record = json.loads(Path("run/circuit.json").read_text())
    assert record["method"]["selection"]["batch_size"] == 2 and record["batch"]["size"] == 32
    assert bound[:3] == [8, 4, 2] and len(bound) > 3 and set(bound[3:]) <= {1, 2}
