"""Products of activations with fixed weights, through oneDNN where that is faster.

PyTorch multiplies float32 matrices on a CPU with MKL, which leaves half of the speed of AMD's processors unused
(measured: 210 against 480 GFLOP/s) and none of Intel's. PyTorch's oneDNN is reached by the operator below alone. Very
small products stay with MKL, as calling oneDNN costs more. The processor's maker and the shapes decide, not a timing,
so the same inputs give the same bytes on the same machine. The environment variable ACDC_PRODUCTS (`onednn` or
`default`) overrides the maker. `KIND` is recorded in artefacts.
"""

import os
import platform
from pathlib import Path

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction, FunctionCtx

from acdc.errors import InputError

WORTHWHILE_FLOPS = 5e6  # of one product

# Private: nothing public reaches oneDNN's product of two matrices.
ONEDNN = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None


def _kind() -> str:
    """Raises InputError for a wish that names no kind, or one that this PyTorch lacks."""
    wish = os.environ.get("ACDC_PRODUCTS")
    if wish not in (None, "onednn", "default"):
        raise InputError(f"ACDC_PRODUCTS={wish}: must be onednn or default")
    if wish == "onednn" and ONEDNN is None:
        raise InputError("ACDC_PRODUCTS=onednn: this PyTorch was built without oneDNN; use default")
    if wish is not None:
        return wish
    return "onednn" if ONEDNN is not None and _is_amd() else "default"


def _is_amd() -> bool:
    listed = Path("/proc/cpuinfo")
    described = listed.read_text(errors="replace") if listed.is_file() else platform.processor()
    return "AuthenticAMD" in described


KIND = _kind()
LINEAR = ONEDNN if KIND == "onednn" else None


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x [..., in] @ weight [in, out] + bias [out] -> [..., out]. Gradients reach x, not weights that need none."""
    flops = 2 * x.numel() * weight.shape[-1]
    if flops < WORTHWHILE_FLOPS or not suits(x, weight):
        out = x @ weight
        return out if bias is None else out + bias
    if torch.is_grad_enabled() and x.requires_grad:
        return _Product.apply(x, weight, bias)
    return _by_onednn(x, weight, bias)


def products(x: Tensor, weights: Tensor) -> Tensor:
    """One product per matrix: x [H or 1, M, in] with weights [H, in, out] -> [H, M, out]; a leading 1 serves all."""
    heads, width, out = weights.shape
    worthwhile = 2 * x.shape[-2] * width * out >= WORTHWHILE_FLOPS and suits(x, weights[0])
    if not worthwhile:
        return torch.bmm(x.expand(heads, -1, -1), weights)
    if len(x) == 1 and weights.stride() == (width * out, 1, width):
        side_by_side = weights.transpose(1, 2).reshape(heads * out, width).T
        return product(x[0], side_by_side).unflatten(-1, (heads, out)).transpose(0, 1)
    return torch.stack([product(x[head % len(x)], weight) for head, weight in enumerate(weights)])


def packed(weights: Tensor) -> Tensor:
    """Matrices [H, in, out] laid out in memory as `products` likes them on a CPU; a view wherever they are already."""
    fits = LINEAR is not None and weights.dtype == torch.float32 and weights.device.type == "cpu"
    if not fits or weights.is_contiguous():
        return weights
    return weights.transpose(1, 2).contiguous().transpose(1, 2)  # a view where they are stored by columns


def suits(x: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN can take a product: float32 on a CPU, a dense weight (in rows or columns) that is not trained."""
    return (
        LINEAR is not None
        and x.dtype == weight.dtype == torch.float32
        and x.device.type == "cpu"
        and not weight.requires_grad
        and (weight.is_contiguous() or weight.T.is_contiguous())
    )


def _by_onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    assert LINEAR is not None  # see `suits`
    flat = x.reshape(-1, x.shape[-1]).contiguous()
    with torch.no_grad():
        return LINEAR(flat, weight.T, bias, "none", [], "").view(*x.shape[:-1], -1)


class _Product(torch.autograd.Function):
    """The operator has no gradient of its own."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        return _by_onednn(x, weight, bias)

    @staticmethod
    def backward(ctx: BackwardCFunction, gradient: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        return product(gradient, weight.T), None, None
