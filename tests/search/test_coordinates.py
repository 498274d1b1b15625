"""Single coordinates of what components write, against loops over the bridge and against autograd."""

import json
import shutil
from pathlib import Path

import families
import numpy as np
import pytest
import torch
from noise import noise

from acdc.artefacts.circuit import Circuit
from acdc.errors import InputError
from acdc.graph import Coordinate, WriterKind
from acdc.graph.masks import CoordinateMask
from acdc.options import Level
from acdc.progress import silent
from acdc.search.discover import bind, discover
from acdc.search.registry import METHODS
from acdc.search.settings import DiscoverySettings
from acdc.verification.verify import verify

ROWS = tuple(range(6))
COORDINATES = DiscoverySettings(metric="logit_diff", level=Level.coordinates)


def scores(model, task, method, rows=ROWS, **options):
    settings = DiscoverySettings(method=METHODS[method], metric="logit_diff", level=Level.coordinates, **options)
    behaviour = bind(model, task, settings, rows)
    return behaviour, METHODS[method].run(behaviour, settings.search_options, silent)


def by_bridge(model, behaviour, removed):
    """Mean logit difference when coordinates [writers, d] of what components write are those of the corrupted run,
    written into the bridge's residual stream layer by layer."""
    graph, values = behaviour.graph, []
    for row in behaviour.rows:
        clean, corrupted = (torch.tensor([tokens]) for tokens in (row.clean, row.corrupted))
        _, other = model.bridge.run_with_cache(corrupted)
        hooks = []
        for index, writer in enumerate(graph.writers):
            cut = torch.from_numpy(removed[index])
            if cut.any():
                hooks.append(_hook(model, writer, cut, other))
        logits = model.bridge.run_with_hooks(clean, fwd_hooks=hooks)[0, row.answer_position]
        values.append(logits[list(row.correct)].mean() - logits[list(row.incorrect)].mean())
    return torch.stack(values).mean().item()


def _hook(model, writer, cut, other):
    """Exchange coordinates of an MLP's output, or what a head adds of them to its layer's."""
    if writer.kind is WriterKind.MLP:
        name = f"blocks.{writer.layer}.hook_mlp_out"
        return name, lambda value, hook: torch.where(cut, other[name], value)
    z, weight = f"blocks.{writer.layer}.attn.hook_z", model.bridge.blocks[writer.layer].attn.W_O[writer.head]

    def exchange(value, hook):
        now = seen["z"][:, :, writer.head] @ weight
        return value + cut * (other[z][:, :, writer.head] @ weight - now)

    seen = {}
    model.bridge.blocks[writer.layer].attn.hook_z.add_hook(lambda value, hook: seen.__setitem__("z", value))
    return f"blocks.{writer.layer}.hook_attn_out", exchange


def test_an_exact_score_is_what_the_bridge_gives(trio, induction):
    behaviour, found = scores(trio, induction, "exact", rows=ROWS[:3])
    graph, full = behaviour.graph, behaviour.full().mean()
    drawn = np.random.default_rng(0)
    for index in drawn.choice(np.arange(1, len(graph.writers)), 8, replace=False):
        coordinate = drawn.integers(trio.anatomy.d_model)
        removed = np.zeros(found.values.shape, dtype=bool)
        removed[index, coordinate] = True
        try:
            effect = by_bridge(trio, behaviour, removed) - full
        finally:
            trio.bridge.reset_hooks()
        assert found.values[index, coordinate] == pytest.approx(effect, abs=1e-9)


@pytest.mark.parametrize("method", ["eap", "eap-ig-inputs", "eap-ig-activations", "clean-corrupted"])
def test_the_coordinates_of_a_node_add_up_to_it(trio, induction, method):
    settings = DiscoverySettings(method=METHODS[method], metric="logit_diff", level=Level.nodes)
    behaviour, found = scores(trio, induction, method)
    edges = METHODS[method].run(behaviour, settings.search_options, silent).values
    writers, _ = behaviour.graph.ends
    nodes = np.bincount(writers, weights=edges)
    assert np.abs(found.values.sum(1) - nodes).max() < 1e-10 * np.abs(nodes).max()
    assert np.abs(found.values[-1]).max() > 0


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2", "gpt-neox-parallel", "native-attention-only"])
def test_eap_is_the_gradient_at_what_a_component_writes(family):
    model, task = families.boot(family, layers=2, seed=0), noise()
    behaviour, found = scores(model, task, "eap", rows=range(len(task.rows)))
    assert found.values == pytest.approx(_by_autograd(behaviour), abs=1e-10)


def _by_autograd(behaviour):
    from acdc.execution.executor import SlotInputs

    class Added(SlotInputs):
        """Adds leaves of zeros to what is written."""

        def __init__(self):
            self.leaves = []

        def write(self, index, block):
            self.leaves.append(torch.zeros_like(block).requires_grad_())
            return block + self.leaves[-1]

    total = 0.0
    for batch in behaviour.batches:
        added = Added()
        with torch.enable_grad():
            trace = behaviour.executor.run(batch.tokens, batch.positions, added)
            behaviour.metric.per_row(trace.logits, batch.answers).sum().backward()
        gradient = torch.cat([leaf.grad for leaf in added.leaves])
        total = total + (gradient * behaviour.change(batch)).sum((1, 2)).numpy()
    return total / len(behaviour.rows)


