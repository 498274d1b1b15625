"""Which models and prompts can be traced."""

import torch
from torch import Tensor

from acdc.errors import InputError
from acdc.model.functional import FunctionalComponents
from acdc.model.load import Model

_FINE = (torch.float32, torch.float64)


def check_traceable(model: Model, tokens: Tensor) -> FunctionalComponents:
    """The model's components. Raises InputError for a model or a prompt that cannot be traced."""
    if model.placement is not None:
        raise InputError(
            f"model {model.name!r} is on several devices, and tracing needs its weights on one: use --device with one"
        )
    if model.components.kind != "functional":
        raise InputError(
            f"model {model.name!r} ({model.family}) cannot be traced: that needs every MLP computed from its weights, "
            f"and here {'experts are' if 'MLPs' in model.components.kind else 'all parts are'} computed by the model's "
            "own modules; 'acdc discover' works with it"
        )
    if model.dtype not in _FINE:
        raise InputError(f"a trace sums many small parts: use --dtype float32 or float64, not {model.dtype_name}")
    assert isinstance(model.components, FunctionalComponents)  # see `placement` and `kind`
    check_prompt(model, tokens)
    return model.components


def check_prompt(model: Model, tokens: Tensor) -> None:
    """Raises InputError for token ids that the model cannot be run on."""
    if not len(tokens):
        raise InputError("the prompt has no tokens")
    if len(tokens) > model.anatomy.n_ctx:
        raise InputError(f"the prompt has {len(tokens):,} tokens, and the model takes {model.anatomy.n_ctx:,}")
    wrong = next((int(token) for token in tokens if not 0 <= token < model.anatomy.d_vocab), None)
    if wrong is not None:
        raise InputError(f"token id {wrong} is not one of the model's: 0 to {model.anatomy.d_vocab - 1:,}")
