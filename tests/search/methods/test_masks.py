"""Learnt masks, hybrids, and scores over components."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import thorough_but
from families import boot
from noise import noise

from acdc.api import discover, verify
from acdc.behaviour.behaviour import Behaviour
from acdc.execution.executor import RemovedEdges
from acdc.graph.units import EdgeUnits
from acdc.options import Choosing, Level
from acdc.progress import silent
from acdc.search.acdc.search import acdc
from acdc.search.choosing import Ranking
from acdc.search.methods.eap_ig import eap_ig_inputs
from acdc.search.methods.edge_pruning import edge_pruning
from acdc.search.methods.exact import exact
from acdc.search.methods.hybrid import hybrid
from acdc.search.methods.masks import GAMMA, ZETA, MaskedEdges, hard_concrete, open_logits, open_probability
from acdc.search.methods.subnetwork_probing import subnetwork_probing
from acdc.search.methods.ugs import ugs
from acdc.search.options import HybridOptions, IntegralOptions, MaskOptions, OrderOptions, SearchOptions
from acdc.search.registry import METHODS
from acdc.task.metrics import METRICS, recovered_fraction

MASKS = [subnetwork_probing, edge_pruning, ugs]


@torch.no_grad()
@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2", "gpt-neox-parallel", "native-attention-only"])
def test_hard_masks_equal_removed_edges(family):
    """Masks of 0 and 1, each row its own, against runs of one row and one subgraph."""
    model = boot(family, layers=2, seed=1)
    behaviour = Behaviour(model, noise(rows=3, lengths=(6,)), range(3), METRICS["kl"])
    (batch,), (prompts,) = behaviour.batches, behaviour.prompts
    kept = np.random.default_rng(0).random((3, behaviour.graph.n_edges)) < 0.6
    slots = MaskedEdges(behaviour.graph, torch.from_numpy(kept).double(), prompts.ablated)
    together = behaviour.executor.run_embedded(batch.clean.blocks[0], batch.positions, slots).logits
    for row in range(3):
        removed = RemovedEdges(behaviour.graph, ~kept[row][None], prompts.ablated, 3)
        alone = behaviour.executor.run_embedded(batch.clean.blocks[0], batch.positions, removed).logits[row]
        assert (alone - together[row]).abs().max() < 1e-10


def test_the_gradient_of_a_mask_is_that_of_finite_differences(trio, induction):
    behaviour = Behaviour(trio, induction, range(3), METRICS["kl"], batch_size=3)
    (batch,), (prompts,) = behaviour.batches[:1], behaviour.prompts[:1]
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(len(batch.index), behaviour.graph.n_edges, generator=generator, dtype=torch.float64)

    def divergence(masks):
        slots = MaskedEdges(behaviour.graph, masks, prompts.ablated)
        logits = behaviour.executor.run_embedded(batch.clean.blocks[0], batch.positions, slots).logits
        return METRICS["kl"].function(logits, batch.answers).sum()

    leaf = masks.clone().requires_grad_()
    divergence(leaf).backward()
    for edge in np.random.default_rng(0).choice(behaviour.graph.n_edges, 20, replace=False):
        step = torch.zeros_like(masks)
        step[0, edge] = 1e-5
        with torch.no_grad():
            slope = (divergence(masks + step) - divergence(masks - step)) / 2e-5
        assert leaf.grad[0, edge].item() == pytest.approx(slope.item(), rel=1e-4, abs=1e-8)


def test_hard_concrete_masks_are_open_as_often_as_they_say():
    uniform = torch.rand(20_000, 5, generator=torch.Generator().manual_seed(0)).clamp(1e-4, 1 - 1e-4)
    logits = torch.tensor([-4.0, -1.0, 0.0, 1.0, 4.0])
    masks = hard_concrete(logits, uniform)
    assert ((masks > 0).float().mean(0) - open_probability(logits)).abs().max() < 0.01
    assert masks.min() == 0 and masks.max() == 1
    start = open_logits(1, 0.9).detach()
    assert hard_concrete(start, torch.full((1, 1), 0.5)).item() == pytest.approx(0.9, abs=1e-6)
    assert GAMMA < 0 < 1 < ZETA


@pytest.fixture(scope="module")
def behaviour(trio, induction):
    return Behaviour(trio, induction, range(16), METRICS["logit_diff"])


@pytest.fixture(scope="module")
def best(behaviour):
    """Which edges have the ten largest effects."""
    truth = np.abs(exact(behaviour, SearchOptions(), silent).values)
    return truth >= np.sort(truth)[-10]


@pytest.mark.parametrize("method", MASKS)
def test_a_training_is_seeded(behaviour, method):
    first, again, other = (method(behaviour, MaskOptions(updates=5, seed=s), silent).values for s in (1, 1, 2))
    assert (first == again).all() and (first != other).any()


@pytest.mark.parametrize("method", MASKS)
def test_a_short_training_ranks_what_matters(behaviour, best, method):
    found = method(behaviour, MaskOptions(updates=60, seed=1), silent).values
    assert ((found > 0) & (found < 1)).all()
    assert found[best].mean() > found[~best].mean() + 0.05


@pytest.mark.thorough
@pytest.mark.parametrize("method", MASKS)
def test_learnt_masks_give_small_faithful_circuits(trio, induction, method):
    """5 % of the edges carry the behaviour on unseen rows; a random circuit of that size carries nothing."""
    found = discover(trio, induction, method.__name__.replace("_", "-"), edges=24)
    assert verify(trio, induction, found.circuit).faithfulness > 0.6


def test_a_hybrid_with_everything_proposed_is_acdc(trio, induction):
    """Where pruning drops nothing, the proposal is the graph."""
    behaviour = Behaviour(trio, induction, range(6), METRICS["logit_diff"])
    whole = hybrid(behaviour, HybridOptions(threshold=0.5, edges=behaviour.graph.n_edges), silent)
    alone = acdc(behaviour, OrderOptions(threshold=0.5), silent)
    assert whole.tests == alone.tests and (whole.kept == alone.kept).all()
    assert whole.proposal.edges == behaviour.graph.n_edges and whole.proposal.left_out == 0


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2", "native-attention-only"])
def test_a_hybrid_tests_only_what_was_proposed(family):
    model = boot(family, layers=2, seed=3)
    behaviour = Behaviour(model, noise(rows=4), range(4), METRICS["kl"])
    found = hybrid(behaviour, HybridOptions(threshold=0.01, edges=40), silent)
    tested = behaviour.graph.mask(test.candidate for test in found.tests)
    assert 0 < found.kept.sum() <= tested.sum() <= found.proposal.edges <= 40
    assert not (found.kept & ~tested).any()
    assert found.drift < 1e-9 and found.proposal.left_out > 0
    for before, after in zip(found.tests, found.tests[1:], strict=False):
        same_slot = before.candidate.split("->")[1] == after.candidate.split("->")[1]
        if same_slot:
            assert after.before == (before.before if before.kept else before.after)


@pytest.mark.parametrize("propose", [Choosing.signed, Choosing.paths])
def test_a_hybrid_proposes_as_it_is_told(trio, induction, propose):
    behaviour = Behaviour(trio, induction, range(6), METRICS["logit_diff"])
    found = hybrid(behaviour, HybridOptions(threshold=0.3, edges=60, propose=propose), silent)
    scores = eap_ig_inputs(behaviour, IntegralOptions(), silent).values
    ranking = Ranking(EdgeUnits(behaviour.graph), scores, propose, -scores)  # of a metric that is better when larger
    proposed = ranking.by_edges(60).edges
    tested = behaviour.graph.mask(test.candidate for test in found.tests)
    assert (tested <= proposed).all() and found.kept.any() and found.proposal.edges == proposed.sum()
    assert found.proposal.left_out == np.abs(scores[~proposed]).max()


def test_a_hybrid_says_that_it_is_a_proposals(acdc, tmp_path):
    words = "discover --task induction --method hybrid --edges 90 --threshold 0.4 --limit 16 --out r --json"
    done = acdc(*words.split())
    assert done.code == 0, done.err
    selection = json.loads((tmp_path / "r/circuit.json").read_text())["method"]["selection"]
    assert selection["edges"] == 90 and 0 < selection["proposal_edges"] <= 90
    assert {"proposal_objective", "proposal_left_out"} <= set(selection)
    assert (tmp_path / "r/decisions.jsonl").exists() and not (tmp_path / "r/scores.json").exists()
    assert acdc(*words.split()).code == 0  # resumed


@pytest.mark.parametrize("ablation", ["resample", "zero"])
def test_exact_scores_of_nodes_equal_cutting_all_their_edges(trio, induction, ablation):
    behaviour = Behaviour(trio, induction, range(4), METRICS["logit_diff"], ablation)
    found = exact(behaviour, SearchOptions(level=Level.nodes), silent)
    for index in (0, 3, 5, 10, 20):
        cut = np.array([edge.writer == behaviour.graph.writers[index] for edge in behaviour.graph.edges])
        effect = (behaviour.measure(cut[None])[0, 0] - behaviour.full()).mean()
        assert found.values[index] == pytest.approx(effect, abs=1e-10)


SCORES_OF_NODES = [m.name for m in METHODS.values() if Level.nodes in m.levels and not m.decides]


@pytest.mark.parametrize("method", thorough_but(["exact", "eap-ig-activations", "hisp"], SCORES_OF_NODES))
def test_circuits_of_nodes(acdc, tmp_path, method):
    words = f"discover --task induction --method {method} --level nodes --limit 16 --out r --json".split()
    done = acdc(*words)
    assert done.code == 0, done.err
    circuit = json.loads((tmp_path / "r/circuit.json").read_text())
    assert circuit["level"] == "nodes" and 0 < len(circuit["nodes"]) < 20
    scores = json.loads((tmp_path / "r/scores.json").read_text())["nodes"]
    assert len(scores) == 21 and all(node["score"] == scores[node["id"]] for node in circuit["nodes"])
    assert all(edge["score"] == scores[edge["id"].split("->")[0]] for edge in circuit["edges"])
    assert ("not tested" not in circuit["sign_convention"]) and ("an edge has" in circuit["sign_convention"]) == (
        circuit["score_kind"] == "effect"
    )


@pytest.mark.thorough
@torch.no_grad()
def test_optimal_constants_beat_means(trio, induction):
    """Each component by itself, over the rows that they were learnt on; zero and mean are constants too."""
    few = replace(induction, rows=induction.rows[:32])
    means, optimal = (Behaviour(trio, few, range(32), METRICS["kl"], name) for name in ("mean", "optimal"))
    writers, _ = means.graph.ends
    alone = np.arange(len(means.graph.writers))[:, None] == writers
    by_mean, by_optimal = (behaviour.measure(alone)[0].mean(axis=1) for behaviour in (means, optimal))
    assert (by_optimal <= by_mean * 1.05 + 0.02).all()
    assert by_optimal.sum() < 0.9 * by_mean.sum()
    again = Behaviour(trio, few, [0], METRICS["kl"], "optimal")
    assert (again.prompts[0].ablated.values == optimal.prompts[0].ablated.values).all()


@pytest.mark.thorough
def test_optimal_ablation_through_the_command_line(acdc, tmp_path):
    words = "discover --task induction --method eap --ablation optimal --edges 30 --batch-size 8 --out r --json"
    done = acdc(*words.split())
    assert done.code == 0, done.err
    circuit = json.loads((tmp_path / "r/circuit.json").read_text())
    assert circuit["ablation"] == "optimal" and len(circuit["edges"]) <= 30
    verification = json.loads((tmp_path / "r/verification.json").read_text())
    own = verification["measures"]["logit_diff"]
    assert own["faithfulness"] == pytest.approx(recovered_fraction(own["circuit"], own["full"], own["empty"]))
