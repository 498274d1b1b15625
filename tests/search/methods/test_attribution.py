"""Gradient methods against published scores, one-leaf-per-slot autograd, exact patching where they must be exact, and
brute force."""

import json
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import thorough_but
from families import boot, thorough_if_alike
from noise import noise
from torch import Tensor

from acdc.behaviour.behaviour import Behaviour
from acdc.errors import InputError
from acdc.execution.executor import Executor, SlotInputs
from acdc.graph import ReaderKind
from acdc.model.relevance import relevance
from acdc.options import Level
from acdc.progress import silent
from acdc.search.methods.atp_star import atp_star
from acdc.search.methods.eap import eap
from acdc.search.methods.eap_ig import clean_corrupted, eap_ig_activations, eap_ig_inputs
from acdc.search.methods.exact import exact
from acdc.search.methods.hisp import hisp
from acdc.search.methods.ifr import ifr
from acdc.search.methods.relp import relp
from acdc.search.options import IntegralOptions
from acdc.search.registry import METHODS
from acdc.task.metrics import METRICS, as_metric
from acdc.task.rows import Row, Task


def scores(method, behaviour, **options) -> np.ndarray:
    return method(behaviour, IntegralOptions(**options), silent).values


@pytest.mark.parametrize(
    ("record", "method", "metric", "factor"),
    [
        ("EAP_logitdiff", eap, "logit_diff", -16),
        ("EAPIG5_logitdiff", eap_ig_inputs, "logit_diff", -16),
        ("EAPIG5_kl", eap_ig_inputs, "kl", 16),
        ("CC_logitdiff", clean_corrupted, "logit_diff", -16),
    ],
)
def test_scores_equal_the_published_library(original, shared, record, method, metric, factor):
    """81 edges, times 16: the library divides a mean by the rows again, and negates the logit difference."""
    model, task = original
    behaviour = Behaviour(model, task, range(16), METRICS[metric])
    library = json.loads((shared / "cases/original/eap_ig_library.json").read_text())["scores"][record]
    found, index = scores(method, behaviour, steps=5), behaviour.graph.index
    common = [name for name in library if name in index]
    assert len(common) == behaviour.graph.n_edges == 81
    largest = max(abs(value) for value in library.values()) * 16
    assert max(abs(found[index[name]] - factor * library[name]) for name in common) <= 1e-5 * largest


class Leaves(SlotInputs):
    """Adds a zero of its own to every slot, whose gradient autograd finds: the plain way, with the big tensors."""

    def __init__(self, index: int = -1, block: Tensor | None = None):
        self.leaves, self.index, self.block = [], index, block

    def read(self, group, residual, blocks):
        leaf = residual.new_zeros((len(group.readers), *residual.shape)).requires_grad_()
        self.leaves.append((group, leaf))
        return residual[None] + leaf

    def write(self, index, block):
        return self.block if index == self.index else block


def by_leaves(behaviour: Behaviour, embedded, index: int = -1, mixed=None, executor=None) -> np.ndarray:
    """Mean scores with gradients where a batch runs from `embedded(batch, change)`, one block exchanged by `mixed`."""
    executor = executor or behaviour.executor
    total = np.zeros(behaviour.graph.n_edges)
    for batch in behaviour.batches:
        change = behaviour.ablated(batch).values - batch.clean.values
        slots = Leaves(index, None if mixed is None else mixed(batch, change))
        with torch.enable_grad():
            logits = executor.run_embedded(embedded(batch, change), batch.positions, slots).logits
            behaviour.metric.function(logits, batch.answers).sum().backward()
        for group, leaf in slots.leaves:
            if leaf.grad is None:  # before the exchanged block
                continue
            block = torch.einsum("rnpd,snpd->rs", leaf.grad, change[: group.senders])
            total[group.start : group.stop] += block.flatten().numpy()
    return total / len(behaviour.rows)


def agree(found: np.ndarray, expected: np.ndarray) -> None:
    assert np.abs(expected).max() > 0
    assert np.abs(found - expected).max() <= 1e-10 * np.abs(expected).max()


