"""A preview of ACDC: its estimates against gradients of soft masks, its decisions against ACDC's own."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import thorough_but
from families import HUGGING_FACE, NATIVE, boot, random_rows

from acdc.behaviour.behaviour import Behaviour
from acdc.model.load import Model
from acdc.options import Level
from acdc.planning import preview
from acdc.planning.forecast import can_forecast, forecast
from acdc.planning.preview import Preview, nearest
from acdc.planning.speed import Load, Speed
from acdc.progress import nobody, silent
from acdc.search.acdc import screening
from acdc.search.acdc.first_order import first_order
from acdc.search.acdc.increments import Increments
from acdc.search.acdc.pace import Pace, widths
from acdc.search.acdc.passes import Expected, Pass
from acdc.search.acdc.pruning import Pruning
from acdc.search.acdc.receiver_steps import receiver_steps
from acdc.search.acdc.search import acdc
from acdc.search.acdc.tester import PassCost
from acdc.search.methods.masks import MaskedEdges
from acdc.search.options import OrderOptions
from acdc.search.registry import METHODS
from acdc.search.settings import DiscoverySettings
from acdc.task.metrics import METRICS
from acdc.task.rows import Task

ROWS = 6


def behaviour_of(model: Model, task: Task, ablation: str = "resample", metric: str = "kl", **more) -> Behaviour:
    return Behaviour(model, task, range(ROWS), METRICS[metric], ablation, batch_size=4, **more)


def gradient_of_masks(behaviour: Behaviour, removed: np.ndarray) -> np.ndarray:
    """By how much the objective rises per edge that goes: its slope in a soft mask of each edge, [edges]."""
    slopes = np.zeros(behaviour.graph.n_edges)
    for batch, prompts in zip(behaviour.batches, behaviour.prompts, strict=True):
        masks = torch.tensor(~removed[None], dtype=prompts.embedded.dtype, requires_grad=True)
        slots = MaskedEdges(behaviour.graph, masks, prompts.ablated)
        logits = behaviour.executor.run_embedded(batch.clean.blocks[0], batch.positions, slots).logits
        behaviour.metric.per_row(logits, batch.answers).sum().backward()
        slopes -= masks.grad[0].numpy()
    return behaviour.metric.sign * slopes / len(behaviour.rows)


@pytest.mark.parametrize("family", thorough_but(["gpt2", "llama"], [*HUGGING_FACE, *NATIVE]))
def test_first_order_effects_are_slopes_of_soft_masks(family):
    """At every live receiver, in the circuit that earlier receivers have left."""
    model = boot(family, 2, seed=0)
    behaviour = behaviour_of(model, random_rows([7, 7, 9, 9, 7, 8]), "zero")
    if behaviour.executor.scaled_bias:
        pytest.skip("not previewed: each test is a run of the whole model")
    tester, random, compared = Increments(behaviour), np.random.default_rng(0), 0
    for step in receiver_steps(behaviour.graph):
        if step.users and not any(tester.is_read(writer) for writer, _ in step.users):
            tester.open(step.candidates[:0], step.candidates)
            continue
        tester.settle()
        writers, readers = behaviour.graph.ends
        slot, edges = int(readers[step.candidates[0]]), step.candidates
        found = first_order(behaviour, tester.states, slot, writers[edges].tolist())
        expected = gradient_of_masks(behaviour, tester.removed)[edges]
        effects = tester.measured.change(found.now, found.effects)
        assert effects == pytest.approx(expected, rel=1e-6, abs=1e-12)
        assert found.flops > 0
        compared += int((np.abs(expected) > 1e-9).sum())
        tester.open(edges, edges[:0])
        for edge in edges:
            if random.random() < 0.5:
                tester.keep(int(edge))
            else:
                tester.measure(Pass(np.array([edge]), (1,)))
                tester.remove(np.array([edge]))
    assert compared > 20, "a comparison of nothing"


def previewed(behaviour: Behaviour, threshold: float, budget: float) -> Preview:
    everything = np.ones(behaviour.graph.n_edges, dtype=bool)
    found = Preview(behaviour, threshold, list(receiver_steps(behaviour.graph)), everything, budget)
    found.finish(nobody)
    return found


def searched(behaviour: Behaviour, threshold: float) -> Pruning:
    everything = np.ones(behaviour.graph.n_edges, dtype=bool)
    found = Pruning(behaviour, Increments(behaviour), [threshold], list(receiver_steps(behaviour.graph)), everything)
    found.finish(nobody)
    return found


@pytest.mark.parametrize("more", [{}, {"direct_edges": True}, {"split_embeddings": True}])
def test_with_room_for_every_test_it_is_acdc(trio, induction, more):
    """The same edges are kept and, pass by pass, as many tests are made together."""
    wanted = searched(behaviour_of(trio, induction, **more), 0.05)
    found = previewed(behaviour_of(trio, induction, **more), 0.05, budget=1e18)
    assert (found.tester.edges() == wanted.tester.edges()).all() and 10 < found.tester.edges().sum() < 200
    assert sum(len(receiver.kept) for receiver in found.receivers) == len(wanted.tests)
    assert all(receiver.tested == len(receiver.kept) for receiver in found.receivers)
    assert found.tried == wanted.tried == sum(_tried(found))
    assert found.unreached == 0 and found.reached == found.behaviour.graph.n_edges


def _tried(found: Preview) -> list[int]:
    """How many candidates the passes at each receiver are expected to have."""
    pace, counts = Pace(), []
    for receiver in found.receivers:
        tester = list(widths(receiver.kept, receiver.expected, receiver.cost.of_pass(found.behaviour.model), pace))
        pace = tester[-1][1]
        counts.append(sum(width for width, _ in tester))
    return counts


def test_a_budget_bounds_it(trio, induction, monkeypatch):
    """Fewer tests, then receivers that it does not reach; what is kept stays close. (By KL divergence less so, as the
    full model is at its minimum, where all gradients are 0.)"""
    wanted = searched(behaviour_of(trio, induction, metric="logit_diff"), 0.3)
    whole = previewed(behaviour_of(trio, induction, metric="logit_diff"), 0.3, budget=1e18)
    monkeypatch.setattr(preview, "RECEIVER_SHARE", 1e-4)
    some = previewed(behaviour_of(trio, induction, metric="logit_diff"), 0.3, budget=20 * whole.spent)
    tested = sum(receiver.tested for receiver in some.receivers)
    assert 0 < tested < len(wanted.tests) and some.unreached == 0
    both = (some.tester.edges() & wanted.tester.edges()).sum() / (some.tester.edges() | wanted.tester.edges()).sum()
    assert both > 0.5
    few = previewed(behaviour_of(trio, induction, metric="logit_diff"), 0.3, budget=some.spent / 8)
    assert few.unreached > 0 and few.reached + few.unreached == few.behaviour.graph.n_edges
    assert few.spent < some.spent / 4


def test_nearest_are_those_closest_by_ratio():
    effects = np.array([0.5, 0.09, 0.2, -1.0, 0.0, 0.001])
    assert nearest(effects, 0.1, 2).tolist() == [False, True, True, False, False, False]
    assert nearest(effects, 0.1, 4).tolist() == [True, True, True, False, False, True]


def test_widths_are_those_of_pruning():
    """A pass ends at the first edge that is kept; none is kept, and passes become wider."""
    cost = PassCost(8, 16.0)
    kept, nothing = np.arange(12) == 7, Expected.nothing(12)
    found = list(widths(kept, nothing, cost, Pace(share=0.5)))
    assert [width for width, _ in found] == [8, 4] and found[0][1].share > found[1][1].share
    none = np.zeros(20, dtype=bool)
    assert [width for width, _ in widths(none, Expected.nothing(20), cost, Pace(share=1e-9))] == [8, 8, 4]
    screened = Expected(np.arange(12) != 7, kept, np.isin(np.arange(12), [2, 9]))
    assert [width for width, _ in widths(kept, screened, cost, Pace(share=0.5))] == [5]


def test_speed_is_learnt_from_trials():
    """Three parts of known speed are found; where other work made some passes slow, the total time stays right."""
    random = np.random.default_rng(0)
    loads = [Load(*random.uniform(1, 9, 3).tolist()) for _ in range(40)]
    each = (0.5, 0.25, 2.0)
    seconds = [sum(part * unit for part, unit in zip(load.parts, each, strict=True)) for load in loads]
    assert Speed.learnt(loads, seconds).each == pytest.approx(each)
    slow = [took * (3 if place % 5 == 0 else 1) for place, took in enumerate(seconds)]
    learnt = Speed.learnt(loads, slow)
    assert min(learnt.each) >= 0
    assert sum(map(learnt.seconds, loads)) == pytest.approx(sum(slow))
    alike = [Load(2.0, 2.0, 2.0)] * 3
    assert Speed.learnt(alike, [1.0] * 3).seconds(alike[0]) == pytest.approx(1)


@pytest.mark.parametrize("threshold", [0.02, 0.2])
def test_a_forecast_comes_close(trio, induction, threshold):
    """On a quarter of the rows, in other batches."""
    settings = DiscoverySettings(method=METHODS["acdc"], metric="kl", threshold=threshold, batch_size=16)
    discovery = list(range(64))
    found = forecast(trio, induction, settings, discovery, plain=1e6)
    behaviour = Behaviour(trio, induction, discovery, METRICS["kl"], "resample", batch_size=16)
    before = behaviour.work.flops
    wanted = acdc(behaviour, OrderOptions(threshold=threshold), silent)
    flops = behaviour.work.flops - before
    assert found.rows == 16 and found.unreached == 0 and found.tested == found.receivers
    assert found.tests == pytest.approx(len(wanted.tests), rel=0.25)
    assert found.kept == pytest.approx(wanted.kept.sum(), rel=0.3)
    assert found.flops.least < flops < found.flops.most < 10 * found.flops.least
    assert 0 < found.seconds.least < found.seconds.likely < found.seconds.most


@pytest.mark.parametrize("metric", ["kl", "logit_diff"])
def test_a_forecast_of_a_screened_search(trio, induction, metric, monkeypatch):
    """Far fewer tests than one of every edge, about as many as it makes; the gradients count too."""
    monkeypatch.setattr(screening, "SAMPLE", 20)
    threshold = {"kl": 0.02, "logit_diff": 0.2}[metric]
    settings = DiscoverySettings(METHODS["acdc"], metric, threshold=threshold, batch_size=16, options={"screen": 0.3})
    found = forecast(trio, induction, settings, list(range(64)), plain=1e6)
    behaviour = Behaviour(trio, induction, list(range(64)), METRICS[metric], batch_size=16)
    before = behaviour.work.flops
    wanted = acdc(behaviour, settings.search_options, silent)
    flops = behaviour.work.flops - before
    every = forecast(trio, induction, replace(settings, options={"screen": 0}), list(range(64)), plain=1e6)
    assert found.tests < 0.7 * every.tests and found.kept == every.kept
    assert found.tests == pytest.approx(len(wanted.tests), rel=0.35)
    assert found.flops.least < flops < found.flops.most


def test_rounds_of_the_complete_search(trio, induction):
    """As many times the work, and the removals in each."""
    plain = DiscoverySettings(method=METHODS["acdc"], threshold=0.05, limit=8)
    complete = DiscoverySettings(method=METHODS["acdc-complete"], threshold=0.05, limit=8)
    one, rounds = (forecast(trio, induction, of, list(range(8)), plain=1e6) for of in (plain, complete))
    assert rounds.flops.least == pytest.approx(one.flops.least + 2 * one.kept * 8e6)
    assert rounds.flops.most == pytest.approx(3 * (one.flops.most + 2 * one.kept * 8e6))


def test_what_is_forecast(trio):
    assert can_forecast(trio, DiscoverySettings(method=METHODS["acdc"])) and can_forecast(
        trio, DiscoverySettings(method=METHODS["hybrid"])
    )
    assert not can_forecast(trio, DiscoverySettings(method=METHODS["acdc"], level=Level.nodes))
    assert not can_forecast(trio, DiscoverySettings(method=METHODS["exact"]))
