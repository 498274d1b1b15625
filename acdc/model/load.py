"""Load a model into a TransformerBridge, read its weights, and check the executor against the bridge."""

import contextlib
import logging
import math
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from acdc.artefacts.quantisation import Quantisation
from acdc.errors import AcdcWarning, InputError, first_line
from acdc.execution.components import Components
from acdc.execution.executor import Executor
from acdc.graph import Anatomy, ComponentGraph
from acdc.model.adapter import merge_adapter, without_adapter
from acdc.model.bridge_builder import build_bridge, describe_bridge
from acdc.model.check import Disagreement, first_disagreement
from acdc.model.config_bounds import check_parameters, check_sizes
from acdc.model.functional import FunctionalComponents
from acdc.model.gguf_weights import load_gguf_model, slow_down
from acdc.model.neurons import mlp_width
from acdc.model.placed import placed
from acdc.model.placement import Placement, choose_devices, device_map, module_paths, place, settle
from acdc.model.replay import ReplayComponents
from acdc.model.sources import NATIVE, Source, find_source
from acdc.model.tokenizer import load_tokenizer
from acdc.model.unsupported import check_options
from acdc.model.weight_files import check_weights
from acdc.model.weight_store import WeightStore, model_around, weights_of
from acdc.model.weights import read_weights
from acdc.progress import loading

if TYPE_CHECKING:
    from transformer_lens.config import TransformerBridgeConfig
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

