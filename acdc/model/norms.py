"""Norms as a model's weights give them, and how one is read from a module."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from acdc.errors import InputError
from acdc.execution.products import product
from acdc.model.feed_forward import unwrapped
from acdc.model.projection import Projection


@dataclass(frozen=True)
class Norm:
    """LayerNorm (`centred`) or RMSNorm over the last axis, in at least float32; `weight` and `bias` may be absent.

    A `frozen` one passes gradients on as if its scale were a constant.
    """

    centred: bool
    eps: float
    weight: Tensor | None
    bias: Tensor | None
    frozen: bool = False

    def __call__(self, x: Tensor) -> Tensor:
        wide_type = torch.promote_types(x.dtype, torch.float32)
        weight, bias = (None if w is None else w.to(wide_type) for w in (self.weight, self.bias))
        wide, shape = x.to(wide_type), x.shape[-1:]
        if self.frozen:
            wide = wide - wide.mean(-1, keepdim=True) if self.centred else wide
            wide = wide * self._inverse(wide).detach()
            wide = wide if weight is None else wide * weight
            return (wide if bias is None else wide + bias).to(x.dtype)
        if self.centred:
            return functional.layer_norm(wide, shape, weight, bias, self.eps).to(x.dtype)
        if x.device.type == "cpu" and not (torch.is_grad_enabled() and x.requires_grad):
            wide = wide * self._inverse(wide)  # what `rms_norm` gives, to the bit, with less to copy
            wide = wide if weight is None else wide.mul_(weight)
        else:
            wide = functional.rms_norm(wide, shape, weight, self.eps)
        return (wide if bias is None else wide + bias).to(x.dtype)

    def project_back(
        self, reads: Sequence[Tensor], projection: Projection, gradients: Sequence[Tensor], out: Tensor
    ) -> None:
        """Write into `out` [heads, B, P, d] the sum over runs of the gradients at the norm's input x [B, P, d] from
        those [heads, B, P, e] at what a projection makes of its output.

        What the norm multiplies and takes off is made part of the projection, and its scale of the gradients, as those
        tensors are small; what is wide is made head by head, while it is in the caches, once for all runs.
        """
        narrow, wide = reads[0].dtype, out.dtype
        weight = projection.weight if self.weight is None else projection.weight * self.weight.to(narrow)[:, None]
        weight = weight - weight.mean(1, keepdim=True) if self.centred else weight
        normed = [self._normed(x.to(wide)) for x in reads]
        scaled = [gradient.to(wide) * inverse for gradient, (_, inverse) in zip(gradients, normed, strict=True)]
        along = []  # the scale itself depends on x
        for gradient, (x, _) in zip([] if self.frozen else scaled, normed, strict=False):
            projected = Projection(weight, None)(x[None].to(narrow))
            along.append(torch.linalg.vecdot(gradient, projected.to(wide)).unsqueeze(-1) / x.shape[-1])
        for head, gradient in enumerate(_total(scaled).to(narrow)):
            back = product(gradient, weight[head].T).to(wide)
            for share, (x, _) in zip(along, normed, strict=False):
                back = torch.addcmul(back, x, share[head], value=-1, out=out[head])
            if self.frozen:
                out[head] = back

    def _normed(self, wide: Tensor) -> tuple[Tensor, Tensor]:
        """(x divided by its scale, after its mean was taken off where that is so; one over the scale)."""
        wide = wide - wide.mean(-1, keepdim=True) if self.centred else wide
        inverse = self._inverse(wide)
        return wide * inverse, inverse

    def scale(self, total: Tensor) -> Tensor:
        """The factor [..., d] by which an RMS norm multiplies `total`; it applies to each share of it alike."""
        wide = total.to(torch.promote_types(total.dtype, torch.float32))
        inverse = self._inverse(wide)
        factor = (inverse.detach() if self.frozen else inverse).expand_as(wide)
        factor = factor if self.weight is None else factor * self.weight
        return factor.to(total.dtype)

    def _inverse(self, wide: Tensor) -> Tensor:
        return torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)


def _total(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.stack(list(tensors)).sum(0)


def read_norm(module: nn.Module | None) -> Norm | None:
    """The norm that a module computes; None for an absent or identity norm. Raises InputError for an unknown one."""
    norm = unwrapped(module)
    name = type(norm).__name__
    if norm is None or isinstance(norm, nn.Identity):
        return None
    if isinstance(norm, nn.LayerNorm):
        return Norm(True, norm.eps, norm.weight, norm.bias)
    if name == "NativeLayerNormPre":
        return Norm(True, norm.eps, None, None)
    if name == "NativeRMSNormPre":
        return Norm(False, norm.eps, None, None)
    if name == "CohereLayerNorm":
        return Norm(True, norm.variance_epsilon, norm.weight, None)
    if name.endswith("RMSNorm"):
        eps = norm.variance_epsilon if hasattr(norm, "variance_epsilon") else norm.eps
        weight = norm.weight
        if name.startswith("Gemma"):
            weight = 1.0 + weight.detach().to(torch.promote_types(weight.dtype, torch.float32))
        return Norm(False, eps, weight, None)
    raise InputError(f"norm {name} is not supported: LayerNorm and RMSNorm are")
