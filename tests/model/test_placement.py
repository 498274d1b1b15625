"""Models whose layers are on several devices: checked for devices on fakes of GPUs, and for numbers on one CPU."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate import dispatch_model
from conftest import thorough_but
from fake_devices import devices_checked
from families import (
    ALL,
    EACH,
    HUGGING_FACE,
    MORE,
    NATIVE,
    WITH_EXPERTS,
    boot,
    config_folder,
    random_rows,
    thorough_if_more,
)
from transformers import LlamaForCausalLM

from acdc.behaviour import optimal
from acdc.behaviour.behaviour import Behaviour
from acdc.errors import InputError
from acdc.graph import ComponentGraph
from acdc.model import check as probe
from acdc.model import load, placement
from acdc.model.check import first_disagreement
from acdc.model.functional import FunctionalComponents
from acdc.model.load import Model, hugging_face_paths, load_model, read_anatomy
from acdc.model.placed import PlacedComponents
from acdc.model.placement import Placement, choose_devices, device_map, move, place
from acdc.model.replay import ReplayComponents
from acdc.model.shape import Shape, Unloaded, shape_of
from acdc.model.sources import find_source
from acdc.model.weights import read_weights
from acdc.options import Level
from acdc.planning.search_plan import plan_search
from acdc.progress import silent
from acdc.search.options import IntegralOptions, OrderOptions
from acdc.search.registry import METHODS
from acdc.search.settings import DiscoverySettings
from acdc.task.metrics import METRICS

CPU, GPUS = torch.device("cpu"), tuple(torch.device("cuda", index) for index in range(2))
ROTARY_NATIVE = "native-rotary-gated"  # its layers share their tables
SPLIT = [name for name in (*HUGGING_FACE, *NATIVE) if name != ROTARY_NATIVE]
DIFFERENT = ["gpt2", "gemma2", "llama-biased"]  # tied and learned positions, post-norms and soft caps, grouped
PLACED = [("gpt2", GPUS[:1]), *((name, GPUS) for name in DIFFERENT)]
MISMATCH = "same device|on cuda|indices on"


def fake(name: str, folder, devices=GPUS) -> Model:
    """A family's model on fake devices, half of its layers on each; within `devices_checked`."""
    source = find_source(str(config_folder(name, folder)), None, weights=False)
    return shape_of(Unloaded(source, devices, "float32", None)).model


def behaviour_of(model: Model, ablation: str = "resample", lengths=(7, 5), **more) -> Behaviour:
    return Behaviour(model, random_rows([*lengths]), range(2), METRICS["logit_diff"], ablation, **more)


def run(model: Model, method: str, ablation: str = "resample", threshold: float = 1.0, level: Level = Level.edges):
    kind = METHODS[method].options
    options = kind(threshold=threshold, level=level, **{name: 2 for name in ("steps", "updates") if name in kind.own()})
    lengths = (7, 7) if level is Level.positions else (7, 5)
    return METHODS[method].run(behaviour_of(model, ablation, lengths), options, silent)


@pytest.fixture
def lenient(monkeypatch):
    """Comparisons go on: all numbers that are read from tensors without contents are 1."""
    monkeypatch.setattr(probe, "TOLERANCE", dict.fromkeys(probe.TOLERANCE, 10.0))


@pytest.mark.usefixtures("lenient")
@pytest.mark.parametrize("name", [*thorough_but([*EACH, "llama-biased"], SPLIT), *thorough_if_more([])])
def test_layers_on_two_gpus_in_every_family(name, tmp_path):
    """The bridge, components from weights and by the model's own modules, and gradients."""
    with devices_checked():
        model = fake(name, tmp_path)
        parts = model.placement
        assert parts.layers == GPUS and parts.home == GPUS[0] == model.device and model.where == "cuda:0,cuda:1"
        assert {p.device for p in model.bridge.blocks[1].parameters()} == {GPUS[1]}
        run(model, "eap")
        if name not in (*WITH_EXPERTS, "granite"):  # experts are chosen by contents, and its bridge compares some
            replay = PlacedComponents(ReplayComponents(model.bridge, model.anatomy), parts)
            assert first_disagreement(model.components, model.graph, model.bridge) is None
            assert first_disagreement(replay, model.graph, model.bridge) is None
            if name in DIFFERENT:
                run(replace(model, components=replay), "eap")


