"""Circuits of edges at single positions: scores against exact patching, what they sum up to, choosing and verifying."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import slow_but
from families import EACH, HUGGING_FACE, NATIVE, boot
from noise import noise

from acdc.behaviour.behaviour import Behaviour
from acdc.execution.ablated import Ablated
from acdc.graph.masks import PositionalMask
from acdc.options import Level
from acdc.progress import silent
from acdc.search.registry import METHODS
from acdc.task.metrics import METRICS

AT = Level.positions
ESTIMATES = ["eap", "eap-ig-inputs", "eap-ig-activations", "clean-corrupted", "relp"]


def bound(family, rows=3, metric="logit_diff", seed=1, ablation="resample"):
    return Behaviour(
        boot(family, layers=2, seed=seed), noise(rows, lengths=(6,)), range(rows), METRICS[metric], ablation
    )


def of_one_length(task):
    """Those rows of a task that are as long as its first."""
    return replace(task, rows=tuple(row for row in task.rows if len(row.clean) == len(task.rows[0].clean)))


def score(behaviour, method, level=AT, **options):
    made = METHODS[method].options.of(options, level=level)
    return METHODS[method].run(behaviour, made, silent).values


def agree(found, expected, tolerance=1e-10):
    assert np.abs(expected).max() > 0
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


@pytest.mark.parametrize("family", slow_but(["gpt2", "qwen3", "gemma2"], EACH))
@pytest.mark.parametrize("method", ESTIMATES)
def test_estimates_sum_up_to_those_of_edges(family, method):
    """A linear estimate of an edge is the sum of those at all positions."""
    behaviour = bound(family)
    if method == "relp" and family == "mixtral":
        pytest.skip("relp is not for models with experts")
    found = score(behaviour, method)
    agree(behaviour.units(AT).positional.summed(found), score(behaviour, method, Level.edges))


@torch.no_grad()
@pytest.mark.parametrize("ablation", ["resample", "mean"])
@pytest.mark.parametrize("family", slow_but(["gpt2", "qwen3", "native-bidirectional"], [*HUGGING_FACE, *NATIVE]))
def test_eap_is_the_slope_of_exact_patching(family, ablation):
    """A small step from the clean to the ablated values changes the metric by as much of the estimate."""
    behaviour = bound(family, ablation=ablation)
    found, graph, step = score(behaviour, "eap"), behaviour.units(AT).positional, 1e-5
    draw, places = np.random.default_rng(0), []
    for group in graph.groups:
        places += draw.choice(np.arange(group.start, group.stop), 4).tolist()
    mask = behaviour.units(AT).alone(np.array(places))
    (batch,), (prompts,) = behaviour.batches, behaviour.prompts
    clean, other = batch.clean.values, prompts.ablated.values
    ends = []
    for size in (step, -step):
        near = replace(prompts, ablated=Ablated(clean + size * (other - clean)), stream=None)
        logits = behaviour.logits(batch, near, mask, None).unflatten(0, (len(places), -1))
        ends.append(np.array([behaviour.metric.per_row(one, batch.answers).mean().item() for one in logits]))
    agree((ends[0] - ends[1]) / (2 * step), found[places], 1e-6)


def test_exact_effects_are_single_runs(trio, induction):
    """Chunks, candidates that share a run, and rows in batches change nothing."""
    behaviour = Behaviour(trio, of_one_length(induction), range(4), METRICS["logit_diff"])
    units, full = behaviour.units(AT), behaviour.full().mean()
    places = np.random.default_rng(0).choice(units.count, 30, replace=False)
    together = behaviour.measure(units.alone(places))[0].mean(axis=1) - full
    for place, effect in zip(places, together, strict=True):
        assert behaviour.measure(units.alone(np.array([place])))[0].mean() - full == pytest.approx(effect, abs=1e-10)
    assert np.abs(together).max() > 1e-3


def test_the_empty_circuit_is_that_of_edges(trio, induction):
    behaviour = Behaviour(trio, of_one_length(induction), range(4), METRICS["logit_diff"], "zero")
    graph = behaviour.units(AT).positional
    nothing = behaviour.measure(PositionalMask(np.ones((1, graph.n_edges), dtype=bool), graph))[0, 0]
    assert nothing == pytest.approx(behaviour.empty(), abs=1e-10)


def one_at_a_time(behaviour, threshold):
    """Naive ACDC over positions from the published description: edges sorted by slot and span, one run per test."""
    units, graph = behaviour.units(AT), behaviour.graph
    writers = {writer.id: place for place, writer in enumerate(graph.writers)}
    readers = {reader.id: reader for reader in graph.readers}
    slots = {"mlp": 0, "v": 1, "k": 2, "q": 3}

    def parts(name):
        left, right = name.split("->")
        return *left.split("@"), *right.split("@")

    def order(name):
        writer, source, slot, at = parts(name)
        reader = readers[slot]
        first = (0, 0, 0) if slot == "logits" else (1, -reader.layer, slots[reader.kind.value])
        return *first, -reader.head, -int(at), -int(source), -writers[writer]

    def objective(removed):
        values = behaviour.measure(PositionalMask(units.mask(removed)[None], units.positional))
        return behaviour.metric.sign * values[0, 0].mean()

    removed, read, current = set(), set(), objective(set())
    for name in sorted(units.names(), key=order):
        writer, source, slot, at = parts(name)
        owners = {(owner.id, at) for owner in graph.owners(readers[slot])}
        if owners and not owners & read:
            removed.add(name)
            continue
        after = objective(removed | {name})
        if after - current < threshold:
            removed.add(name)
            current = after
        else:
            read.add((writer, source))
    return set(units.names()) - removed


@pytest.mark.parametrize(
    ("family", "metric", "threshold"),
    slow_but([("gpt2", "kl", 0.02)], [("gpt2", "kl", 0.02), ("qwen3", "logit_diff", 0.1), ("gemma2", "kl", 0.02)]),
)
def test_acdc_decides_one_edge_at_a_time(family, metric, threshold):
    task = noise(2, lengths=(4,))
    behaviour = Behaviour(boot(family, layers=1, seed=1), task, range(2), METRICS[metric])
    found = METHODS["acdc"].run(behaviour, METHODS["acdc"].options.of({}, level=AT, threshold=threshold), silent)
    names = behaviour.units(AT).positional.names
    assert {names[place] for place in np.flatnonzero(found.kept)} == one_at_a_time(behaviour, threshold)
    assert 0 < found.kept.sum() < len(names)
