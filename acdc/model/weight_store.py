"""Weights that several processes of a machine hold together, and a model around them."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


class WeightStore(Protocol):
    """Weights by a key. Nobody may change them: others have the same memory."""

    def has_room(self, size: int) -> bool:
        """Whether weights of so many bytes can be held."""

    def of(self, key: str, read: Callable[[], Mapping[str, Tensor]]) -> Mapping[str, Tensor]:
        """The weights under a key. If there are none yet, `read` gives them, and others find them from then on."""


def weights_of(model: "PreTrainedModel") -> dict[str, Tensor]:
    """Parameters and buffers by name; of several names for the same one, the first."""
    found: dict[int, tuple[str, Tensor]] = {}
    for name, tensor in model.state_dict().items():
        found.setdefault(tensor.data_ptr() or id(tensor), (name, tensor))
    return dict(found.values())


def model_around(
    weights: Mapping[str, Tensor], config: "PretrainedConfig", dtype: torch.dtype, where: dict[str, str] | None
) -> "tuple[PreTrainedModel, dict]":
    """(a model that has these tensors themselves where they are of the dtype and stay on the CPU, transformers' report
    of what was missing); `where`: the devices of its modules."""
    from transformers import AutoModelForCausalLM

    kind: Any = AutoModelForCausalLM._model_mapping[type(config)]
    return kind.from_pretrained(
        None,
        config=config,
        state_dict=dict(weights),
        dtype=dtype,
        attn_implementation="eager",
        ignore_mismatched_sizes=True,  # reported
        output_loading_info=True,
        device_map=where,
    )