@pytest.mark.thorough
@pytest.mark.parametrize(("name", "devices"), thorough_but([("gemma2", GPUS)], PLACED))
@pytest.mark.parametrize("method", METHODS)
def test_every_method_on_gpus(name, devices, method, tmp_path):
    """Decided are all edges once with none kept and once with all."""
    with devices_checked():
        model = fake(name, tmp_path, devices)
        for level in METHODS[method].levels:
            run(model, method, level=level)
            if METHODS[method].decides:
                run(model, method, threshold=-1.0, level=level)


@pytest.mark.parametrize("ablation", thorough_but(["mean", "optimal"], ["zero", "mean", "mean-positional", "optimal"]))
def test_every_ablation_on_two_gpus(ablation, tmp_path, monkeypatch):
    monkeypatch.setattr(optimal, "UPDATES", 2)
    with devices_checked():
        behaviour = behaviour_of(fake("gemma2", tmp_path), ablation)
        behaviour.measure(np.ones((1, behaviour.graph.n_edges), dtype=bool))
        METHODS["eap-ig-inputs"].run(behaviour, IntegralOptions(steps=2), silent)


@pytest.mark.thorough
def test_wires_and_two_embeddings_on_two_gpus(tmp_path):
    with devices_checked():
        behaviour = behaviour_of(fake("gpt2", tmp_path), split_embeddings=True, direct_edges=True)
        for threshold in (-1.0, 1.0):
            METHODS["acdc"].run(behaviour, OrderOptions(threshold=threshold), silent)


MOVED = ["project", "project_back", "attend", "patterns", "mix", "attention_bias", "attention_scale", "mlp", "unembed"]


@pytest.mark.parametrize("forgotten", thorough_but(["project", "attention_scale"], MOVED))
def test_a_forgotten_move_is_found(forgotten, tmp_path, monkeypatch):
    """What proves that the tests above can fail. Gemma has post-norms, Llama biases and an unembedding of its own."""
    name = {"attention_scale": "gemma2"}.get(forgotten, "llama-biased")

    def unmoved(self, *given):
        return getattr(self.inner, forgotten)(*given)

    with devices_checked():
        model = fake(name, tmp_path)
        run(model, "atp-star")
        monkeypatch.setattr(PlacedComponents, forgotten, unmoved)
        with pytest.raises(Exception, match=MISMATCH):
            run(model, "atp-star")


def test_a_bridge_whose_parts_do_not_carry_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(placement, "_carry", lambda device, module, given, named: (given, named))
    with devices_checked():
        model = fake("llama", tmp_path)
        with pytest.raises(Exception, match=MISMATCH):
            first_disagreement(model.components, model.graph, model.bridge)


@pytest.mark.parametrize("name", DIFFERENT)
@pytest.mark.parametrize("method", ["eap-ig-inputs", "atp-star", "relp", "hisp", "exact", "acdc"])
def test_carrying_changes_no_number(name, method):
    """To the last bit, as what is computed on a device is what would be computed at home."""
    model = boot(name, 2, seed=0)
    split = replace(model, components=PlacedComponents(model.components, Placement(CPU, (CPU, CPU), CPU)))
    plain, carried = (run(m, method, threshold=0.1) for m in (model, split))
    assert np.array_equal(plain.values, carried.values)
    assert split.components.work == model.components.work


def test_a_loaded_model_is_the_same_spread(trio, monkeypatch):
    monkeypatch.setattr(load, "choose_devices", lambda name: (CPU, CPU))
    model = load_model("trio", dtype="float64")
    assert isinstance(model.components, PlacedComponents) and model.placement.devices == (CPU,)
    tokens, at = torch.arange(12).view(2, 6), torch.tensor([5, 5])
    ours, plain = (m.executor().run(tokens, at).logits for m in (model, trio))
    assert torch.equal(ours, plain) and torch.equal(model.bridge(tokens), trio.bridge(tokens))


@pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")  # to find tied weights
@pytest.mark.usefixtures("lenient")
def test_a_model_loaded_by_a_map_is_rid_of_its_hooks():
    """Those that Hugging Face puts on every module of a model that it loads onto several devices."""
    config, kind = HUGGING_FACE["llama"]().config, torch.float32
    config.use_cache = False
    with devices_checked():
        with GPUS[0]:
            model = LlamaForCausalLM(config).to(kind)
        paths = hugging_face_paths(config, "LlamaForCausalLM", kind)
        found = place(model, paths, GPUS)
        move(model, found, paths)
        dispatch_model(model, device_map(found, paths))
        bridge = load.bridge_to(model, "LlamaForCausalLM", kind, GPUS[0], found)
        assert not any(hasattr(module, "_hf_hook") for module in bridge.original_model.modules())
        anatomy = read_anatomy(bridge)
        components = PlacedComponents(FunctionalComponents(read_weights(bridge), anatomy), found)
        assert first_disagreement(components, ComponentGraph(anatomy), bridge) is None


@pytest.mark.parametrize("name", [*HUGGING_FACE, *MORE])
def test_every_weight_is_loaded_onto_a_device(name):
    """Once: an unembedding that is the embedding stays with it."""
    model = ALL[name]()
    paths = hugging_face_paths(model.config, type(model).__name__, torch.float32)
    found = place(model, paths, GPUS)
    where = device_map(found, paths)
    for parameter, _ in model.named_parameters():
        assert sum(parameter.startswith(f"{module}.") for module in where) == 1
    tied = model.config.tie_word_embeddings
    assert found.end == GPUS[0 if tied else 1] and where[paths["unembed"]] == ("cuda:0" if tied else "cuda:1")


def test_devices_hold_about_as_many_bytes():
    """Eight equal layers over three devices, the first of which has an embedding as large as two of them too."""
    blocks = torch.nn.ModuleList(torch.nn.Linear(10, 10, bias=False) for _ in range(8))
    model = torch.nn.ModuleDict(
        {"e": torch.nn.Embedding(20, 10), "b": blocks, "n": torch.nn.LayerNorm(10), "u": torch.nn.Linear(10, 4)}
    )
    devices = tuple(torch.device("cuda", index) for index in range(3))
    found = place(model, {"embed": "e", "blocks": "b", "ln_final": "n", "unembed": "u"}, devices)
    assert [found.layers.count(device) for device in devices] == [2, 3, 3]
    assert sorted(found.layers, key=devices.index) == list(found.layers) and found.end == devices[2]


def _shape(model: load.Model) -> Shape:
    return Shape(model, 0, placement.elsewhere(model.bridge, model.device))


def test_a_plan_tells_the_weights_of_each_device(tmp_path):
    wanted = DiscoverySettings(method=METHODS["eap"], limit=2)
    with devices_checked() as tracker:
        model = fake("llama", tmp_path)
        split = plan_search(tracker, _shape(model), random_rows([7, 7]), wanted, 0).memory
    with devices_checked() as tracker:
        whole = plan_search(tracker, _shape(fake("llama", tmp_path, GPUS[:1])), random_rows([7, 7]), wanted, 0).memory
    at_the_end = (*model.bridge.blocks[1].parameters(), *model.bridge.unembed.parameters())
    expected = sum(x.numel() * 4 for x in (*at_the_end, *model.bridge.ln_final.parameters()))
    assert split.elsewhere == {"cuda:1": expected} and split.weights + expected == whole.weights
    assert whole.elsewhere == {} and whole.held == split.held


def test_layers_that_share_a_part_are_refused(tmp_path):
    with devices_checked(), pytest.raises(InputError, match="share tables"):
        fake(ROTARY_NATIVE, tmp_path)


@pytest.mark.parametrize(
    "name", ["cpu,cuda:0", "cuda:0,cuda:0", "cuda:1,cuda:01", "cuda,cuda:1", "auto,cuda:0", "cpu,cpu", "cuda:0,", "tpu"]
)
def test_devices_that_are_none_or_not_different(name):
    with pytest.raises(InputError, match="device '"):
        choose_devices(name)


def test_gpus_that_are_not_there():
    with pytest.raises(InputError, match="'cuda:9998' is not available on this machine"):
        choose_devices("cuda:9998,cuda:9999")
