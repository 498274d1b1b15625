"""Load what commands about units and features work with: a model, and a dictionary where one is named."""

from pathlib import Path
from typing import TYPE_CHECKING

from acdc.cli.dictionaries import parse_hooks, parse_memory
from acdc.cli.options import DType

if TYPE_CHECKING:
    from acdc.dictionaries.dictionary import Dictionary
    from acdc.model.load import Model


def load(
    model: str,
    revision: str | None,
    device: str,
    dtype: DType,
    dictionary: Path | None = None,
    hook: str | None = None,
    memory: str | None = None,
) -> "tuple[Model, Dictionary | None]":
    """The options of those names, as users write them. Raises InputError for what cannot be loaded."""
    from acdc.dictionaries.open import open_for
    from acdc.model.load import load_model

    loaded = load_model(model, revision=revision, device=device, dtype=dtype.value)
    if dictionary is None:
        return loaded, None
    return loaded, open_for(dictionary, loaded, memory=parse_memory(memory), hooks=parse_hooks(hook))
