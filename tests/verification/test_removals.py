"""Single removals by what they reach against runs of the whole circuit, for every family, ablation and kind of edge."""

import numpy as np
import pytest
from families import boot, thorough_if_alike
from noise import noise

from acdc.behaviour import variants
from acdc.behaviour.behaviour import Behaviour
from acdc.execution.removals import Reach, together
from acdc.task.metrics import METRICS
from acdc.verification.removals import without_each


def circuit(graph, share: float, seed: int, pruned: bool = True) -> np.ndarray:
    kept = np.random.default_rng(seed).random(graph.n_edges) < share
    return graph.prune(kept) if pruned else kept


def compare(behaviour: Behaviour, kept: np.ndarray, some: slice = slice(None)) -> float:
    """The largest change that a removal makes; every one as a run of the whole circuit without that edge has it."""
    edges = np.flatnonzero(kept)[some]
    removed = np.repeat(~kept[None], len(edges), axis=0)
    removed[np.arange(len(edges)), edges] = True
    expected = behaviour.measure(removed)[0]
    parts = list(without_each(behaviour, kept, edges))
    assert np.concatenate([found for found, _ in parts]).tolist() == edges.tolist()
    values = np.concatenate([found for _, found in parts])
    assert np.abs(values - expected).max() < 1e-9 * max(1.0, np.abs(expected).max())
    return float(np.abs(expected - behaviour.measure(~kept[None])[0]).max())


@pytest.mark.parametrize("share", [0.3, 0.7])
@pytest.mark.parametrize("family", thorough_if_alike())
def test_a_removal_is_a_run_without_the_edge(family, share):
    model = boot(family, layers=3, seed=1)
    for ablation, pruned in (("resample", True), ("zero", False), ("mean-positional", True)):
        behaviour = Behaviour(model, noise(rows=5, lengths=(4, 9, 6, 5)), range(5), METRICS["kl"], ablation)
        kept = circuit(behaviour.graph, share, seed=2, pruned=pruned)
        assert kept.any()
        assert compare(behaviour, kept) > 1e-6


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2", "gpt-neox-parallel", "native-attention-only"])
def test_edges_inside_heads_and_both_embeddings(family):
    model = boot(family, layers=2, seed=4)
    options = {"direct_edges": True, "split_embeddings": model.anatomy.learned_positions, "batch_size": 2}
    for ablation in ("resample", "mean", "zero"):
        behaviour = Behaviour(model, noise(rows=5, lengths=(4, 9, 6, 5)), range(5), METRICS["nll"], ablation, **options)
        kept = circuit(behaviour.graph, 0.6, seed=3, pruned=False)
        assert compare(behaviour, kept) > 1e-6


def test_the_whole_model_and_a_single_path(trio, induction):
    behaviour = Behaviour(trio, induction, range(6), METRICS["logit_diff"])
    everything = np.ones(behaviour.graph.n_edges, dtype=bool)
    assert compare(behaviour, everything, slice(None, None, 7)) > 1
    path = behaviour.graph.mask(["input->a1.h3<v>", "a1.h3->m2", "m2->logits"])
    assert compare(behaviour, path) > 0


def test_what_is_removed_together_changes_no_value(trio, induction, monkeypatch):
    behaviour = Behaviour(trio, induction, range(6), METRICS["logit_diff"])
    kept = circuit(behaviour.graph, 0.5, seed=5)
    edges = np.flatnonzero(kept)
    alike = np.concatenate([values for _, values in without_each(behaviour, kept, edges)])
    monkeypatch.setattr(variants, "WIDEST", 1)
    monkeypatch.setattr(variants, "AT_ONCE", 10)
    parts = list(without_each(behaviour, kept, edges))
    assert len(parts) == -(-len(edges) // 10)
    assert np.abs(np.concatenate([values for _, values in parts]) - alike).max() < 1e-10


def test_ticks_add_up_to_the_prompts(trio, induction):
    behaviour = Behaviour(trio, induction, range(6), METRICS["logit_diff"], batch_size=2)
    kept = circuit(behaviour.graph, 0.3, seed=6)
    ticks: list[float] = []
    list(without_each(behaviour, kept, np.flatnonzero(kept), lambda done, note="": ticks.append(done)))
    assert sum(ticks) == 6 * kept.sum() and len(ticks) > 10


def test_reach_follows_kept_edges_alone(trio):
    graph = trio.graph
    kept = graph.mask(["input->a1.h3<v>", "a1.h3->m2", "m2->logits", "input->m0", "m3->logits"])
    reach = Reach(graph, kept)
    edges = graph.mask(["input->a1.h3<v>", "m2->logits", "input->m0"]).nonzero()[0]
    found = zip(edges, reach.of(edges), strict=True)
    reached = {graph.names[e]: {graph.writers[w].id for w in row.nonzero()[0]} for e, row in found}
    assert reached == {"input->a1.h3<v>": {"a1.h3", "m2"}, "m2->logits": set(), "input->m0": set()}
    in_order = [graph.names[e] for part in together(graph, edges) for e in part]
    assert in_order == ["input->m0", "input->a1.h3<v>", "m2->logits"]
