"""The linear map of each head from what it reads, or to what it writes."""

from dataclasses import dataclass

from torch import Tensor

from acdc.execution.products import products


@dataclass(frozen=True)
class Projection:
    """Per-head linear map: weight [heads, in, out] and bias [heads, out] or None."""

    weight: Tensor
    bias: Tensor | None

    def __call__(self, x: Tensor) -> Tensor:
        """[heads or 1, rows, positions, in] -> [heads, rows, positions, out]; a leading 1 serves every head."""
        heads, width = self.weight.shape[0], x.shape[-1]
        out = products(x.reshape(x.shape[0], -1, width), self.weight).reshape(heads, *x.shape[1:-1], -1)
        return out if self.bias is None else out + self.bias[:, None, None]