@pytest.mark.parametrize("ablation", ["resample", "zero", "mean"])
def test_all_coordinates_are_the_model_and_a_circuit_is_what_the_bridge_gives(trio, induction, ablation):
    behaviour = bind(trio, induction, DiscoverySettings(metric="logit_diff", ablation=ablation), ROWS[:3])
    shape = len(behaviour.graph.writers), trio.anatomy.d_model
    removed = np.random.default_rng(1).random((3, *shape)) < 0.5
    removed[:, 0] = False
    removed[0] = False
    removed[1, :10] = False
    found = behaviour.measure(CoordinateMask(removed))[0]
    assert found[0] == pytest.approx(behaviour.full(), abs=1e-12)
    if ablation == "resample":
        for one, values in zip(removed[1:], found[1:], strict=True):
            try:
                assert values.mean() == pytest.approx(by_bridge(trio, behaviour, one), abs=1e-9)
            finally:
                trio.bridge.reset_hooks()


def test_a_circuit_of_coordinates_is_chosen_saved_and_verified(trio, induction, tmp_path):
    result = discover(
        trio, induction, DiscoverySettings(method=METHODS["eap"], level=Level.coordinates, faithfulness=0.8)
    )
    circuit = result.circuit
    assert 0 < len(circuit.coordinates) < 17 * 64
    assert len(result.scores) == (len(circuit.graph.writers) - 1) * trio.anatomy.d_model
    strongest = max(result.scores, key=lambda name: abs(result.scores[name]))
    assert strongest in {coordinate.id for coordinate in circuit.coordinates}
    circuit.save(tmp_path / "circuit.json")
    assert Circuit.load(tmp_path / "circuit.json") == circuit
    report = verify(trio, induction, circuit)
    assert report.faithfulness > 0.6
    assert [removal.id for removal in report.removals] == [node.id for node in circuit.nodes]
    assert max(report.random.faithfulness) < report.faithfulness

    record = json.loads((tmp_path / "circuit.json").read_text())
    one = record["nodes"][0]["id"]
    for damage in (
        {"nodes": record["nodes"][1:]},
        {"coordinates": [entry for entry in record["coordinates"] if not entry["id"].startswith(f"{one}.")]},
        {"coordinates": [*record["coordinates"], {"id": "m9.n1", "score": 0.0}]},
        {"coordinates": [*record["coordinates"], record["coordinates"][0]]},
        {"coordinates": [record["coordinates"][0] | {"score": 7.0}, *record["coordinates"][1:]]},
        {"level": "nodes"},
    ):
        (tmp_path / "circuit.json").write_text(json.dumps(record | damage))
        with pytest.raises(InputError, match="damaged"):
            Circuit.load(tmp_path / "circuit.json")


@pytest.mark.parametrize(
    "text", ["input.n3", "a1.h2", "a1.h2.n", "a1.h2.n-1", "m3.nx", "m3.n07", "m3.n" + "9" * 5000, "m\u0663.n1", ""]
)
def test_what_is_no_coordinate_is_refused(text):
    with pytest.raises(InputError, match="coordinate id"):
        Coordinate.parse(text)


def test_the_command_line_finds_resumes_and_shows_coordinates(acdc, tmp_path):
    words = ["discover", "--task", "induction", "--method", "eap", "--level", "coordinates", "--threshold", "0.05"]
    first = acdc(*words, "--out", "run")
    assert first.code == 0 and "coordinates, in" in first.out
    circuit = (tmp_path / "run/circuit.json").read_bytes()
    assert acdc(*words, "--out", "run").code == 0
    assert acdc(*words, "--out", "other").code == 0
    assert (tmp_path / "other/circuit.json").read_bytes() == circuit
    assert acdc("show", "run").out
    assert acdc("plan", *words[1:]).code == 0
    assert "coordinates" in json.loads((tmp_path / "run/scores.json").read_text())


@pytest.mark.parametrize(
    "words", [["--method", "acdc"], ["--method", "eap", "--direct-edges"], ["--method", "eap", "--choose", "greedy"]]
)
def test_what_coordinates_do_not_go_with_is_refused(acdc, words):
    refused = acdc("discover", "--task", "induction", "--level", "coordinates", *words)
    assert refused.code == 2 and "works only with" in refused.err


OLD_RUN = Path(__file__).parent.parent / "artefacts/version1_neurons"  # written when coordinates were called neurons


def test_a_circuit_under_the_former_name_is_read(tmp_path):
    old = json.loads((OLD_RUN / "circuit.json").read_text())
    circuit = Circuit.load(OLD_RUN)
    assert circuit.level is Level.coordinates
    assert [entry.id for entry in circuit.coordinates] == [entry["id"] for entry in old["neurons"]] != []
    circuit.save(tmp_path / "circuit.json")
    old["task"]["duplicates"] = old["task"].pop("twins")
    assert json.loads((tmp_path / "circuit.json").read_text()) == {
        "coordinates" if key == "neurons" else key: "coordinates" if key == "level" else value
        for key, value in old.items()
    }


def test_a_run_under_the_former_name_goes_on_under_the_new_one(acdc, tmp_path, monkeypatch):
    monkeypatch.setattr("acdc.search.records.PRODUCTS", "onednn")  # by which the run was made
    shutil.copytree(OLD_RUN, tmp_path / "run")
    words = ["--task", "induction", "--method", "eap", "--threshold", "0.35", "--limit", "8", "--verify", "quick"]
    done = acdc("discover", *words, "--level", "coordinates", "--out", "run")
    assert done.code == 0 and "3 of 1,280 coordinates" in done.out
    assert (tmp_path / "run/circuit.json").read_bytes() == (OLD_RUN / "circuit.json").read_bytes()
    assert "coordinates" in acdc("show", "run").out
