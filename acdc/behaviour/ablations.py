"""What a removed component or edge carries instead of its current value. Other packages may add their own.

`resample`: its value on the row's corrupted prompt. `zero`: nothing. `mean`: its mean over the clean prompts of the
whole task, over rows and positions. `mean-positional`: the same for each position by itself, over the rows that have
it. `optimal`: see `acdc.behaviour.optimal`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from acdc.behaviour.batches import Batch
from acdc.errors import InputError
from acdc.execution.ablated import Ablated
from acdc.execution.executor import Executor, SlotInputs, Trace
from acdc.execution.hidden import HiddenRecord
from acdc.extensions import Registry
from acdc.task.rows import Row

Hidden = tuple[Tensor, ...]  # neurons of each layer's MLP, [rows or 1, positions or 1, F or 1]


class Ablating(Protocol):
    """What an ablation may ask of a `Behaviour`."""

    @property
    def rows(self) -> tuple[Row, ...]: ...

    @property
    def means(self) -> Ablated: ...

    @property
    def positional_means(self) -> Ablated: ...

    @property
    def optimal_constants(self) -> Ablated: ...

    @property
    def hidden_means(self) -> Hidden: ...

    @property
    def positional_hidden_means(self) -> Hidden: ...

    def run(self, batch: Batch, slots: SlotInputs | None = None, corrupted: bool = False) -> Trace: ...

    def hidden(self, batch: Batch, corrupted: bool = False) -> Hidden: ...


@dataclass(frozen=True)
class Ablation:
    """A named ablation.

    `needs_corrupted`: whether every row must have a corrupted prompt. `carried` gives what removed edges carry for a
    batch's rows: values [writers, rows or 1, positions or 1, d], in the order of the graph's writers, and where
    `has_within_head`, projections of q, k and v slots, which `--direct-edges` needs. `hidden` gives what removed hidden
    neurons carry, which `--level neurons` needs; None where there is no such thing."""

    name: str
    summary: str
    carried: Callable[[Ablating, Batch], Ablated]
    has_within_head: bool = True
    needs_corrupted: bool = False
    hidden: Callable[[Ablating, Batch], Hidden] | None = None

    def check(self, rows: Iterable[Row]) -> None:
        """Raises InputError for a row that lacks a corrupted prompt where this ablation needs one."""
        for row in rows:
            if self.needs_corrupted and row.corrupted is None:
                others = ", ".join(one.name for one in ABLATIONS.built_in.values() if not one.needs_corrupted)
                raise InputError(
                    f"ablation {self.name!r} needs corrupted prompts, and row {row.id!r} has none; those that need "
                    f"none are {others}"
                )

    def check_neurons(self) -> None:
        """Raises InputError where it says nothing of hidden neurons."""
        if self.hidden is None:
            others = ", ".join(one.name for one in ABLATIONS.built_in.values() if one.hidden is not None)
            raise InputError(
                f"ablation {self.name!r} has no values for hidden neurons: --level neurons works with {others}"
            )


def _resample(behaviour: Ablating, batch: Batch) -> Ablated:
    trace = behaviour.run(batch, corrupted=True)
    return Ablated(trace.values, trace.projections)


def _zero(behaviour: Ablating, batch: Batch) -> Ablated:
    like = (batch.clean.values, *batch.clean.projections)
    values, *projections = (x.new_zeros((len(x), 1, 1, x.shape[-1])) for x in like)
    return Ablated(values, tuple(projections))


def _mean(behaviour: Ablating, batch: Batch) -> Ablated:
    return behaviour.means


def _mean_positional(behaviour: Ablating, batch: Batch) -> Ablated:
    means, length = behaviour.positional_means, batch.tokens.shape[1]
    return Ablated(means.values[:, :, :length], tuple(x[:, :, :length] for x in means.projections))


def _optimal(behaviour: Ablating, batch: Batch) -> Ablated:
    return behaviour.optimal_constants


def _resampled_neurons(behaviour: Ablating, batch: Batch) -> Hidden:
    return behaviour.hidden(batch, corrupted=True)


def _zero_neurons(behaviour: Ablating, batch: Batch) -> Hidden:
    layers = (len(batch.clean.blocks) - 1) // 2
    return (batch.clean.values.new_zeros((1, 1, 1)),) * layers


def _mean_neurons(behaviour: Ablating, batch: Batch) -> Hidden:
    return behaviour.hidden_means


def _positional_mean_neurons(behaviour: Ablating, batch: Batch) -> Hidden:
    return tuple(means[:, : batch.tokens.shape[1]] for means in behaviour.positional_hidden_means)


ABLATIONS = Registry(
    "ablation",
    "acdc.ablations",
    Ablation,
    (
        Ablation(
            "resample",
            "its value on the corrupted prompt",
            _resample,
            needs_corrupted=True,
            hidden=_resampled_neurons,
        ),
        Ablation("zero", "nothing", _zero, hidden=_zero_neurons),
        Ablation(
            "mean",
            "its mean over the task's clean prompts, all positions together",
            _mean,
            hidden=_mean_neurons,
        ),
        Ablation(
            "mean-positional",
            "its mean over the task's clean prompts at that position",
            _mean_positional,
            hidden=_positional_mean_neurons,
        ),
        Ablation("optimal", "the constant that changes the model least", _optimal, has_within_head=False),
    ),
)


def mean_ablated(executor: Executor, batches: Iterable[tuple[Tensor, Tensor]], positional: bool) -> Ablated:
    """Means over batches of (tokens [rows, positions], answer positions [rows]): over rows, and over positions too
    unless `positional`. Every writer's output, and with removable within-head edges every query, key and value; summed
    in float64."""
    means: list[_Mean] = []
    for tokens, positions in batches:
        trace = executor.run(tokens, positions)
        tensors = (trace.values, *trace.projections)
        means = means or [_Mean(x.dtype) for x in tensors]
        for mean, values in zip(means, tensors, strict=True):
            mean.add(values)
    values, *projections = (mean.get(positional) for mean in means)
    return Ablated(values, tuple(projections))


def mean_hidden(executor: Executor, batches: Iterable[tuple[Tensor, Tensor]], positional: bool) -> Hidden:
    """The same of the hidden neurons of each MLP."""
    means: list[_Mean] = []
    for tokens, positions in batches:
        record = HiddenRecord()
        executor.run(tokens, positions, record)
        means = means or [_Mean(x.dtype) for x in record.values]
        for mean, values in zip(means, record.values, strict=True):
            mean.add(values[None])
    return tuple(mean.get(positional)[0] for mean in means)


class _Mean:
    """A running mean of tensors [k, rows, positions, width] that differ in rows and positions."""

    def __init__(self, dtype: torch.dtype):
        self.dtype = dtype
        self._sums: tuple[Tensor, Tensor] | None = None  # of values, and how many they were

    def add(self, values: Tensor) -> None:
        summed = values.double().sum(1)
        counted = torch.full(summed.shape[1:2], float(values.shape[1]), dtype=torch.float64, device=summed.device)
        if self._sums is not None:
            total, count = self._sums
            longest = max(total.shape[1], summed.shape[1])
            summed = _lengthen(total, longest, 1) + _lengthen(summed, longest, 1)
            counted = _lengthen(count, longest, 0) + _lengthen(counted, longest, 0)
        self._sums = summed, counted

    def get(self, positional: bool) -> Tensor:
        """[k, 1, 1, width], or [k, 1, longest, width] when `positional`."""
        assert self._sums is not None  # a mean is made where there is something to add
        total, count = self._sums
        if positional:
            return (total / count[None, :, None]).to(self.dtype)[:, None]
        return (total.sum(1, keepdim=True) / count.sum()).to(self.dtype)[:, None]


def _lengthen(values: Tensor, length: int, axis: int) -> Tensor:
    missing = list(values.shape)
    missing[axis] = length - values.shape[axis]
    return torch.cat([values, values.new_zeros(missing)], dim=axis)


def corrupted_tokens(rows: Sequence[Row], device: torch.device) -> Tensor | None:
    """None where not every row has a corrupted prompt."""
    prompts = [row.corrupted for row in rows if row.corrupted is not None]
    return _padded(prompts, device) if len(prompts) == len(rows) else None


def clean_tokens(rows: Iterable[Row], device: torch.device) -> Tensor:
    return _padded([row.clean for row in rows], device)


def _padded(prompts: Sequence[tuple[int, ...]], device: torch.device) -> Tensor:
    """Token ids [rows, longest]; what stands after the end of a shorter prompt is of no consequence."""
    longest = max(len(prompt) for prompt in prompts)
    return torch.tensor([prompt + (0,) * (longest - len(prompt)) for prompt in prompts], device=device)