@pytest.mark.parametrize("family", thorough_if_alike())
def test_carrying_gradients_back_equals_a_leaf_for_every_slot(family):
    model = boot(family, layers=2, seed=1)
    behaviour = Behaviour(model, noise(rows=3), range(3), METRICS["logit_diff"], split_embeddings="gpt2" in family)
    clean = by_leaves(behaviour, lambda batch, change: batch.clean.blocks[0])
    agree(scores(eap, behaviour), clean)
    size = len(behaviour.graph.embeddings)

    def point(alpha):
        return by_leaves(behaviour, lambda batch, change: batch.clean.blocks[0] + (1 - alpha) * change[:size])

    agree(scores(eap_ig_inputs, behaviour, steps=3), (point(0) + point(1 / 3) + point(2 / 3)) / 3)
    agree(scores(clean_corrupted, behaviour), (point(0) + clean) / 2)


@pytest.mark.parametrize("ablation", ["resample", "mean"])
@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2", "gpt-neox-parallel", "native-attention-only"])
def test_integrated_activations_equal_a_loop_over_blocks(family, ablation):
    model = boot(family, layers=2, seed=2)
    behaviour = Behaviour(model, noise(rows=3), range(3), METRICS["nll"], ablation)
    steps, first, expected = 3, 0, np.zeros(behaviour.graph.n_edges)
    writers, _ = behaviour.graph.ends
    for index, block in enumerate(behaviour.batches[0].clean.blocks):
        last = first + len(block)
        for k in range(steps):

            def mixed(batch, change, index=index, first=first, last=last, k=k):
                return batch.clean.blocks[index] + (1 - k / steps) * change[first:last]

            found = by_leaves(behaviour, lambda batch, change: batch.clean.blocks[0], index, mixed)
            expected += np.where((writers >= first) & (writers < last), found, 0) / steps
        first = last
    agree(scores(eap_ig_activations, behaviour, steps=steps), expected)


def test_eap_equals_transformer_lens():
    """Its gradient is taken on the corrupted run and points to the clean one: so the prompts change places."""
    from transformer_lens.tools.analysis import attribution_patching as theirs

    model = boot("gpt2", layers=2, seed=3)
    model.bridge.original_model.requires_grad_(True)  # it starts its backward from the weights
    rows = noise(rows=3, lengths=(6,)).rows
    swapped = Task(
        "swapped",
        tuple(Row(r.id, r.corrupted, r.clean, r.correct, r.incorrect, r.answer_position) for r in rows),
        "logit_diff",
    )
    behaviour = Behaviour(model, swapped, range(3), METRICS["logit_diff"])
    found, expected = scores(eap, behaviour), np.zeros(behaviour.graph.n_edges)
    for row in rows:

        def metric(logits, row=row):
            at = logits[0, row.answer_position]
            return at[list(row.correct)].mean() - at[list(row.incorrect)].mean()

        for name, value in transformer_lens_scores(theirs, model.bridge, row, metric).items():
            expected[behaviour.graph.index[name]] += value / len(rows)
    assert (expected != 0).mean() > 0.9
    agree(found, expected)


def transformer_lens_scores(theirs, bridge, row: Row, metric) -> dict[str, float]:
    """TransformerLens's own edge scores by our ids, summed over positions."""
    result = theirs.attribution_patch(
        bridge,
        torch.tensor([row.clean]),
        torch.tensor([row.corrupted]),
        metric,
        theirs.EdgeAttributionConfig(granularity="edge"),
    )
    found = defaultdict(float)
    for (source, target), score in result.edge_scores.items():
        found[f"{name(source)}->{name(target)}"] += score
    return found


def name(node) -> str:
    kinds = {"embed": "input", "logits": "logits", "mlp_out": "m{l}", "mlp_in": "m{l}", "attn_head_out": "a{l}.h{h}"}
    kinds |= {f"{slot}_input": "a{l}.h{h}<" + slot + ">" for slot in "qkv"}
    return kinds[node.kind].format(l=node.layer, h=node.head)


def saturated(scale: float):
    """One attention-only layer without norms, queries and keys so large that every pattern is at its flat end."""
    model = boot("native-attention-only-no-norm", layers=1, seed=4)
    with torch.no_grad():
        attention = model.components.weights.layers[0].attention
        attention.q.weight.mul_(scale)
        attention.k.weight.mul_(scale)
    return model


