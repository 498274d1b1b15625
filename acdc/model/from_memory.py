"""Models that a caller holds: they are written to a folder as any other model is, and loaded and checked from there."""

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from acdc.errors import InputError, first_line
from acdc.files import write_bytes, write_text
from acdc.model.check import TOLERANCE, probe_tokens
from acdc.model.load import DTYPES, Model, load_model
from acdc.model.sources import NATIVE

_HOW = "give a name or a folder, a model of transformers, or a TransformerBridge of TransformerLens 4"


def save_model(model: Any, folder: str | Path, tokenizer: Any = None) -> None:
    """Write a model of transformers, or a TransformerBridge, with its tokenizer into a folder that acdc loads.

    Raises InputError for anything else, for a bridge whose weights were changed into another form, and where the folder
    holds a model already.
    """
    path, (inner, own) = Path(folder), _parts(model)
    if (path / "config.json").exists():
        raise InputError(f"{path} holds a model already: name another folder")
    path.mkdir(parents=True, exist_ok=True)
    if hasattr(inner, "save_pretrained"):
        inner.save_pretrained(path, safe_serialization=True)
    else:
        write_text(path / "config.json", json.dumps(_native_config(model.cfg), indent=1, sort_keys=True) + "\n")
        state = {name: one.detach().cpu().contiguous().clone() for name, one in model.state_dict().items()}
        write_bytes(path / "model.safetensors", save(state))
    chosen = own if tokenizer is None else tokenizer
    if chosen is not None and hasattr(chosen, "save_pretrained"):
        chosen.save_pretrained(path)


def load_from_memory(model: Any, device: str, dtype: str, tokenizer: Any = None) -> Model:
    """The same as `load_model` of a folder. Raises InputError as that and `save_model` do, and where what was loaded
    does not say what the model itself says."""
    if dtype not in DTYPES:
        raise InputError(f"dtype {dtype!r} is not one of {', '.join(DTYPES)}")
    inner, _ = _parts(model)
    name = str(getattr(model, "name_or_path", "") or getattr(getattr(model, "cfg", None), "model_name", "") or "mine")
    with tempfile.TemporaryDirectory(prefix="acdc-") as parent:
        folder = Path(parent) / (Path(name).name or "mine")
        try:
            save_model(model, folder, tokenizer)
        except InputError:
            raise
        except Exception as error:  # a model can be unfit to be written in many ways
            raise InputError(f"the {type(model).__name__} cannot be written: {first_line(error)}; {_HOW}") from None
        found = load_model(str(folder), device=device, dtype=dtype)
    _check_same(model, inner, found)
    return found


def _parts(model: Any) -> tuple[Any, Any]:
    """(what holds the weights, the tokenizer or None). Raises InputError for what acdc cannot write."""
    if hasattr(model, "save_pretrained") and hasattr(model, "config"):
        return model, None
    inner = getattr(model, "original_model", None)
    native = getattr(getattr(model, "cfg", None), "architecture", None) == NATIVE
    if inner is None or not (native or hasattr(inner, "save_pretrained")):
        raise InputError(f"a model cannot be loaded from a {type(model).__name__}: {_HOW}")
    return inner, getattr(model, "tokenizer", None)


def _native_config(cfg: Any) -> dict[str, Any]:
    """What a native bridge is built from, without what depends on the machine."""
    plain = {name: getattr(value, "item", lambda value=value: value)() for name, value in cfg.to_dict().items()}
    kept = {name: value for name, value in plain.items() if isinstance(value, bool | int | float | str | list | None)}
    return {name: value for name, value in kept.items() if name not in ("device", "dtype", "n_devices")}


@torch.no_grad()
def _check_same(model: Any, inner: Any, found: Model) -> None:
    """Raises InputError where the two do not say the same on random prompts: a bridge may compute with folded weights,
    or have hooks that change it."""
    tokens, training = probe_tokens(found.anatomy), inner.training
    inner.eval()
    try:
        theirs = _logits(model(tokens.to(next(inner.parameters()).device)))
    finally:
        inner.train(training)
    ours = found.bridge(tokens.to(found.device)).to(theirs)
    allowed = max(TOLERANCE[found.dtype], TOLERANCE.get(next(inner.parameters()).dtype, 0.0)) * theirs.abs().max()
    if (by := (ours - theirs).abs().max()) > allowed:
        raise InputError(
            f"the {type(model).__name__} gives other logits than its own weights do, by up to {by:.2g}: load it "
            "without hooks and without compatibility mode"
        )


def _logits(out: Any) -> Tensor:
    return getattr(out, "logits", out)