DTYPES = {
    "float64": torch.float64,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
Devices = tuple[torch.device, ...]
_LOCAL = {"local_files_only": True, "trust_remote_code": False}
# Configuration fields that TransformerLens accepts for a native model but does not act on.
_NATIVE_UNSUPPORTED = ("parallel_attn_mlp", "use_local_attn", "use_qk_norm", "scale_attn_by_inverse_layer_idx")


@dataclass(frozen=True)
class Held:
    """A store of weights, and the hash of a model's files, by which its own are found there."""

    store: WeightStore
    digest: Callable[[], str]


@dataclass(frozen=True)
class Model:
    """A loaded transformer: the bridge (the judge), its components for the executor, its anatomy and its tokenizer.

    `device` is where all that is computed is kept; `placement` says where the weights are, None where they are there.
    `quantisation`: how a GGUF file stores them, None for weights of another file. `planned_for`: the kind of a device
    that is not here, for which a model without weights is planned, and `planned_memory` the bytes that it has; None for
    one that is.
    """

    name: str
    family: str
    revision: str | None
    content_hash: str
    dtype_name: str
    device: torch.device
    bridge: "TransformerBridge"
    components: Components
    anatomy: Anatomy
    tokenizer: "PreTrainedTokenizerBase | None"
    placement: Placement | None = None
    quantisation: Quantisation | None = None
    planned_for: str | None = None
    planned_memory: int | None = None

    @property
    def device_kind(self) -> str:
        """`cpu` or `cuda`, by which batches are cut."""
        return self.planned_for or self.device.type

    def __repr__(self) -> str:
        shape = self.anatomy
        size = f"{shape.n_layers} layers of {shape.n_heads} heads, width {shape.d_model}"
        return f"<Model: {self.name} ({self.family}), {size}, {self.dtype_name} on {self.where}>"

    @property
    def where(self) -> str:
        """The devices that hold its weights, as `--device` takes them."""
        return str(self.device) if self.placement is None else ",".join(map(str, self.placement.devices))

    @property
    def dtype(self) -> torch.dtype:
        return DTYPES[self.dtype_name]

    @cached_property
    def mlp_width(self) -> int:
        """How many hidden neurons each MLP has. Raises InputError as `acdc.model.neurons.mlp_width` does."""
        return mlp_width(self.components)

    @cached_property
    def graph(self) -> ComponentGraph:
        return ComponentGraph(self.anatomy)

    def executor(self, split_embeddings: bool = False, direct_edges: bool = False) -> Executor:
        """An executor of this model's components, with one embedding writer or two, and within-head edges removable or
        not."""
        usual = not (split_embeddings or direct_edges)
        graph = self.graph if usual else ComponentGraph(self.anatomy, split_embeddings, direct_edges)
        return Executor(self.components, graph)


def load_model(
    name: str,
    *,
    revision: str | None = None,
    device: str = "auto",
    dtype: str = "float32",
    store: WeightStore | None = None,
) -> Model:
    """Load a model by its name, path or hub name; its layers spread over `device` if that names several. `store` has
    the weights of Hugging Face models for several processes.

    Raises InputError when it cannot be found or read, its family is not supported, or its components do not reproduce
    the bridge on a probe batch.
    """
    if dtype not in DTYPES:
        raise InputError(f"dtype {dtype!r} is not one of {', '.join(DTYPES)}")
    with loading(f"loading {name}") as say:
        source, devices = find_source(name, revision), choose_devices(device)
        stored = f", {source.quantisation}" if source.quantisation else ""
        say(f"loading {source.name}: {source.size / 2**20:,.1f} MiB{stored}")
        digest = cache(source.content_hash)
        with quiet():
            if source.architecture == NATIVE:
                bridge, placement = _load_native(source, devices, DTYPES[dtype])
            else:
                held = None if store is None else Held(store, digest)
                bridge, placement = _load_hugging_face(source, devices, DTYPES[dtype], held)
            bridge.original_model.requires_grad_(False).eval()
            tokenizer = None if source.architecture == NATIVE else load_tokenizer(source)
        parameters = sum(parameter.numel() for parameter in bridge.original_model.parameters())
        say(f"checking {source.name}: {parameters:,} parameters{stored}")
        anatomy = read_anatomy(bridge)
        graph = ComponentGraph(anatomy)
        return Model(
            name=source.name,
            family=source.family,
            revision=source.revision,
            content_hash=digest(),
            dtype_name=dtype,
            device=devices[0],
            bridge=bridge,
            components=choose_components(bridge, anatomy, graph, source.name, source.family, placement),
            anatomy=anatomy,
            tokenizer=tokenizer,
            placement=placement,
            quantisation=source.quantisation,
        )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Loading prints progress bars and advice of the libraries that do it; a user asked for neither. Our own warnings
    are shown."""
    from transformers.utils import logging as hf_logging

    previous, bars = logging.root.manager.disable, hf_logging.is_progress_bar_enabled()
    logging.disable(logging.WARNING)
    hf_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", AcdcWarning)
            yield
    finally:
        logging.disable(previous)
        if bars:
            hf_logging.enable_progress_bar()


def hugging_face_config(source: Source) -> "PretrainedConfig":
    """A model's configuration. Raises InputError where a folder's means another architecture than it names."""
    from transformers import AutoConfig, AutoModelForCausalLM

    if source.gguf:
        config = AutoConfig.for_model(**source.config)
    else:
        config = AutoConfig.from_pretrained(source.folder, **_LOCAL)
    check_sizes(vars(config), source.config_file)
    config.use_cache = False  # prompts are run whole
    built: Any = AutoModelForCausalLM._model_mapping[type(config)]  # a class, though annotated as a pair of them
    if built.__name__ != source.architecture:
        raise InputError(f"{source.config_file}: model_type means {built.__name__}, not {source.architecture}")
    check_options(config, source.config_file)
    return config


def bridge_to(
    model: "PreTrainedModel",
    architecture: str,
    dtype: torch.dtype,
    device: torch.device,
    placement: Placement | None = None,
) -> "TransformerBridge":
    """The bridge over a Hugging Face model, which is on one device or placed on several."""
    from accelerate.hooks import remove_hook_from_module

    if hasattr(model.config, "num_local_experts"):
        model.set_experts_implementation("eager")  # the grouped kernels take no float64
    remove_hook_from_module(model, recurse=True)  # loading onto several devices puts some on; `settle` has its own
    bridge = build_bridge(model, architecture, hf_config=model.config, dtype=dtype, device=device)
    settle(bridge, placement)
    return bridge


def hugging_face_paths(config: "PretrainedConfig", architecture: str, dtype: torch.dtype) -> dict[str, str]:
    """Names of the modules that a configuration describes by those that the bridge gives them."""
    from transformer_lens.factories.architecture_adapter_factory import ArchitectureAdapterFactory

    described = describe_bridge(config, architecture, dtype)
    return module_paths(ArchitectureAdapterFactory.select_architecture_adapter(described))


def _hugging_face_placement(
    config: "PretrainedConfig", architecture: str, dtype: torch.dtype, devices: Devices
) -> tuple[Placement | None, dict[str, str] | None]:
    """(where the weights go, the same for loading them there); None for one device."""
    from transformers import AutoModelForCausalLM

    if len(devices) == 1:
        return None, None
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    paths = hugging_face_paths(config, architecture, dtype)
    placement = place(model, paths, devices)
    return placement, None if placement is None else device_map(placement, paths)


def _load_hugging_face(
    source: Source, devices: Devices, dtype: torch.dtype, held: Held | None
) -> "tuple[TransformerBridge, Placement | None]":
    """(bridge, where its weights are, None for one device). What goes to several devices is read by each process."""
    try:
        config = hugging_face_config(source)
        placement, where = _hugging_face_placement(config, source.architecture, dtype, devices)
        model: Any
        if held is None or where is not None or not held.store.has_room(_parameters(config, dtype) * dtype.itemsize):
            model = _read_checked(source, config, dtype, where)
        else:
            model = _around_held(source, config, dtype, held)
        if placement is None:
            model.to(devices[0])
        return bridge_to(model, source.architecture, dtype, devices[0], placement), placement
    except (InputError, MemoryError, torch.OutOfMemoryError):
        raise
    except SafetensorError as error:
        raise InputError(f"weights in {source.folder} are damaged: {error}") from None
    except Exception as error:  # a configuration can be wrong in more ways than transformers has exceptions for
        raise InputError(f"model {source.place} cannot be loaded: {first_line(error)}") from None


def _read_checked(
    source: Source, config: "PretrainedConfig", dtype: torch.dtype, where: dict[str, str] | None
) -> "PreTrainedModel":
    """The model from its files. Raises InputError for weights that are missing or not finite."""
    model, report = _read_weights(source, config, dtype, where)
    _check_complete(source, report, model.config.num_hidden_layers)
    _check_finite(model.named_parameters(), source, dtype)
    return model


def _around_held(source: Source, config: "PretrainedConfig", dtype: torch.dtype, held: Held) -> "PreTrainedModel":
    """The model with weights that others hold too, read from its files where they are not there yet."""
    key = f"{held.digest()} {dtype}"
    weights = held.store.of(key, lambda: weights_of(_read_checked(source, config, dtype, None)))
    model, report = model_around(weights, config, dtype, None)
    _check_complete(source, report, model.config.num_hidden_layers)
    if source.gguf:
        slow_down(model, source.gguf)
    return model


def _read_weights(
    source: Source, config: "PretrainedConfig", dtype: torch.dtype, where: dict[str, str] | None
) -> tuple[Any, dict]:
    """(the model on the devices `where`, transformers' report of what was missing)."""
    if source.gguf:
        return load_gguf_model(source.gguf, config, dtype, where)
    _check_size(source, config, dtype)
    if source.adapter is None:
        return _from_folder(source.folder, config, dtype, where)
    with without_adapter(source.folder) as base:
        model, report = _from_folder(base, config, dtype, where)
    _check_complete(source, report, config.num_hidden_layers)
    warnings.warn(f"the LoRA adapter in {source.folder} is merged into the weights", AcdcWarning, stacklevel=2)
    return merge_adapter(model, source.folder), report


def _from_folder(
    folder: Path, config: "PretrainedConfig", dtype: torch.dtype, where: dict[str, str] | None
) -> tuple[Any, dict]:
    from transformers import AutoModelForCausalLM

    loaded: Any = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=dtype,
        attn_implementation="eager",
        use_safetensors=True,
        ignore_mismatched_sizes=True,  # reported, and refused below with the tensor's name
        output_loading_info=True,
        config=config,
        device_map=where,
        **_LOCAL,
    )
    return loaded  # with its report, which the annotation of `from_pretrained` knows nothing of


def _check_size(source: Source, config: "PretrainedConfig", dtype: torch.dtype) -> None:
    """Raises InputError for a configuration of far more parameters than there are, which memory may not hold."""
    check_parameters(_parameters(config, dtype), check_weights(source.weight_files), source.config_file)


def _parameters(config: "PretrainedConfig", dtype: torch.dtype) -> int:
    """How many a configuration describes."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    return sum(parameter.numel() for parameter in model.parameters())


def _check_finite(weights: Iterable[tuple[str, torch.Tensor]], source: Source, dtype: torch.dtype) -> None:
    """Raises InputError, naming it, for a weight that holds NaN or infinity, or does once it is of a smaller type."""
    for name, weight in weights:
        if not weight.to(dtype).isfinite().all():
            kind = str(dtype).removeprefix("torch.")
            raise InputError(f"weight {name!r} of {source.place} holds numbers that are not finite in {kind}")


def _check_complete(source: Source, report: dict, n_layers: int) -> None:
    """Raises InputError for parameters that are missing, misshapen, or of layers that the config does not have. Warns
    of those that nothing reads: the configuration may be that of another model."""
    missing = sorted(report["missing_keys"]) or sorted(str(key) for key, *_ in report["mismatched_keys"])
    if missing:
        raise InputError(f"weights in {source.place} lack {missing[0]!r} or have it in another shape")
    for key in sorted(report["unexpected_keys"]):
        if (layer := re.search(r"\.(\d+)\.", key)) and int(layer[1]) >= n_layers:
            raise InputError(f"weights in {source.folder} have {key!r}, but its config.json has {n_layers} layers")
    if unused := sorted(report["unexpected_keys"]):
        others = f" and {len(unused) - 1} others" if unused[1:] else ""
        warnings.warn(
            f"weights in {source.place} have {unused[0]!r}{others}, which {source.architecture} with this "
            "configuration does not use",
            AcdcWarning,
            stacklevel=2,
        )


def native_config(source: Source, device: torch.device, dtype: torch.dtype) -> "TransformerBridgeConfig":
    """A native folder's configuration. Raises InputError where it describes no model that TransformerLens computes."""
    from transformer_lens.config import TransformerBridgeConfig

    path = source.folder / "config.json"
    check_sizes(source.config, path, native=True)
    for key in _NATIVE_UNSUPPORTED:
        if source.config.get(key):
            raise InputError(f"{path}: {key!r} is not implemented by native models")
    try:
        return TransformerBridgeConfig.from_dict({**source.config, "dtype": dtype, "device": str(device)})
    except Exception as error:  # as for Hugging Face models
        raise InputError(f"{path} does not describe a native model: {first_line(error)}") from None


def _load_native(source: Source, devices: Devices, dtype: torch.dtype) -> "tuple[TransformerBridge, Placement | None]":
    """As for Hugging Face models; these are small, so that they are spread once they are loaded."""
    from transformer_lens.model_bridge.sources import boot_native
    from transformer_lens.utilities.tl_checkpoint_conversion import convert_tl_checkpoint

    config = native_config(source, devices[0], dtype)
    try:
        bridge = boot_native(config, device=devices[0], dtype=dtype)
    except Exception as error:  # as for Hugging Face models
        raise InputError(
            f"{source.folder / 'config.json'} does not describe a native model: {first_line(error)}"
        ) from None
    try:
        parameters = load_file(source.folder / "model.safetensors")
        _check_finite(parameters.items(), source, dtype)
        if not config.use_attn_scale:
            # TransformerLens divides by sqrt(d_head) all the same; undo that here.
            for key in parameters:
                if key.endswith(("attn.W_Q", "attn.b_Q")):
                    parameters[key] = parameters[key] * math.sqrt(config.d_head)
        of_bridge = "embed.weight" in parameters  # the names of a bridge's own state, not those of older checkpoints
        loaded = parameters if of_bridge else convert_tl_checkpoint(parameters, bridge.cfg)
        _load_strictly(bridge, loaded, source)
    except SafetensorError as error:
        raise InputError(f"weights in {source.folder} are damaged: {error}") from None
    except (ValueError, RuntimeError, OSError) as error:
        raise InputError(f"weights in {source.folder} do not fit its config.json: {first_line(error)}") from None
    placement = place(bridge.original_model, module_paths(bridge.adapter), devices)
    settle(bridge, placement)
    return bridge, placement


def _load_strictly(bridge: "TransformerBridge", parameters: dict[str, torch.Tensor], source: Source) -> None:
    """Load a native state dict; biases that the file leaves out are zero, anything else missing is an error."""
    expected = bridge.state_dict()
    for key, value in expected.items():
        if key not in parameters and key.endswith("bias"):
            parameters[key] = torch.zeros_like(value)
    missing = sorted(set(expected) - set(parameters))
    if missing:
        raise InputError(f"weights in {source.folder} lack {missing[0]!r}")
    bridge.load_state_dict(parameters, strict=True)


def read_anatomy(bridge: "TransformerBridge") -> Anatomy:
    """The shape of a bridge's transformer."""
    cfg = bridge.cfg
    return Anatomy(
        n_layers=cfg.n_layers,
        n_heads=cfg.n_heads,
        n_kv_heads=cfg.n_key_value_heads or cfg.n_heads,
        d_model=cfg.d_model,
        d_head=cfg.d_head,
        d_vocab=cfg.d_vocab,
        d_vocab_out=cfg.d_vocab_out if cfg.d_vocab_out > 0 else cfg.d_vocab,
        n_ctx=cfg.n_ctx,
        attn_only=bool(cfg.attn_only),
        parallel=bool(cfg.parallel_attn_mlp),
        post_norms=hasattr(bridge.blocks[0], "ln1_post"),
        bidirectional=getattr(cfg, "attention_dir", "causal") == "bidirectional"
        or bool(getattr(getattr(bridge.original_model, "config", None), "use_bidirectional_attention", False)),
        learned_positions=cfg.positional_embedding_type == "standard",
    )


def choose_components(
    bridge: "TransformerBridge",
    anatomy: Anatomy,
    graph: ComponentGraph,
    name: str,
    family: str,
    placement: Placement | None = None,
) -> Components:
    """Components that reproduce the bridge at every destination: from weights, or with a warning by its own modules.

    Raises InputError where neither does.
    """
    wrong: Disagreement | InputError | None
    try:
        functional = placed(FunctionalComponents(read_weights(bridge), anatomy), placement)
        wrong = first_disagreement(functional, graph, bridge)
        if wrong is None:
            return functional
    except InputError as error:
        wrong = error
    replay = placed(ReplayComponents(bridge, anatomy), placement)
    if still := first_disagreement(replay, graph, bridge):
        raise InputError(
            f"model {name!r} ({family}) uses something that acdc does not reproduce: {still}; please report its "
            "config.json"
        )
    warnings.warn(
        f"model {name!r} ({family}) is run by its own modules, which is slow: computed from its weights, {wrong}",
        AcdcWarning,
        stacklevel=3,
    )
    return replay