def shares(behaviour: Behaviour, kind: ReaderKind) -> np.ndarray:
    readers = behaviour.graph.ends[1]
    return np.array([behaviour.graph.readers[reader].kind is kind for reader in readers])


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_the_qk_fix_is_exact_where_all_else_is_linear(scale):
    """Without norms and MLPs, one layer's metric is linear in the pattern: so the fix gives the exact effect, also
    where the softmax is saturated and EAP sees next to nothing."""
    behaviour = Behaviour(saturated(scale), noise(rows=4), range(4), METRICS["logit_diff"])
    truth, fixed, linear = (scores(method, behaviour) for method in (exact, atp_star, eap))
    for kind in (ReaderKind.Q, ReaderKind.K):
        chosen = shares(behaviour, kind)
        assert np.abs(fixed - truth)[chosen].max() < 1e-9 * np.abs(truth).max()
        if scale > 1:
            assert np.abs(truth)[chosen].max() > 0.1
            assert np.abs(linear)[chosen].max() < 1e-2 * np.abs(truth)[chosen].max()


def test_integrated_gradients_find_what_a_flat_relu_hides():
    """A ReLU that is off on the clean run and on under the corrupted prompt: EAP gives its edge exactly nothing."""
    model = boot("native-no-norm-mlp-alone", layers=1, seed=5)
    with torch.no_grad():
        mlp, weights = model.components.weights.layers[0].mlp, model.components.weights
        weights.layers[0].attention.out.weight.zero_()
        mlp.into.weight.zero_()
        mlp.into.weight[0, 0] = 1.0
        mlp.into.bias.fill_(0.0)
        mlp.into.bias[0] = -1.0
        weights.embed.module.weight[:, 0] = 0.0
        weights.embed.module.weight[7, 0] = 5.0  # token 7 turns the unit on
        weights.positions[:, 0] = 0.0
    rows = tuple(Row(str(i), (1, 2 + i, 3), (1, 2 + i, 7), (5,), (6,), 2) for i in range(3))
    behaviour = Behaviour(model, Task("switch", rows, "logit_diff"), range(3), METRICS["logit_diff"])
    edge = behaviour.graph.index["input->m0"]
    truth, blind, seeing = (scores(method, behaviour)[edge] for method in (exact, eap, eap_ig_inputs))
    assert abs(truth) > 0.1 and blind == 0.0
    assert np.sign(seeing) == np.sign(truth) and 0.3 < seeing / truth < 3


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2"])
def test_graddrop_equals_a_loop_over_layers(family):
    """Edges into values, MLPs and logits, which the QK fix leaves alone."""
    model = boot(family, layers=3, seed=6)
    behaviour = Behaviour(model, noise(rows=3), range(3), METRICS["logit_diff"])
    sizes, whole = [], by_leaves(behaviour, lambda batch, change: batch.clean.blocks[0])
    for layer in range(3):
        found = np.zeros(behaviour.graph.n_edges)
        for batch in behaviour.batches:
            change = behaviour.ablated(batch).values - batch.clean.values

            class Dropped(Leaves):
                def write(self, index, block, layer=layer):
                    return block.detach() if index and (index - 1) // 2 == layer else block

            slots = Dropped()
            with torch.enable_grad():
                logits = behaviour.executor.run_embedded(batch.clean.blocks[0], batch.positions, slots).logits
                behaviour.metric.function(logits, batch.answers).sum().backward()
            for group, leaf in slots.leaves:
                if leaf.grad is not None:
                    block = torch.einsum("rnpd,snpd->rs", leaf.grad, change[: group.senders])
                    found[group.start : group.stop] += block.flatten().numpy() / 3
        sizes.append(np.abs(found))
    layers = np.array([behaviour.graph.readers[r].layer for r in behaviour.graph.ends[1]])
    kinds = [behaviour.graph.readers[r].kind for r in behaviour.graph.ends[1]]
    others = np.stack([layers != layer for layer in range(3)])
    expected = np.sign(whole) * (np.stack(sizes) * others).sum(0) / others.sum(0)
    untouched = np.array([kind not in (ReaderKind.Q, ReaderKind.K) for kind in kinds])
    got = scores(atp_star, behaviour)
    assert np.abs(got - expected)[untouched].max() < 1e-10 * np.abs(expected).max()


