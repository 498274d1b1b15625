"""Circuits of edges at single positions: scores against exact patching, what they sum up to, choosing and verifying."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from brute_force import BruteForce, float64_throughout, names_of
from conftest import thorough_but
from families import EACH, HUGGING_FACE, NATIVE, WITH_EXPERTS, boot, prepare
from noise import noise

from acdc.artefacts.verification.minimality import TOLERANCE
from acdc.behaviour.behaviour import Behaviour
from acdc.errors import InputError
from acdc.execution.ablated import Ablated
from acdc.execution.slots import SlotInputs
from acdc.graph import ReaderKind
from acdc.graph.masks import PositionalMask
from acdc.options import Level
from acdc.progress import nobody, silent
from acdc.search.acdc.positional_increments import PositionalIncrements
from acdc.search.acdc.pruning import Pruning
from acdc.search.acdc.receiver_steps import positional_steps
from acdc.search.acdc.tester import PositionalRuns
from acdc.search.choosing import Ranking
from acdc.search.registry import METHODS
from acdc.task.metrics import METRICS
from acdc.task.spans import Spans
from acdc.verification.minimality import minimise

AT = Level.positions
ESTIMATES = ["eap", "eap-ig-inputs", "eap-ig-activations", "clean-corrupted", "relp"]


def bound(family, rows=3, metric="logit_diff", seed=1, ablation="resample"):
    return Behaviour(
        boot(family, layers=2, seed=seed), noise(rows, lengths=(6,)), range(rows), METRICS[metric], ablation
    )


def saturated(scale):
    """One attention-only layer without norms, queries and keys so large that every pattern is at its flat end."""
    model = boot("native-attention-only-no-norm", layers=1, seed=4)
    with torch.no_grad():
        attention = model.components.weights.layers[0].attention
        attention.q.weight.mul_(scale)
        attention.k.weight.mul_(scale)
    return model


def of_one_length(task):
    """Those rows of a task that are as long as its first."""
    return replace(task, rows=tuple(row for row in task.rows if len(row.clean) == len(task.rows[0].clean)))


def score(behaviour, method, level=AT, **options):
    made = METHODS[method].options.of(options, level=level)
    return METHODS[method].run(behaviour, made, silent).values


def agree(found, expected, tolerance=1e-10):
    assert np.abs(expected).max() > 0
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


@pytest.mark.parametrize("family", thorough_but(["gpt2", "qwen3", "gemma2"], EACH))
@pytest.mark.parametrize("method", ESTIMATES)
def test_estimates_sum_up_to_those_of_edges(family, method):
    """A linear estimate of an edge is the sum of those at all positions."""
    behaviour = bound(family)
    if method == "relp" and family == "mixtral":
        pytest.skip("relp is not for models with experts")
    found = score(behaviour, method)
    agree(behaviour.units(AT).positional.summed(found), score(behaviour, method, Level.edges))


# of float64 throughout: experts are weighed in float32, too coarse for so small a step
FINE = [family for family in (*HUGGING_FACE, *NATIVE) if family not in WITH_EXPERTS]


@torch.no_grad()
@pytest.mark.parametrize("ablation", ["resample", "mean"])
@pytest.mark.parametrize("family", thorough_but(["gpt2", "qwen3", "native-bidirectional"], FINE))
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


@torch.no_grad()
def test_absolute_eap_is_the_slope_of_each_row():
    """In absolute value, by brute force: of rows in which edges have opposite effects."""
    behaviour, step = bound("gpt2"), 1e-5
    signed, found, graph = score(behaviour, "eap"), score(behaviour, "eap", absolute=True), positional(behaviour)
    places = np.random.default_rng(0).choice(graph.n_edges, 60, replace=False)
    mask = behaviour.units(AT).alone(places)
    (batch,), (prompts,) = behaviour.batches, behaviour.prompts
    ends = []
    for size in (step, -step):
        moved = batch.clean.values + size * (prompts.ablated.values - batch.clean.values)
        near = replace(prompts, ablated=Ablated(moved), stream=None)
        logits = behaviour.logits(batch, near, mask, None).unflatten(0, (len(places), -1))
        ends.append(np.stack([behaviour.metric.per_row(one, batch.answers).numpy() for one in logits]))
    slopes = (ends[0] - ends[1]) / (2 * step)
    agree(np.abs(slopes).mean(1), found[places], 1e-6)
    assert (found > 1.5 * np.abs(signed)).any()


@pytest.mark.parametrize("family", thorough_but(["gpt2", "gemma2"], EACH))
@pytest.mark.parametrize("spans", [False, True])
@pytest.mark.parametrize("method", ESTIMATES)
def test_absolute_estimates_are_means_of_the_rows_alone(family, spans, method):
    """Over positions, and over spans that are longer in some rows than in others, in batches of several lengths."""
    if method == "relp" and family == "mixtral":
        pytest.skip("relp is not for models with experts")
    task = of_uneven_spans(noise(4)) if spans else noise(4, lengths=(6,))
    behaviour = Behaviour(boot(family, layers=2, seed=1), task, range(4), METRICS["logit_diff"], batch_size=3)
    alone = [score(behaviour.alone(row), method) for row in range(4)]
    agree(score(behaviour, method, absolute=True), np.abs(alone).mean(0), 1e-9)
    assert (np.abs(alone).mean(0) > 1.1 * np.abs(np.mean(alone, axis=0))).any()  # rows disagree


def positional(behaviour):
    return behaviour.units(AT).positional


def of_uneven_spans(task):
    """Of one token and of several, in either order."""
    bounds = [{"a": (1, 2), "b": (3, 5)}, {"b": (1, 2), "a": (2, 5)}]
    return replace(task, rows=tuple(replace(r, spans=Spans.of(bounds[i % 2])) for i, r in enumerate(task.rows)))


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
    thorough_but([("gpt2", "kl", 0.02)], [("gpt2", "kl", 0.02), ("qwen3", "logit_diff", 0.1), ("gemma2", "kl", 0.02)]),
)
def test_acdc_decides_one_edge_at_a_time(family, metric, threshold):
    task = noise(2, lengths=(4,))
    behaviour = Behaviour(boot(family, layers=1, seed=1), task, range(2), METRICS[metric])
    found = METHODS["acdc"].run(behaviour, METHODS["acdc"].options.of({}, level=AT, threshold=threshold), silent)
    names = behaviour.units(AT).positional.names
    assert {names[place] for place in np.flatnonzero(found.kept)} == one_at_a_time(behaviour, threshold)
    assert 0 < found.kept.sum() < len(names)


@pytest.mark.parametrize(
    "family", thorough_but(["gpt2", "gemma2"], ["gpt2", "gemma2", "llama", "native-bidirectional"])
)
def test_atp_star_over_one_span_is_that_of_edges(family):
    """Where all positions are one span, an edge there is the edge."""
    plain = noise(3, lengths=(6, 5))
    rows = tuple(replace(row, spans=Spans.of({"all": (0, len(row.clean))})) for row in plain.rows)
    behaviour = Behaviour(boot(family, 3, seed=1), replace(plain, rows=rows), range(3), METRICS["logit_diff"])
    edges = score(behaviour, "atp-star", Level.edges)
    agree(behaviour.units(AT).positional.summed(score(behaviour, "atp-star")), edges)
    assert np.abs(edges - score(behaviour, "eap", Level.edges)).max() > 1e-3 * np.abs(edges).max()


def test_atp_star_of_one_layer_moves_patterns_as_peap_does():
    """No gradient passes another layer than the reader's own, so that nothing is lost with one; values are linear."""
    behaviour = Behaviour(boot("llama", 1, seed=1), noise(3, lengths=(6,)), range(3), METRICS["logit_diff"])
    found, peap, eap = (score(behaviour, name) for name in ("atp-star", "peap", "eap"))
    for group in behaviour.units(AT).positional.groups:
        patched = group.group.kind in (ReaderKind.Q, ReaderKind.K)
        own = slice(group.start, group.stop)
        agree(found[own], (peap if patched else eap)[own])


