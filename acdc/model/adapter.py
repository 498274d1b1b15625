"""LoRA adapters beside the weights that they change: merged into these with the library peft."""

import importlib.util
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from acdc.errors import InputError
from acdc.files import read_json

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
EXTRA = 'pip install "acdc[lora]"'
_PLAIN_STARTS = (True, False, None, "gaussian")
_MERGE = (
    'python -c "from peft import AutoPeftModelForCausalLM as M; '
    "M.from_pretrained('ADAPTER').merge_and_unload().save_pretrained('merged')\""
)


def has_adapter(folder: Path) -> bool:
    return (folder / CONFIG).is_file()


def refuse_alone(folder: Path) -> InputError:
    """What to raise for a folder with an adapter and no model."""
    named = read_json(folder / CONFIG)
    base = named.get("base_model_name_or_path") if isinstance(named, dict) else None
    of = f" of {base}" if isinstance(base, str) and base else ""
    return InputError(
        f"model folder {folder} holds an adapter (LoRA) alone, which changes the weights{of}: put its files into a "
        f"copy of that model's folder, or merge them: {_MERGE}"
    )


def check_adapter(folder: Path) -> Path:
    """The adapter's weights. Raises InputError for an adapter that cannot be merged, or without the library."""
    path = folder / CONFIG
    config = read_json(path)
    kind = config.get("peft_type") if isinstance(config, dict) else None
    if kind != "LORA":
        raise InputError(
            f"{path}: only adapters of peft_type 'LORA' are merged, not {kind!r}; merge it yourself: {_MERGE}"
        )
    start = config.get("init_lora_weights")
    if start not in _PLAIN_STARTS:
        raise InputError(f"{path}: init_lora_weights {start!r} changes the base model too: merge it yourself: {_MERGE}")
    if not (folder / WEIGHTS).is_file():
        raise InputError(f"model folder {folder} has {CONFIG}, but no {WEIGHTS}: pickled adapters are never loaded")
    if importlib.util.find_spec("peft") is None:
        raise InputError(
            f"model folder {folder} holds a LoRA adapter beside its weights ({CONFIG}), and merging it needs the "
            f"library peft: {EXTRA}; without the adapter, use a folder without these files"
        )
    return folder / WEIGHTS


@contextmanager
def without_adapter(folder: Path) -> Iterator[Path]:
    """A folder with all files of another but the adapter's, as links: transformers would load it unmerged."""
    with tempfile.TemporaryDirectory() as made:
        for path in folder.iterdir():
            if path.name not in (CONFIG, WEIGHTS):
                (Path(made) / path.name).symlink_to(path.resolve())
        yield Path(made)


def merge_adapter(model: Any, folder: Path) -> Any:
    """A transformers model with the adapter in a folder added to its weights: W + scale * B A (Hu et al. 2021).

    Raises InputError where not every tensor of the adapter has a place in the model, or the reverse.
    """
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import safe_open

    adapted: Any = PeftModel.from_pretrained(model, str(folder), is_trainable=False)
    with safe_open(folder / WEIGHTS, "pt") as file:
        stored = set(file.keys())
    used = set(get_peft_model_state_dict(adapted))
    if stored != used:
        name = min(stored ^ used)
        raise InputError(
            f"{folder / WEIGHTS} does not fit its model: {name!r} is {'surplus' if name in stored else 'missing'}"
        )
    return adapted.merge_and_unload(safe_merge=True)
