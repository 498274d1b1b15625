"""What a removed component or edge carries instead of its current value.

`resample`: its value on the row's corrupted prompt. `zero`: nothing. `mean`: its mean over the clean prompts of the
whole task, over rows and positions. `mean-positional`: the same for each position by itself, over the rows that have
it. Values are [writers, rows or 1, positions or 1, d], for the rows of one batch.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from acdc.errors import InputError
from acdc.model.executor import Executor
from acdc.task.rows import Row

ABLATIONS = ("resample", "zero", "mean", "mean-positional")


def check_ablation(name: str) -> str:
    """Raises InputError for an ablation that does not exist."""
    if name not in ABLATIONS:
        raise InputError(f"ablation {name!r} is not one of {', '.join(ABLATIONS)}")
    return name


def mean_values(executor: Executor, batches: Iterable[tuple[Tensor, Tensor]], positional: bool) -> Tensor:
    """Mean output of every writer over batches of (tokens [rows, positions], answer positions [rows]).

    Returns [writers, 1, 1, d], or [writers, 1, longest, d] when `positional`; sums are taken in float64.
    """
    total = count = None
    for tokens, positions in batches:
        values = executor.run(tokens, positions).values
        summed = values.double().sum(1)
        counted = torch.full(summed.shape[1:2], float(len(tokens)), dtype=torch.float64, device=summed.device)
        if total is None:
            total, count, dtype = summed, counted, values.dtype
            continue
        longest = max(total.shape[1], summed.shape[1])
        total = _lengthen(total, longest, 1) + _lengthen(summed, longest, 1)
        count = _lengthen(count, longest, 0) + _lengthen(counted, longest, 0)
    if positional:
        return (total / count[None, :, None]).to(dtype)[:, None]
    return (total.sum(1, keepdim=True) / count.sum()).to(dtype)[:, None]


def _lengthen(values: Tensor, length: int, axis: int) -> Tensor:
    missing = list(values.shape)
    missing[axis] = length - values.shape[axis]
    return torch.cat([values, values.new_zeros(missing)], dim=axis)


def corrupted_tokens(rows: Iterable[Row], device: torch.device) -> Tensor:
    return torch.tensor([row.corrupted for row in rows], device=device)


def clean_tokens(rows: Iterable[Row], device: torch.device) -> Tensor:
    return torch.tensor([row.clean for row in rows], device=device)