@torch.no_grad()
def test_atp_star_drops_the_gradient_through_each_layer():
    """At single positions: slopes of the metric along what a sender changes, with what one layer writes held fixed."""
    behaviour, step = bound("gpt2", rows=2), 1e-4
    graph, found = behaviour.units(AT).positional, score(behaviour, "atp-star")
    (batch,), (change,) = behaviour.batches, [behaviour.change(batch) for batch in behaviour.batches]
    into_mlp = graph.group_at[0, ReaderKind.MLP]
    for pair, (at, _) in enumerate(into_mlp.pairs):
        for sender in range(into_mlp.group.senders):
            slopes = []
            for held in (1, None):
                ends = []
                for size in (step, -step):
                    slots = Held(batch.clean, held, into_mlp.group, at, size * change[sender])
                    logits = behaviour.executor.run_embedded(batch.clean.blocks[0], batch.positions, slots).logits
                    ends.append(float(behaviour.metric.per_row(logits, batch.answers).mean()))
                slopes.append((ends[0] - ends[1]) / (2 * step))
            expected = np.sign(slopes[1]) * abs(slopes[0])  # layer 1 is the only one that is not the reader's own
            place = into_mlp.start + pair * into_mlp.group.senders + sender
            assert found[place] == pytest.approx(expected, abs=1e-6 * np.abs(found).max())


