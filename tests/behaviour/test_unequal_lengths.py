"""Clean and corrupted prompts of unequal length against brute force: what stands where, then every edge."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from brute_force import BruteForce, float64_throughout, names_of
from families import ALL, boot, prepare, thorough_if_more

from acdc.behaviour.behaviour import Behaviour
from acdc.model.replay import ReplayComponents
from acdc.search.discover import discover
from acdc.search.registry import METHODS
from acdc.search.settings import DiscoverySettings
from acdc.task.metrics import METRICS
from acdc.task.rows import Row, Task
from acdc.task.spans import Spans

# positions of the corrupted prompt that stand for those of the clean one, written down by hand
ROWS = (
    Row("longer", (1, 2, 3, 4, 5, 6), (1, 7, 8, 9), (3,), (4,), 5, None,
        Spans.of({"a": (1, 4), "end": (5, 6)}), Spans.of({"a": (1, 2), "end": (3, 4)})),
    Row("shorter", (1, 2, 3, 4), (1, 7, 8, 9, 5, 6), (5,), (6,), 3, None,
        Spans.of({"a": (1, 2), "end": (3, 4)}), Spans.of({"a": (1, 4), "end": (5, 6)})),
    Row("equal", (9, 8, 7, 6, 5), (9, 1, 2, 6, 5), (7,), (8,), 3, None,
        Spans.of({"a": (1, 2), "end": (3, 4)})),
)  # fmt: skip
STANDS_FOR = ([[0], [1], [1], [1], [2], [3]], [[0], [3], [4], [5]], [[0], [1], [2], [3], [4]])


def moved(values: torch.Tensor, sources) -> torch.Tensor:
    """[1, corrupted positions, d] as [1, positions, d]."""
    return torch.stack([values[0, places].mean(0) for places in sources])[None]


@torch.no_grad()
@pytest.mark.parametrize("family", thorough_if_more(["gpt2", "llama", "gemma2"]))
def test_every_edge_equals_brute_force(family):
    model, task = boot(family, 2, 0), Task("unequal", ROWS, "logit_diff")
    plain = prepare(ALL[family](), seed=0)
    oracle = BruteForce(plain, names_of(family), model.anatomy.n_heads, model.anatomy.d_head, model.anatomy.n_kv_heads)
    with float64_throughout(plain):
        behaviour = Behaviour(model, task, range(3), METRICS["logit_diff"])
        found = behaviour.measure(np.eye(behaviour.graph.n_edges, dtype=bool))[0]
        corrupted = behaviour.plain([behaviour.metric], corrupted=True)[0]
        for place, (row, sources) in enumerate(zip(ROWS, STANDS_FOR, strict=True)):
            clean, other = (torch.tensor([ids]) for ids in (row.clean, row.corrupted))
            ours, residuals = oracle.contributions(clean)
            theirs, _ = oracle.contributions(other)
            end = len(row.corrupted) - 1 if row.id != "equal" else row.answer_position
            assert abs(difference(oracle.logits(other)[0, end], row) - corrupted[place]) < 1e-10
            for index, edge in enumerate(behaviour.graph.edges):
                change = moved(theirs[edge.writer.id], sources) - ours[edge.writer.id]
                logits = oracle.patched(clean, edge.reader.id, change, residuals)[0, row.answer_position]
                assert abs(difference(logits, row) - found[index, place]) < 1e-10, (row.id, edge.id)


def difference(logits: torch.Tensor, row: Row) -> float:
    return float(logits[row.correct[0]] - logits[row.incorrect[0]])


def test_means_stand_for_what_has_no_counterpart():
    row = Row("mean", (1, 2, 3, 4), (1, 7, 8, 9), (3,), (4,), 3, None,
              Spans.of({"a": (1, 3)}), Spans.of({"a": (1, 2)}))  # fmt: skip
    assert row.pairing == ((0,), (1,), (1,), (3,)) and row.corrupted_positions == (3,)
    row = Row("mean", (1, 2, 3, 4, 5), (1, 7, 8, 9), (3,), (4,), 4, None,
              Spans.of({"a": (1, 4)}), Spans.of({"a": (1, 3)}))  # fmt: skip
    model = boot("gpt2", 2, 0)
    behaviour = Behaviour(model, Task("mean", (row,), "kl"), [0], METRICS["kl"])
    (batch,) = behaviour.batches
    with torch.no_grad():
        values = behaviour.run(batch, corrupted=True).values[:, 0]
        own = model.executor().collect(torch.tensor([row.corrupted]), torch.tensor([3])).values[:, 0]
    assert torch.allclose(values[:, 1], own[:, 1:3].mean(1), atol=1e-12)
    assert torch.allclose(values[:, [0, 2, 3, 4]], own[:, [0, 1, 2, 3]], atol=1e-12)


@pytest.mark.parametrize("method", ["acdc", "exact", "eap", "eap-ig-inputs", "atp-star"])
def test_searches_run_over_rows_of_unequal_length(method):
    """On one row and on all rows together; batches pad both prompts, each to its own length."""
    model, task = boot("gpt2", 2, 0), Task("unequal", ROWS, "logit_diff")
    settings = DiscoverySettings(METHODS.find(method), limit=3, threads=1)
    together = discover(model, task, settings)
    assert together.circuit.edges
    if method in ("exact", "eap", "eap-ig-inputs"):  # means over rows
        one = replace(settings, limit=1)
        alone = [discover(model, Task("one", (row,), "logit_diff"), one).scores for row in ROWS]
        for edge, score in together.scores.items():
            assert abs(np.mean([scores[edge] for scores in alone]) - score) < 1e-9, edge


def test_by_the_models_own_modules():
    model = boot("llama", 1, 0)
    replayed = replace(model, components=ReplayComponents(model.bridge, model.anatomy))
    task, removed = Task("unequal", ROWS[:2], "logit_diff"), np.ones((1, model.graph.n_edges), dtype=bool)
    with float64_throughout(model.bridge.original_model):
        found = [Behaviour(one, task, [0, 1], METRICS["logit_diff"]).measure(removed) for one in (model, replayed)]
    assert np.allclose(found[0], found[1], atol=1e-9)
