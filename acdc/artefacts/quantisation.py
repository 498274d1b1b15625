"""How a model file stores its weights."""

from dataclasses import dataclass

_UNQUANTISED = ("F64", "F32", "F16", "BF16")


@dataclass(frozen=True)
class Quantisation:
    """How a model's weights are stored: the type of most of them, and the number of `tensors` of each type."""

    type: str
    tensors: dict[str, int]

    def __str__(self) -> str:
        return f"{'stored as' if self.type in _UNQUANTISED else 'dequantised from'} {self.type}"