class Held(SlotInputs):
    """What one layer writes is that of another run; one group of slots reads more at a position."""

    def __init__(self, run, layer, group, at, more):
        self.run, self.layer, self.group, self.at, self.more = run, layer, group, at, more

    def write(self, index, block):
        return self.run.blocks[index] if index and (index - 1) // 2 == self.layer else block

    def read(self, group, residual, blocks):
        if group != self.group:
            return residual[None]
        moved = residual.clone()
        moved[:, self.at] += self.more[:, self.at]
        return moved[None]


@pytest.mark.parametrize("family", thorough_but(["gpt2"], ["gpt2", "qwen3"]))
def test_minimised_circuits_are_locally_minimal(family):
    """As good as the circuit and the tolerance, and worse without any single edge, each by a run of its own."""
    behaviour = Behaviour(boot(family, 1, seed=1), noise(2, lengths=(4,)), range(2), METRICS["kl"])
    units, span = behaviour.units(AT), abs(float(behaviour.full().mean() - behaviour.empty().mean()))
    own = np.random.default_rng(0).random(units.shape) < 0.99

    def objective(kept):
        return behaviour.metric.sign * behaviour.measure(units.ablated(kept))[0, 0].mean()

    limit = objective(units.pruned(own)) + TOLERANCE * span
    left = minimise(behaviour, own, span, level=AT)
    assert (left <= units.pruned(own)).all() and 0 < left.sum() < units.pruned(own).sum()
    assert objective(left) <= limit
    for place in np.flatnonzero(left):
        assert objective(left & (np.arange(len(left)) != place)) > limit


