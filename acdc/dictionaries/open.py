"""Open a dictionary of whatever format it is in; a new format is one more module of `acdc.dictionaries.formats`."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch

from acdc.dictionaries.bundled import find_dictionary
from acdc.dictionaries.dictionary import Dictionary, Features
from acdc.dictionaries.formats import (
    circuit_tracer,
    dictionary_learning,
    gemma_scope,
    llamascopium,
    sae_lens,
    sparsify,
)
from acdc.dictionaries.hooks import Hook
from acdc.dictionaries.tensors import CPU, PICKLES, Opening, TensorFile, refuse_pickle
from acdc.errors import InputError
from acdc.files import open_file

if TYPE_CHECKING:
    from acdc.model.load import Model

# The first that says a folder is its own reads it.
FORMATS: dict[str, ModuleType] = {
    "llamascopium": llamascopium,
    "dictionary_learning": dictionary_learning,
    "gemma-scope": gemma_scope,
    "sae-lens": sae_lens,
    "sparsify": sparsify,
    "circuit-tracer": circuit_tracer,
}
WRITERS: dict[str, ModuleType] = {"circuit-tracer": circuit_tracer, "sae-lens": sae_lens}
_PLACED = ("gemma-scope", "sparsify", "dictionary_learning")  # whose files may not say where features read
_DEEPEST = 4  # folders below the one that is given


def read_dictionary(
    folder: Path,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device = CPU,
    memory: int | None = None,
    hooks: Sequence[Hook] = (),
) -> Dictionary:
    """The dictionary in a folder, which may hold a folder for each set of features; or a bundled one, by its name.

    `memory`: bytes that its tensors may take; what needs more is read by rows. `hooks`: where the features read and
    write (one for an SAE, two for a transcoder), for files that do not say it. Raises InputError for what is in no
    known format, for pickles, and where several sets read the same place.
    """
    folder = find_dictionary(folder)
    places = _places(folder)
    kinds = {name for name, _ in places}
    if len(kinds) > 1:
        raise InputError(f"dictionary {folder} holds several formats, {', '.join(sorted(kinds))}: give a folder of one")
    name = next(iter(kinds))
    given: dict[str, Any] = {"hooks": (hooks[0], hooks[-1])} if hooks else {}
    if given and (name not in _PLACED or len(places) > 1 or len(hooks) > 2):
        raise InputError(f"--hook says where one set of features reads; dictionary {folder} ({name}) says it itself")
    reader = FORMATS[name]
    files = [path for _, place in places for path in reader.files_of(place)]
    opening = Opening(dtype, device, memory, _bytes(files, dtype))
    sets = sorted((one for _, place in places for one in reader.read(place, opening, **given)), key=_order)
    for first, second in zip(sets, sets[1:], strict=False):
        if first.reads == second.reads:
            raise InputError(
                f"dictionary {folder} has several sets of features at {first.reads}: give a folder with one"
            )
    model, scan = reader.describe(places[0][1])
    return Dictionary(folder.resolve().name, name, tuple(sets), _digest(files), model, scan)


def open_for(folder: Path, model: "Model", *, memory: int | None = None, hooks: Sequence[Hook] = ()) -> Dictionary:
    """The same for a model, whose type and device its tensors get. Raises InputError where it does not fit."""
    found = read_dictionary(folder, dtype=model.dtype, device=model.device, memory=memory, hooks=hooks)
    check_fits(found, model)
    return found


def check_fits(dictionary: Dictionary, model: "Model") -> None:
    """Raises InputError for features that read or write what a model does not have, or with another width."""
    from acdc.dictionaries.run import check_hook, width_at

    for one in dictionary.sets:
        widths = {one.reads: one.encoder.shape[1]}
        widths |= {hook: matrix.shape[1] for hook, matrix in zip(one.writes, one.decoders, strict=True)}
        for hook, width in widths.items():
            if hook.layer >= model.anatomy.n_layers:
                layers = 1 + max(hook.layer for hook in dictionary.hooks)
                raise InputError(
                    f"dictionary {dictionary.name} has {layers} layers, and the model {model.anatomy.n_layers}"
                )
            check_hook(model, hook)
            if width != width_at(model, hook):
                raise InputError(
                    f"dictionary {dictionary.name} has features of {width:,} numbers at {hook}, and model "
                    f"{model.name!r} has {width_at(model, hook):,} there"
                )


def _order(features: Features) -> Hook:
    return features.reads


def _places(folder: Path) -> list[tuple[str, Path]]:
    """(format, folder) of every set of features. Raises InputError where there are none."""
    if folder.is_file():
        raise (
            refuse_pickle(folder)
            if folder.suffix in PICKLES
            else InputError(f"dictionary {folder} is a file: give the folder that it is in")
        )
    if not folder.is_dir():
        raise InputError(
            f"dictionary {folder} is not a folder: give one in a format such as circuit-tracer's or SAELens'"
        )
    found = list(_within(folder, _DEEPEST))
    if found:
        return found
    pickles = sorted(path for path in folder.rglob("*") if path.suffix in PICKLES)
    if pickles:
        raise refuse_pickle(pickles[0])
    raise InputError(
        f"dictionary {folder} is in no known format: layer_0.safetensors or W_enc_0.safetensors (circuit-tracer), "
        "cfg.json with sae_weights.safetensors (SAELens) or sae.safetensors (sparsify), params.npz or config.json with "
        "params.safetensors (Gemma Scope), config.json with ae.safetensors (dictionary_learning) or "
        "sae_weights.safetensors (Llamascopium)"
    )


def _within(folder: Path, deep: int) -> Iterable[tuple[str, Path]]:
    for name, reader in FORMATS.items():
        if reader.is_here(folder):
            yield name, folder
            return
    if deep:
        for inner in sorted(path for path in folder.iterdir() if path.is_dir()):
            yield from _within(inner, deep - 1)


def _bytes(files: Sequence[Path], dtype: torch.dtype) -> int:
    """Of all tensors once they are of a type."""
    shapes = (shape for path in files for shape in TensorFile(path).shapes.values())
    return sum(torch.Size(shape).numel() for shape in shapes) * dtype.itemsize


def _digest(files: Sequence[Path]) -> str:
    total = hashlib.sha256()
    for path in files:
        with open_file(path) as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()
