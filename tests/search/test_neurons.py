"""Heads and hidden neurons as units, against raw hooks on plain Hugging Face models and against autograd there."""

from contextlib import ExitStack, contextmanager

import families
import numpy as np
import pytest
import torch
from brute_force import float64_throughout
from conftest import slow_but
from noise import noise
from plain_hooks import PLACES, Plain

from acdc.execution.executor import Executor, SlotInputs
from acdc.graph.masks import CoordinateMask, NeuronMask
from acdc.model.relevance import relevance
from acdc.options import Level
from acdc.progress import silent
from acdc.search.discover import DiscoverySettings, bind
from acdc.search.registry import METHODS

LAYERS, STEPS = 2, 5
TASK = noise(3)
FAMILIES = slow_but(["gpt2", "llama", "gemma2", "gpt-neox-parallel"], PLACES)


def scores(model, method, level=Level.neurons, **options):
    settings = DiscoverySettings(method=METHODS[method], metric="logit_diff", level=level, **options)
    behaviour = bind(model, TASK, settings, range(len(TASK.rows)))
    return behaviour, METHODS[method].run(behaviour, settings.search_options, silent)


class Brute:
    """The rows of the task on a plain model, one by one: what its neurons are on both prompts [layers, 1, P, F], and
    its metric and gradients when some of them have other values."""

    def __init__(self, family: str):
        self.plain = Plain(family, families.hugging_face(family))
        self.clean, self.corrupted = ([self._neurons(prompt) for prompt in side] for side in _prompts())

    def _neurons(self, prompt) -> torch.Tensor:
        found: dict[int, torch.Tensor] = {}
        with self.changed({i: lambda x, i=i: found.setdefault(i, x.detach()) for i in range(LAYERS)}):
            self.logits(self.embedded(prompt))
        return torch.stack([found[i] for i in range(LAYERS)])

    def embedded(self, prompt) -> torch.Tensor:
        with torch.no_grad():
            return self.plain.model.get_input_embeddings()(torch.tensor([prompt]))

    def logits(self, embedded) -> torch.Tensor:
        with float64_throughout(self.plain.model):
            return self.plain.model(inputs_embeds=embedded, use_cache=False).logits[0]

    @contextmanager
    def changed(self, changes):
        """What output projections read is changed, by layer."""
        with ExitStack() as stack:
            for layer, change in changes.items():
                down = self.plain.blocks[layer].get_submodule(self.plain.down)
                handle = down.register_forward_pre_hook(lambda _, given, change=change: (change(given[0]),))
                stack.callback(handle.remove)
            yield

    def metric(self, place: int, changes, embedded=None) -> torch.Tensor:
        row = TASK.rows[place]
        with self.changed(changes):
            logits = self.logits(self.embedded(row.clean) if embedded is None else embedded)[row.answer_position]
        return logits[list(row.correct)].mean() - logits[list(row.incorrect)].mean()

    @torch.no_grad()
    def without(self, cut) -> float:
        """Mean over rows with neurons `cut` [layers, F] at their corrupted values."""

        def exchanged(place: int, layer: int):
            return lambda x: torch.where(cut[layer], self.corrupted[place][layer], x)

        changes = [{i: exchanged(place, i) for i in range(LAYERS)} for place in range(len(TASK.rows))]
        return float(np.mean([self.metric(place, change).item() for place, change in enumerate(changes)]))

    def gradient(self, place: int, fixed=None, embedded=None) -> torch.Tensor:
        """Of a row's metric at its neurons [layers, 1, P, F], those of the layers `fixed` being set to values."""
        leaves: dict[int, torch.Tensor] = {}

        def watched(layer: int):
            def add(x):
                leaves[layer] = torch.zeros_like(x, requires_grad=True)
                return (fixed or {}).get(layer, x) + leaves[layer]

            return add

        self.metric(place, {i: watched(i) for i in range(LAYERS)}, embedded).backward()
        return torch.stack([leaves[i].grad for i in range(LAYERS)])

    def estimate(self, gradients) -> np.ndarray:
        """[layers, F]: gradients of each row times what is changed, mean over rows."""
        changes = (there - here for here, there in zip(self.clean, self.corrupted, strict=True))
        products = [(change * gradient).sum((1, 2)) for change, gradient in zip(changes, gradients, strict=True)]
        return torch.stack(products).mean(0).numpy()


def _prompts():
    return [row.clean for row in TASK.rows], [row.corrupted for row in TASK.rows]


@pytest.fixture(scope="module")
def brute():
    made = {}
    return lambda family: made.setdefault(family, Brute(family))


def of_neurons(behaviour, values):
    """Scores [layers, F] of the neurons among those of all units."""
    units = behaviour.units(Level.neurons)
    return units.by_layer(values)[:, behaviour.graph.anatomy.n_heads :]


@pytest.mark.parametrize("family", FAMILIES)
def test_exact_effects_are_those_of_raw_hooks(family, brute):
    behaviour, found = scores(families.boot(family, LAYERS, seed=0), "exact")
    ours, plain = of_neurons(behaviour, found.values), brute(family)
    nothing = torch.zeros(ours.shape, dtype=torch.bool)
    full = plain.without(nothing)
    for layer, neuron in [(0, 0), (0, 17), (1, 3), (1, ours.shape[1] - 1)]:
        cut = nothing.clone()
        cut[layer, neuron] = True
        assert ours[layer, neuron] == pytest.approx(plain.without(cut) - full, abs=1e-10)
    assert behaviour.full().mean() == pytest.approx(full, abs=1e-10)
    _, nodes = scores(behaviour.model, "exact", Level.nodes)
    heads = [nodes.values[w] for w, writer in enumerate(behaviour.graph.writers) if writer.id.startswith("a")]
    assert found.values[behaviour.units(Level.neurons).are_heads] == pytest.approx(np.array(heads), abs=1e-10)