def test_a_hybrid_tests_what_was_proposed():
    """As ACDC by whole runs decides about the same edges; all edges proposed make it ACDC."""
    behaviour = bound("gpt2", rows=2, metric="kl")
    options, names = METHODS["hybrid"].options, behaviour.units(AT).positional.names
    found = METHODS["hybrid"].run(behaviour, options.of({}, level=AT, threshold=5e-4, edges=150), silent)
    units, scores = behaviour.units(AT), score(behaviour, "eap-ig-inputs")
    inside = units.pruned(Ranking(units, scores).by_edges(150).kept)
    assert found.proposal.edges == inside.sum() > 100
    pruning = Pruning(behaviour, PositionalRuns(behaviour), [5e-4], list(positional_steps(units.positional)), inside)
    pruning.finish(nobody)
    assert (found.kept == pruning.results()[5e-4].kept).all() and 0 < found.kept.sum() < inside.sum()
    assert {names.index(test.candidate) for test in found.tests} <= set(np.flatnonzero(inside))
    every = METHODS["hybrid"].run(behaviour, options.of({}, level=AT, threshold=1e-3, edges=len(names)), silent)
    acdc = METHODS["acdc"].run(behaviour, METHODS["acdc"].options.of({}, level=AT, threshold=1e-3), silent)
    assert (every.kept == acdc.kept).all()
    with pytest.raises(InputError, match="--propose greedy is not available over positions: use top or signed"):
        METHODS["hybrid"].run(behaviour, options.of({"propose": "greedy"}, level=AT), silent)


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_peap_is_exact_where_all_but_attention_is_linear(scale):
    """One attention-only layer without norms: also where every pattern is at its flat end, and EAP sees next to nothing
    of what moves it."""
    behaviour = Behaviour(saturated(scale), noise(rows=4, lengths=(6,)), range(4), METRICS["logit_diff"])
    graph = behaviour.units(AT).positional
    truth, patched, linear = (score(behaviour, method) for method in ("exact", "peap", "eap"))
    assert np.abs(patched - truth).max() < 1e-9 * np.abs(truth).max()
    keys = graph.group_at[0, ReaderKind.K]
    of_keys = slice(keys.start, keys.stop)
    if scale > 1:
        assert np.abs(truth[of_keys]).max() > 0.1
        assert np.abs(linear[of_keys]).max() < 1e-2 * np.abs(truth[of_keys]).max()


@pytest.mark.parametrize("family", thorough_but(["llama", "gemma2"], [*HUGGING_FACE]))
def test_local_patching_equals_brute_force(family):
    """What the plain model's head mixes with one query, key or value exchanged, times autograd's gradient at that."""
    behaviour = bound(family)
    found, graph = score(behaviour, "peap"), behaviour.units(AT).positional
    oracle = LocalPatching(behaviour, names_of(family))
    draw = np.random.default_rng(0)
    for group in graph.groups:
        if group.group.kind.value in "qkv" and group.group.layer == 1:
            for place in draw.choice(np.arange(group.start, group.stop), 5, replace=False).tolist():
                expected = oracle.effect(graph.name(place))
                assert found[place] == pytest.approx(expected, abs=1e-10 * oracle.size), graph.name(place)


class LocalPatching:
    """The plain model of a family: gradients of the logit difference at what each layer's heads mix, and what they mix
    with one slot's input exchanged at one position."""

    def __init__(self, behaviour, names):
        anatomy, self.behaviour = behaviour.model.anatomy, behaviour
        plain = hugging_face_of(behaviour.model.name, seed=1)
        self.oracle = BruteForce(plain, names, anatomy.n_heads, anatomy.d_head)
        self.rows = behaviour.rows
        self.clean = torch.tensor([row.clean for row in self.rows])
        with float64_throughout(plain):
            self.ours, self.residuals = self.oracle.contributions(self.clean)
            self.theirs, _ = self.oracle.contributions(torch.tensor([row.corrupted for row in self.rows]))
            self.mixed, self.gradient = self._gradient()
        self.size = max(1.0, float(self.gradient.abs().max() * self.mixed.abs().max()))

    def _out(self, layer=1):
        return self.oracle.part(layer, f"{self.oracle.names.attention}.{self.oracle.names.out}")

    def _gradient(self):
        kept = []

        def watch(module, given):
            leaf = given[0].detach().requires_grad_()
            kept.append(leaf)
            return (leaf,)

        handle = self._out().register_forward_pre_hook(watch)
        logits = self.oracle.model(self.clean).logits
        handle.remove()
        per_row = [
            logits[i, row.answer_position, list(row.correct)].mean()
            - logits[i, row.answer_position, list(row.incorrect)].mean()
            for i, row in enumerate(self.rows)
        ]
        sum(per_row).backward()
        return kept[0].detach(), kept[0].grad

    @torch.no_grad()
    def effect(self, name):
        left, right = name.split("->")
        (writer, source), (slot, at) = left.split("@"), right.split("@")
        alone = torch.zeros_like(self.ours[writer])
        alone[:, int(source)] = (self.theirs[writer] - self.ours[writer])[:, int(source)]
        seen = []
        handle = self._out().register_forward_pre_hook(lambda module, given: seen.append(given[0].clone()))
        with float64_throughout(self.oracle.model):
            self.oracle.patched(self.clean, slot, alone, self.residuals)
        handle.remove()
        moved = (seen[0] - self.mixed)[:, int(at)]
        return float((moved * self.gradient[:, int(at)]).sum()) / len(self.rows)


