"""What a removed component or edge carries instead of its current value.

`resample`: its value on the row's corrupted prompt. `zero`: nothing. `mean`: its mean over the clean prompts of the
whole task, over rows and positions. `mean-positional`: the same for each position by itself, over the rows that have
it. Values are [writers, rows or 1, positions or 1, d], for the rows of one batch.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from acdc.errors import InputError
from acdc.model.ablated import Ablated
from acdc.model.executor import Executor
from acdc.task.rows import Row

ABLATIONS = ("resample", "zero", "mean", "mean-positional", "optimal")


def check_ablation(name: str) -> str:
    """Raises InputError for an ablation that does not exist."""
    if name not in ABLATIONS:
        raise InputError(f"ablation {name!r} is not one of {', '.join(ABLATIONS)}")
    return name


def mean_ablated(executor: Executor, batches: Iterable[tuple[Tensor, Tensor]], positional: bool) -> Ablated:
    """Means over batches of (tokens [rows, positions], answer positions [rows]): over rows, and over positions too
    unless `positional`. Every writer's output, and with removable wires every query, key and value; summed in float64.
    """
    means: list[_Mean] = []
    for tokens, positions in batches:
        trace = executor.run(tokens, positions)
        tensors = (trace.values, *trace.projections)
        means = means or [_Mean(x.dtype) for x in tensors]
        for mean, values in zip(means, tensors, strict=True):
            mean.add(values)
    values, *projections = (mean.get(positional) for mean in means)
    return Ablated(values, tuple(projections))


class _Mean:
    """A running mean of tensors [k, rows, positions, width] that differ in rows and positions."""

    def __init__(self, dtype: torch.dtype):
        self.dtype, self.total, self.count = dtype, None, None

    def add(self, values: Tensor) -> None:
        summed = values.double().sum(1)
        counted = torch.full(summed.shape[1:2], float(values.shape[1]), dtype=torch.float64, device=summed.device)
        if self.total is not None:
            longest = max(self.total.shape[1], summed.shape[1])
            summed = _lengthen(self.total, longest, 1) + _lengthen(summed, longest, 1)
            counted = _lengthen(self.count, longest, 0) + _lengthen(counted, longest, 0)
        self.total, self.count = summed, counted

    def get(self, positional: bool) -> Tensor:
        """[k, 1, 1, width], or [k, 1, longest, width] when `positional`."""
        if positional:
            return (self.total / self.count[None, :, None]).to(self.dtype)[:, None]
        return (self.total.sum(1, keepdim=True) / self.count.sum()).to(self.dtype)[:, None]


def _lengthen(values: Tensor, length: int, axis: int) -> Tensor:
    missing = list(values.shape)
    missing[axis] = length - values.shape[axis]
    return torch.cat([values, values.new_zeros(missing)], dim=axis)


def corrupted_tokens(rows: Iterable[Row], device: torch.device) -> Tensor:
    return _padded([row.corrupted for row in rows], device)


def clean_tokens(rows: Iterable[Row], device: torch.device) -> Tensor:
    return _padded([row.clean for row in rows], device)


def _padded(prompts: Sequence[tuple[int, ...]], device: torch.device) -> Tensor:
    """Token ids [rows, longest]; what stands after the end of a shorter prompt is of no consequence."""
    longest = max(len(prompt) for prompt in prompts)
    return torch.tensor([prompt + (0,) * (longest - len(prompt)) for prompt in prompts], device=device)
