"""ACDC against a loop that tests one edge at a time, and against reference decisions."""

import json

import numpy as np
import pytest

from acdc.behaviour.behaviour import Behaviour
from acdc.graph import Edge
from acdc.progress import silent
from acdc.search.acdc.search import acdc
from acdc.search.options import OrderOptions
from acdc.task.load import load_task
from acdc.task.metrics import METRICS, as_metric

SLOTS = {"mlp": 0, "v": 1, "k": 2, "q": 3}


def one_at_a_time(behaviour: Behaviour, threshold: float):
    """Naive ACDC written from the published description: sorted edges, one run per test."""
    graph, sign = behaviour.graph, behaviour.metric.sign
    writers = {writer.id: i for i, writer in enumerate(graph.writers)}

    def order(edge: Edge):
        reader = edge.reader
        at_end = reader.id == "logits"
        return (
            (0, 0, 0, 0) if at_end else (1, -reader.layer, SLOTS[reader.kind.value], -reader.head),
            -writers[edge.writer.id],
        )

    removed, tests = set(), []

    def objective(without: set[str]) -> float:
        mask = graph.mask(without)[None]
        return sign * behaviour.measure(mask)[0, 0].mean()

    current = objective(removed)
    for edge in sorted(graph.edges, key=order):
        owners = {owner.id for owner in graph.owners(edge.reader)}
        read = {kept.writer.id for kept in graph.edges if kept.id not in removed and kept.id in dict(tests)}
        if owners and not owners & read:
            removed.add(edge.id)
            continue
        after = objective(removed | {edge.id})
        kept = after - current >= threshold
        if kept:
            tests.append((edge.id, True))
        else:
            removed.add(edge.id)
            current = after
    return set(graph.index) - removed


@pytest.mark.parametrize(
    ("metric", "ablation", "threshold"),
    [("kl", "resample", 1.0), ("logit_diff", "resample", 0.5), ("logit_diff", "zero", 2.0), ("nll", "mean", 0.5)],
)
def test_decisions_equal_one_test_at_a_time(trio, induction, metric, ablation, threshold):
    behaviour = Behaviour(trio, induction, range(6), METRICS[metric], ablation)
    found = acdc(behaviour, OrderOptions(threshold=threshold), silent)
    assert set(behaviour.graph.ids(found.kept)) == one_at_a_time(behaviour, threshold)
    assert 0 < found.kept.sum() < behaviour.graph.n_edges


def test_decisions_chain_up(trio, induction):
    """Each test starts from the objective that the last removal left, and is judged strictly."""
    behaviour = Behaviour(trio, induction, range(6), METRICS["logit_diff"])
    found = acdc(behaviour, OrderOptions(threshold=0.5), silent)
    current = -behaviour.full().mean()
    for test in found.tests:
        assert test.before == pytest.approx(current, abs=1e-9)
        assert test.kept == (not test.after - test.before < 0.5)
        current = test.before if test.kept else test.after
        if test.kept:  # the score is in the metric's own sign: negative for an edge that helps
            assert found.values[behaviour.graph.index[test.candidate]] == pytest.approx(test.before - test.after)
    final = behaviour.measure(~found.kept[None])[0, 0].mean()
    assert final == pytest.approx(-current, abs=1e-9)
    assert len({test.candidate for test in found.tests}) == len(found.tests)


def test_default_threshold_is_a_share_of_the_range(trio, induction):
    behaviour = Behaviour(trio, induction, range(6), METRICS["logit_diff"])
    found = acdc(behaviour, OrderOptions(), silent)
    assert found.threshold == pytest.approx(0.005 * abs(behaviour.full().mean() - behaviour.empty().mean()))


def runs(name: str, shared):
    return json.loads((shared / f"cases/acdc_{name}.json").read_text())["runs"]


def check_reference_run(stories, shared, name: str, number: int):
    run = runs(name, shared)[number]
    task = load_task(shared / f"tasks/{name}.jsonl", stories)
    behaviour = Behaviour(stories, task, range(16), as_metric(run["metric"].removeprefix("neg_")))
    found = acdc(behaviour, OrderOptions(threshold=run["tau"]), silent)
    assert behaviour.graph.ids(found.kept) == sorted(run["kept"], key=behaviour.graph.index.get)
    final = behaviour.metric.sign * behaviour.measure(~found.kept[None])[0, 0].mean()
    assert final == pytest.approx(run["final_metric"], abs=1e-5)


def test_reference_decisions(stories, shared):
    check_reference_run(stories, shared, "stories_pronoun_gender", 0)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["stories_pronoun_gender", "stories_plural_they"])
@pytest.mark.parametrize("number", range(4))
def test_all_reference_decisions(stories, shared, name, number):
    check_reference_run(stories, shared, name, number)


def test_progress_counts_every_edge(trio, induction):
    from contextlib import contextmanager

    done = []

    @contextmanager
    def watch(what, total, unit):
        done.append(-total)
        yield lambda count, note="": done.append(count)

    acdc(Behaviour(trio, induction, range(2), METRICS["kl"]), OrderOptions(threshold=1.0), watch)
    assert np.isclose(sum(done), 0)