def hugging_face_of(name, seed):
    """The plain model that `boot` wraps, with two layers."""
    like = HUGGING_FACE[name]()
    if getattr(like.config, "layer_types", None):
        like.config.layer_types = (like.config.layer_types * 2)[:2]
    return prepare(type(like)(like.config), seed)


MODELS = [("gpt2", 2), ("llama", 2), ("qwen2", 2), ("qwen3", 1), ("mistral", 2), ("gpt-neox-parallel", 2)]
MODELS += [("gpt-neox-sequential", 2), ("native", 1), ("native-attention-only", 2), ("native-bidirectional", 1)]


@pytest.mark.parametrize(
    ("family", "layers", "metric"),
    thorough_but(
        [("gpt2", 1, "kl"), ("llama", 1, "logit_diff")],
        [("gpt2", 1, "kl"), ("llama", 1, "logit_diff")]
        + [(*model, metric) for model in MODELS for metric in ("kl", "logit_diff")],
    ),
)
def test_increments_decide_as_whole_runs_do(family, layers, metric):
    """Rows of several lengths in several batches, with spans that stand elsewhere in each."""
    behaviour = Behaviour(boot(family, layers, seed=3), with_spans(noise(4)), range(4), METRICS[metric], batch_size=3)
    whole, fast = (tester(behaviour) for tester in (PositionalRuns, PositionalIncrements))
    threshold = 0.002 * abs(np.subtract(*behaviour.ends()))
    found = [pruned(behaviour, tester, threshold) for tester in (whole, fast)]
    assert (found[0].kept == found[1].kept).all()
    assert [(t.candidate, t.kept) for t in found[0].tests] == [(t.candidate, t.kept) for t in found[1].tests]
    for slow, quick in zip(found[0].tests, found[1].tests, strict=True):
        assert (slow.before, slow.after) == pytest.approx((quick.before, quick.after), abs=1e-9)
    assert 0.01 * len(found[0].kept) < found[0].kept.sum() < 0.9 * len(found[0].kept)
    assert found[1].drift < 1e-9


def pruned(behaviour, tester, threshold):
    plan = list(positional_steps(tester.graph))
    run = Pruning(behaviour, tester, [threshold], plan, np.ones(len(tester.names), dtype=bool))
    assert not run.finish(lambda *done: None)
    return run.results()[threshold]


def with_spans(task):
    """Rows with two spans, in either order, and a rest before, between and after them."""
    bounds = [{"a": (1, 2), "b": (3, 5)}, {"b": (1, 3), "a": (4, 6)}]
    return replace(task, rows=tuple(replace(r, spans=Spans.of(bounds[i % 2])) for i, r in enumerate(task.rows)))


def test_a_fork_decides_alike():
    """Copies of the present circuit have nothing in common that one of them changes."""
    behaviour = Behaviour(boot("llama", 1, seed=3), with_spans(noise(3)), range(3), METRICS["kl"])
    tester = PositionalIncrements(behaviour)
    threshold = 0.01 * abs(np.subtract(*behaviour.ends()))
    other = tester.fork()
    first = pruned(behaviour, tester, threshold)
    assert (pruned(behaviour, other, threshold).kept == first.kept).all()