def test_relevance_is_the_gradient_where_rules_change_nothing():
    """ReLU(x) / x is its slope, and without norms and gates no other rule applies."""
    model = boot("native-no-norm", layers=2, seed=7)
    behaviour = Behaviour(model, noise(rows=3), range(3), METRICS["logit_diff"])
    agree(scores(relp, behaviour), scores(eap, behaviour))


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2", "native-rotary-gated"])
def test_relevance_is_carried_back_through_frozen_norms(family):
    """The values stay those of the model; what is carried back is what autograd carries through the same rules."""
    model = boot(family, layers=2, seed=8)
    behaviour = Behaviour(model, noise(rows=3), range(3), METRICS["logit_diff"])
    relevant = Executor(relevance(model.components), behaviour.graph)
    (batch, *_), found = behaviour.batches, scores(relp, behaviour)
    with torch.no_grad():
        again = relevant.run_embedded(batch.clean.blocks[0], batch.positions, SlotInputs()).logits
    assert (again - batch.clean.logits).abs().max() < 1e-12 * batch.clean.logits.abs().max()
    agree(found, by_leaves(behaviour, lambda batch, change: batch.clean.blocks[0], executor=relevant))
    assert np.abs(found - scores(eap, behaviour)).max() > 1e-3


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_relevance_of_an_mlp_is_conserved(family):
    """Without biases, input times relevance adds up to the output: act(x) / x is proportional, half of a product goes
    to each factor, and a frozen norm is linear."""
    components = relevance(boot(family, layers=2, seed=9).components)
    layer = components.weights.layers[0]
    mlp = replace(layer.mlp, into=replace(layer.mlp.into, bias=None), out=replace(layer.mlp.out, bias=None))
    norm = replace(layer.mlp_norm, bias=None)
    x = torch.randn(3, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    out = mlp(norm(x))
    out[:, 5].sum().backward()
    assert (x * x.grad).sum(-1).tolist() == pytest.approx(out[:, 5].tolist(), rel=1e-9)


def test_information_flow_equals_a_loop(trio, induction):
    behaviour = Behaviour(trio, induction, range(2), METRICS["kl"], batch_size=1)
    expected = np.zeros(behaviour.graph.n_edges)
    for batch in behaviour.batches:
        for group in behaviour.graph.groups:
            seen = {}

            class Reading(SlotInputs):
                def read(self, of, residual, blocks, seen=seen):
                    seen[of.start] = (residual[0], torch.cat(list(blocks))[: of.senders, 0])
                    return residual[None]

            behaviour.run(batch, Reading())
            residual, outputs = seen[group.start]
            for position in range(int(batch.positions[0]) + 1):
                x = residual[position]
                near = [max(0.0, float(x.abs().sum() - (x - a[position]).abs().sum())) for a in outputs]
                for reader in range(len(group.readers)):
                    for sender, share in enumerate(near):
                        place = group.start + reader * group.senders + sender
                        expected[place] += share / sum(near) / (int(batch.positions[0]) + 1) / 2
    agree(scores(ifr, behaviour), expected)


def test_head_importance_is_output_times_gradient(trio, induction):
    """Against central differences of the metric when one component's output is scaled."""
    behaviour = Behaviour(trio, induction, range(4), METRICS["logit_diff"])
    found = hisp(behaviour, IntegralOptions(), silent)
    of_nodes = hisp(behaviour, IntegralOptions(level=Level.nodes), silent)
    raw, step = np.zeros(len(behaviour.graph.writers)), 1e-4
    for index in range(len(raw)):
        for batch in behaviour.batches:

            class Scaled(SlotInputs):
                def __init__(self, factor, index=index):
                    self.factor, self.index, self.first = factor, index, 0

                def write(self, _, block):
                    scaled, place = block.clone(), self.index - self.first
                    self.first += len(block)
                    if 0 <= place < len(block):
                        scaled[place] *= self.factor
                    return scaled

            up, down = (
                behaviour.metric.function(behaviour.run(batch, Scaled(1 + s)).logits, batch.answers)
                for s in (step, -step)
            )
            raw[index] += ((up - down) / (2 * step)).abs().sum().item()
    layers = np.array([writer.layer for writer in behaviour.graph.writers])
    expected = np.array([raw[i] / np.linalg.norm(raw[layers == layers[i]]) for i in range(len(raw))])
    assert of_nodes.values == pytest.approx(expected, rel=1e-5)
    writers, readers = behaviour.graph.ends
    edge = behaviour.graph.index["a1.h2->a3.h1<q>"]
    at = behaviour.graph.writer_index
    ends = [at[w] for w in behaviour.graph.writers if w.id in ("a1.h2", "a3.h1")]
    assert found.values[edge] == pytest.approx(min(expected[ends]), rel=1e-5)
    assert found.values[behaviour.graph.index["input->m2"]] == pytest.approx(expected[readers_owner(behaviour, "m2")])


def readers_owner(behaviour: Behaviour, name: str) -> int:
    return next(i for i, writer in enumerate(behaviour.graph.writers) if writer.id == name)


def test_a_batch_too_large_for_memory_is_halved(trio, induction, monkeypatch):
    behaviour = Behaviour(trio, induction, range(8), METRICS["logit_diff"])
    whole = eap(behaviour, IntegralOptions(), silent)
    run = behaviour.executor.run_embedded

    def cramped(embedded, *rest):
        if embedded.shape[1] > 3:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
        return run(embedded, *rest)

    monkeypatch.setattr(behaviour.executor, "run_embedded", cramped)
    split = eap(behaviour, IntegralOptions(), silent)
    assert (whole.batch_splits, split.batch_splits) == (0, 2)
    assert split.values == pytest.approx(whole.values, abs=1e-12 * np.abs(whole.values).max())


@pytest.mark.parametrize("method", ["eap", "relp", "atp-star", "hisp"])
def test_what_looks_at_the_clean_gradient_refuses_kl(trio, induction, method):
    with pytest.raises(InputError, match="smallest on the full model"):
        METHODS[method].run(Behaviour(trio, induction, range(2), METRICS["kl"]), METHODS[method].options(), silent)


METHODS_THAT_LOOK_FOR_CHANGES = ["eap", "eap-ig-inputs", "eap-ig-activations", "clean-corrupted", "atp-star", "ugs"]


@pytest.mark.parametrize("method", METHODS_THAT_LOOK_FOR_CHANGES)
def test_a_task_without_any_change_is_refused(trio, induction, method):
    rows = tuple(Row(r.id, r.clean, r.clean, r.correct, r.incorrect, r.answer_position) for r in induction.rows[:3])
    behaviour = Behaviour(trio, Task("same", rows, "logit_diff"), range(3), METRICS["logit_diff"])
    with pytest.raises(InputError, match="every score is zero|nothing for masks to learn"):
        METHODS[method].run(behaviour, METHODS[method].options(), silent)


@pytest.mark.parametrize(("dtype", "near"), [("float32", 1e-4), ("bfloat16", 0.2)])
def test_lower_precision_gives_the_same_scores_up_to_its_rounding(trio, induction, dtype, near):
    """Products accumulate in at least float32, scores are summed up in float64."""
    from acdc.model.load import load_model

    exact_ones = scores(eap, Behaviour(trio, induction, range(8), METRICS["logit_diff"]))
    found = scores(eap, Behaviour(load_model("trio", dtype=dtype), induction, range(8), METRICS["logit_diff"]))
    assert found.dtype == np.float64
    assert np.abs(found - exact_ones).max() < near * np.abs(exact_ones).max()
    assert np.corrcoef(found, exact_ones)[0, 1] > 0.99


HALF = ["eap", "eap-ig-inputs", "eap-ig-activations", "atp-star", "relp", "hisp", "ifr"]
EACH_IN_HALF = [(family, "eap") for family in ("gpt2", "llama", "gemma2", "gemma3", "gpt-neox-parallel")]
EACH_IN_HALF += [("gemma2", method) for method in HALF if method != "eap"]


@pytest.mark.parametrize(
    ("family", "method"),
    thorough_but(EACH_IN_HALF, [(family, method) for family, _ in EACH_IN_HALF[:5] for method in HALF]),
)
def test_half_precision_works_in_every_family(family, method):
    """Norms of some families are kept wider than the model."""
    model = boot(family, layers=2, seed=1, dtype="bfloat16")
    behaviour = Behaviour(model, noise(rows=3), range(3), METRICS["logit_diff"])
    assert np.isfinite(scores(METHODS[method].run, behaviour)).all()


@pytest.mark.parametrize("method", ["eap", "eap-ig-inputs", "hybrid", "hisp", "ugs"])
def test_a_metric_of_the_users_without_gradient_is_refused(trio, induction, method):
    def right(logits, rows):
        return (logits.argmax(-1) == torch.tensor([row.correct[0] for row in rows.rows])).to(logits.dtype)

    behaviour = Behaviour(trio, induction, range(4), as_metric(right))
    with pytest.raises(InputError, match="without a gradient|no gradient"):
        METHODS[method].run(behaviour, METHODS[method].options(threshold=0.1), silent)
