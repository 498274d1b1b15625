"""Heads and hidden neurons as units, against raw hooks on plain Hugging Face models and against autograd there."""

import json
from contextlib import ExitStack, contextmanager

import families
import numpy as np
import pytest
import torch
from brute_force import float64_throughout
from conftest import thorough_but
from noise import noise
from plain_hooks import PLACES, Plain

from acdc.artefacts.circuit import Circuit
from acdc.errors import AcdcWarning, InputError
from acdc.execution.executor import Executor, SlotInputs
from acdc.graph.masks import CoordinateMask, NeuronMask
from acdc.model.relevance import relevance
from acdc.options import Level
from acdc.progress import silent
from acdc.search.discover import bind, discover
from acdc.search.registry import METHODS
from acdc.search.settings import DiscoverySettings
from acdc.verification.verify import verify

LAYERS, STEPS = 2, 5
TASK = noise(3)
FAMILIES = thorough_but(["gpt2", "llama", "gemma2", "gpt-neox-parallel"], PLACES)


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


def test_acdc_decides_as_the_naive_algorithm_would():
    """Latest first, each removed for good where the objective rises by less than the threshold."""
    model, threshold = families.boot("llama", LAYERS, seed=0), 0.05
    behaviour, found = scores(model, "acdc", threshold=threshold)
    units, names = behaviour.units(Level.neurons), [decision.candidate for decision in found.tests]
    layers = [int(name[1 : name.index(".")]) for name in names]
    assert layers == sorted(layers, reverse=True) and sorted(names) == sorted(units.names())
    kept = np.ones(units.shape, dtype=bool)
    current = -behaviour.full().mean()
    for decision in found.tests:
        without = kept & ~units.in_part(decision.candidate)
        value = -behaviour.measure(units.ablated(without))[0, 0].mean()
        assert (decision.before, decision.after) == pytest.approx((current, value), abs=1e-9)
        assert decision.kept == (not value - current < threshold)
        if not decision.kept:
            kept, current = without, value
    assert (found.kept == kept).all() and 0 < kept.sum() < len(kept)


def test_only_the_neurons_that_are_asked_for_are_tested():
    model = families.boot("gpt2", LAYERS, seed=0)
    _, every = scores(model, "exact")
    with pytest.warns(AcdcWarning, match="of 128 neurons the 10 that eap ranks highest are tested"):
        behaviour, some = scores(model, "exact", options={"neurons": 10})
    _, estimated = scores(model, "eap")
    units = behaviour.units(Level.neurons)
    sizes = np.where(units.are_heads, np.inf, np.abs(estimated.values))
    tested = np.argsort(-sizes, kind="stable")[: units.are_heads.sum() + 10]
    assert some.values[tested] == pytest.approx(every.values[tested], abs=1e-12)
    assert np.count_nonzero(some.values) == len(tested)


def test_a_circuit_of_neurons_is_chosen_saved_and_verified(trio, induction, tmp_path):
    settings = DiscoverySettings(method=METHODS["relp"], level=Level.neurons, threshold=0.2, limit=112)
    result = discover(trio, induction, settings)
    circuit = result.circuit
    heads = [unit.id for unit in circuit.neurons if unit.id.startswith("a")]
    assert len(result.scores) == 4 * (4 + 256) and 0 < len(heads) < len(circuit.neurons) < 100
    assert {node.id for node in circuit.nodes} == {unit.id.partition(".n")[0] for unit in circuit.neurons}
    circuit.save(tmp_path / "circuit.json")
    assert Circuit.load(tmp_path / "circuit.json") == circuit
    report = verify(trio, induction, circuit)
    assert [removal.id for removal in report.removals] == [unit.id for unit in circuit.neurons]
    behaviour = bind(
        trio, induction, settings, [r for r, row in enumerate(induction.rows) if row.id in circuit.task.verification]
    )
    alone = behaviour.measure(circuit.units.ablated(circuit.kept))[0, 0].mean()
    assert report.measures["logit_diff"].circuit == pytest.approx(alone, abs=1e-4)
    assert max(report.random.faithfulness) < report.faithfulness

    record = json.loads((tmp_path / "circuit.json").read_text())
    for damage in (
        {"nodes": record["nodes"][1:]},
        {"neurons": record["neurons"][1:]},
        {"neurons": [*record["neurons"], {"id": "m3.n256", "score": 0.0}]},
        {"mlp_width": 8},
        {"level": "nodes"},
    ):
        (tmp_path / "circuit.json").write_text(json.dumps(record | damage))
        with pytest.raises(InputError, match="damaged"):
            Circuit.load(tmp_path / "circuit.json")


def test_the_command_line_finds_resumes_shows_and_compares_neurons(acdc, tmp_path):
    words = ["--task", "induction", "--level", "neurons", "--limit", "8", "--verify", "quick"]
    first = acdc("discover", *words, "--method", "eap", "--threshold", "0.2", "--out", "run")
    assert first.code == 0 and "of 1,040 heads and neurons" in first.out and "head or neuron" in first.out
    again = acdc("discover", *words, "--method", "eap", "--threshold", "0.2", "--out", "run")
    assert again.code == 0 and "already there" in again.out
    acdc_words = ["--method", "acdc", "--neurons", "12", "--threshold", "0.5", "--out", "other"]
    found = acdc("discover", *words, *acdc_words)
    assert found.code == 0 and "224 runs of a prompt" in found.err
    assert len((tmp_path / "other/decisions.jsonl").read_text().splitlines()) == 12 + 16
    assert acdc("diff", "run", "other").out.startswith("what they share")
    assert acdc("show", "run").out and acdc("plan", *words[:-2], "--method", "exact", "--neurons", "10").code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--method", "eap", "--ablation", "optimal"], "works with resample, zero, mean"),
        (["--method", "exact", "--metric", "accuracy"], "--neurons 1024 tests all"),
        (["--method", "hisp"], "works only with"),
        (["--method", "acdc", "--polish"], "--level edges"),
        (["--method", "acdc", "--screen", "0.1"], "over neurons"),
    ],
)
def test_what_neurons_do_not_go_with_is_refused(acdc, words, said):
    refused = acdc("discover", "--task", "induction", "--limit", "4", "--level", "neurons", *words)
    assert refused.code == 2 and said in refused.err
    refused = acdc("discover", "--task", "induction", "--neurons", "5")
    assert refused.code == 2 and "--neurons works only with --level neurons" in refused.err


@pytest.mark.parametrize(("family", "said"), [("mixtral", "mixtures of experts"), ("native-attention-only", "no MLPs")])
def test_models_without_neurons_to_see_are_refused(family, said):
    settings = DiscoverySettings(method=METHODS["eap"], level=Level.neurons, metric="logit_diff")
    with pytest.raises(InputError, match=said):
        discover(families.boot(family, LAYERS, seed=0), TASK, settings)