@pytest.mark.parametrize("family", FAMILIES)
def test_estimates_are_gradients_at_what_the_output_projection_reads(family, brute):
    model, plain, rows = families.boot(family, LAYERS, seed=0), brute(family), range(len(TASK.rows))
    behaviour, found = scores(model, "eap")
    expected = plain.estimate([plain.gradient(place) for place in rows])
    assert of_neurons(behaviour, found.values) == pytest.approx(expected, abs=1e-10)

    behaviour, found = scores(model, "eap-ig-inputs")
    expected = plain.estimate([_along_inputs(plain, place) for place in rows])
    assert of_neurons(behaviour, found.values) == pytest.approx(expected, abs=1e-10)

    behaviour, found = scores(model, "eap-ig-activations")
    expected = plain.estimate([_along_activations(plain, place) for place in rows])
    assert of_neurons(behaviour, found.values) == pytest.approx(expected, abs=1e-10)


def _along_inputs(plain: Brute, place: int) -> torch.Tensor:
    row, total = TASK.rows[place], 0.0
    clean, corrupted = plain.embedded(row.clean), plain.embedded(row.corrupted)
    for k in range(STEPS):
        total = total + plain.gradient(place, embedded=k / STEPS * clean + (1 - k / STEPS) * corrupted) / STEPS
    return total


def _along_activations(plain: Brute, place: int) -> torch.Tensor:
    clean, corrupted = plain.clean[place], plain.corrupted[place]
    total = torch.zeros_like(clean)
    for layer in range(LAYERS):
        for k in range(STEPS):
            mixed = k / STEPS * clean[layer] + (1 - k / STEPS) * corrupted[layer]
            total[layer] += plain.gradient(place, {layer: mixed})[layer] / STEPS
    return total


@pytest.mark.parametrize("method", ["eap", "relp", "eap-ig-inputs", "eap-ig-activations", "clean-corrupted"])
@pytest.mark.parametrize("family", ["gpt2", "qwen3"])
def test_the_neurons_of_an_mlp_add_up_to_its_edges(family, method):
    """The output projection is linear, and its bias does not change; heads are those of edges as well."""
    model = families.boot(family, LAYERS, seed=0)
    behaviour, found = scores(model, method)
    _, edges = scores(model, method, Level.edges)
    writers, _ = behaviour.graph.ends
    components, units = np.bincount(writers, weights=edges.values), behaviour.units(Level.neurons)
    for w, writer in enumerate(behaviour.graph.writers[1:], 1):
        own = [units.always + i for i, name in enumerate(units.names()) if name.split(".n")[0] == writer.id]
        assert found.values[own].sum() == pytest.approx(components[w], abs=1e-10)


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_relp_is_relevance_at_what_the_output_projection_reads(family):
    model = families.boot(family, LAYERS, seed=0)
    behaviour, found = scores(model, "relp")

    class Added(SlotInputs):
        def __init__(self):
            self.leaves = []

        def write(self, index, block):
            self.leaves.append(torch.zeros_like(block, requires_grad=True))
            return block + self.leaves[-1]

    total = 0.0
    for batch in behaviour.batches:
        added, executor = Added(), Executor(relevance(model.components), behaviour.graph)
        with torch.enable_grad():
            trace = executor.run(batch.tokens, batch.positions, added)
            behaviour.metric.per_row(trace.logits, batch.answers).sum().backward()
        clean, ablated = behaviour.hidden(batch), behaviour.hidden(batch, corrupted=True)
        for layer, weights in enumerate(model.components.weights.layers):
            gradient = added.leaves[2 + 2 * layer].grad[0]
            if weights.mlp_post is not None:
                gradient = gradient * weights.mlp_post.scale(weights.mlp.out(clean[layer]))
            product = (ablated[layer] - clean[layer]) * (gradient @ weights.mlp.out.weight.T)
            total = total + torch.nn.functional.pad(product.sum((0, 1))[None], (0, 0, layer, LAYERS - 1 - layer))
    assert of_neurons(behaviour, found.values) == pytest.approx(total.numpy() / len(TASK.rows), abs=1e-10)


@pytest.mark.parametrize("ablation", ["resample", "zero", "mean", "mean-positional"])
@pytest.mark.parametrize("family", ["gpt2", "gemma3"])
def test_an_mlp_without_its_neurons_is_one_ablated_but_for_its_bias_and_its_norm(family, ablation):
    model = families.boot(family, LAYERS, seed=0)
    settings = DiscoverySettings(metric="logit_diff", ablation=ablation, level=Level.neurons)
    behaviour = bind(model, TASK, settings, range(len(TASK.rows)))
    units, graph = behaviour.units(Level.neurons), behaviour.graph
    cut = np.zeros((2, *units.by_layer(np.zeros(units.shape)).shape), dtype=bool)
    cut[0, 1, graph.anatomy.n_heads :] = True
    found = behaviour.measure(NeuronMask(cut))[0]
    assert found[1] == pytest.approx(behaviour.full(), abs=1e-12)
    whole = np.zeros((1, len(graph.writers), graph.anatomy.d_model), dtype=bool)
    whole[:, -1] = True  # the last MLP
    same = found[0] == pytest.approx(behaviour.measure(CoordinateMask(whole))[0, 0], abs=1e-10)
    biased = family == "gpt2" and ablation == "zero"
    normed = family == "gemma3" and ablation.startswith("mean")
    assert same != (biased or normed)
