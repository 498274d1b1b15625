"""Exact patching and EAP against reference results, published code and finite differences."""

import json

import numpy as np
import pytest
import torch

from acdc.behaviour.behaviour import Behaviour
from acdc.errors import InputError
from acdc.execution.executor import SlotInputs
from acdc.progress import silent
from acdc.search.methods.eap import eap
from acdc.search.methods.exact import exact
from acdc.search.methods.random import random
from acdc.search.options import SearchOptions
from acdc.task.load import load_task
from acdc.task.metrics import METRICS


def scores(method, behaviour) -> np.ndarray:
    return method(behaviour, SearchOptions(), silent).values


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["stories_pronoun_gender", "stories_plural_they"])
def test_exact_equals_an_independent_implementation(stories, shared, name):
    """All 1,701 edges on the reference's 40 rows."""
    reference = json.loads((shared / f"tasks/reference/{name}.json").read_text())
    check_reference(stories, shared, name, reference, every=1)


def test_exact_equals_an_independent_implementation_on_a_sample(stories, shared):
    """Every thirtieth edge."""
    reference = json.loads((shared / "tasks/reference/stories_plural_they.json").read_text())
    check_reference(stories, shared, "stories_plural_they", reference, every=30)


def check_reference(model, shared, name, reference, every):
    task = load_task(shared / f"tasks/{name}.jsonl", model)
    rows = [i for i, row in enumerate(task.rows) if row.id in reference["row_ids"]]
    behaviour = Behaviour(model, task, rows, METRICS["logit_diff"])
    edges = reference["edges"][::every]
    names = [f"{writer}->{slot}" for writer, slot, *_ in edges]
    if every == 1:
        assert set(names) == set(behaviour.graph.index) and len(names) == 1701
        effects = scores(exact, behaviour)[[behaviour.graph.index[name] for name in names]]
    else:
        removed = np.stack([behaviour.graph.mask([name]) for name in names])
        effects = behaviour.measure(removed)[0].mean(axis=1) - behaviour.full().mean()
    span = reference["clean_logit_diff"] - reference["corrupted_logit_diff"]
    worst = np.abs(-effects / span - np.array([noising for _, _, noising, _ in edges])).max()
    assert worst < 1e-4


def test_exact_equals_the_published_library(original, shared):
    """The library's own patching, its metric negated."""
    model, task = original
    behaviour = Behaviour(model, task, range(16), METRICS["logit_diff"])
    record = json.loads((shared / "cases/original/eap_ig_library.json").read_text())["scores"]
    library = record["exact_logitdiff"]
    found, index = scores(exact, behaviour), behaviour.graph.index
    common = [name for name in library if name in index]
    assert len(common) == 81
    assert max(abs(found[index[name]] + library[name]) for name in common) < 1e-6


@pytest.mark.parametrize("metric", ["logit_diff", "nll", "prob_diff"])
@pytest.mark.parametrize("ablation", ["resample", "zero"])
def test_eap_is_the_derivative_of_exact(trio, induction, metric, ablation):
    """Central finite differences along each edge's own change, through the executor's public hook for slot inputs."""
    behaviour = Behaviour(trio, induction, range(4), METRICS[metric], ablation)
    found = scores(eap, behaviour)
    generator = np.random.default_rng(0)
    step = 1e-3  # the metrics round at 1e-16, so that slopes are good to 1e-13
    for edge in generator.choice(behaviour.graph.n_edges, 25, replace=False):
        up, down = (_nudged(behaviour, edge, sign * step) for sign in (1, -1))
        slope = (up - down) / (2 * step)
        assert found[edge] == pytest.approx(slope, rel=1e-4, abs=1e-12)


@torch.no_grad()
def _nudged(behaviour: Behaviour, edge: int, share: float) -> float:
    """Mean metric with a share of one edge's ablation added to its slot alone."""
    target = behaviour.graph.edges[edge]
    writer = behaviour.graph.writer_index[target.writer]
    total = 0.0
    for batch in behaviour.batches:
        change = share * (behaviour.ablated(batch).values[writer] - batch.clean.values[writer])

        class Nudged(SlotInputs):
            def read(self, group, residual, blocks, change=change):
                if target.reader not in group.readers:
                    return residual[None]
                read = residual[None].repeat(len(group.readers), 1, 1, 1)
                read[group.readers.index(target.reader)] += change
                return read

        logits = behaviour.run(batch, Nudged()).logits
        total += behaviour.metric.function(logits, batch.answers).sum().item()
    return total / len(behaviour.rows)


@pytest.mark.parametrize(("metric", "why"), [("kl", "smallest on the full model"), ("accuracy", "step function")])
def test_eap_refuses_a_metric_without_a_gradient(trio, induction, metric, why):
    with pytest.raises(InputError, match=why):
        scores(eap, Behaviour(trio, induction, range(4), METRICS[metric]))


def test_random_scores_follow_the_seed(trio, induction):
    behaviour = Behaviour(trio, induction, range(2), METRICS["kl"])
    first, again, other = (random(behaviour, SearchOptions(seed=s), silent).values for s in (1, 1, 2))
    assert (first == again).all() and (first != other).any()
    assert ((first > 0) & (first <= 1)).all()
