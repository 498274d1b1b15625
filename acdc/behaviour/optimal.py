"""Optimal ablation (Li & Janson 2024, arXiv 2409.09951): the constant that a component can best be replaced by.

Of every component the constant vector is learnt that makes the model with that component alone replaced most like the
full model: least mean KL(full model || ablated model) over the clean prompts of the whole task. Learning starts at the
component's mean output; the unit of a step is the spread of that output.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from acdc.execution.ablated import Ablated
from acdc.execution.executor import Executor, SlotInputs

UPDATES, RATE, SEED = 200, 0.05, 0


class _Replaced(SlotInputs):
    """In every sequence one component is replaced by its constant: `chosen` [N] by writer index."""

    def __init__(self, constants: Tensor, chosen: Tensor):
        self._constants, self._chosen, self._first = constants, chosen, 0

    def write(self, index: int, block: Tensor) -> Tensor:
        writers = torch.arange(self._first, self._first + len(block), device=block.device)
        constants = self._constants[self._first : self._first + len(block)].to(block)
        self._first += len(block)
        here = (writers[:, None] == self._chosen)[:, :, None, None]
        return torch.where(here, constants[:, None, None], block)


def optimal_constants(executor: Executor, batches: Sequence[tuple[Tensor, Tensor]], means: Ablated) -> Ablated:
    """Constants of all writers, [writers, 1, 1, d], from batches of (tokens [N, P], answer positions [N]).

    Every update replaces, in each row of a batch, a component drawn for it. The draws do not depend on any seed of the
    user's, and batches should be those of one size whatever the user's: so that the constants are a property of model
    and task.
    """
    generator = torch.Generator().manual_seed(SEED)
    start = means.values[:, 0, 0].to(torch.promote_types(means.values.dtype, torch.float32))
    clean, unit = _clean_runs(executor, batches, start)
    steps = torch.zeros_like(start).requires_grad_()
    optimiser = torch.optim.Adam([steps], lr=RATE)
    for update in range(UPDATES):
        tokens, positions = batches[update % len(batches)]
        chosen = torch.randint(len(start), (len(tokens),), generator=generator).to(tokens.device)
        with torch.enable_grad():
            replaced = executor.run(tokens, positions, _Replaced(start + unit * steps, chosen)).logits
            known = clean[update % len(batches)]
            loss = _distance(known, replaced.to(known)).mean()
            optimiser.zero_grad()
            loss.backward()
        optimiser.step()
    return Ablated((start + unit * steps).detach().to(means.values)[:, None, None])


def _compared(logits: Tensor) -> Tensor:
    """Log-probabilities, or of a model with one output, that."""
    return logits if logits.shape[-1] == 1 else logits.log_softmax(-1)


def _distance(clean: Tensor, replaced: Tensor) -> Tensor:
    """Of what is compared in clean runs, from logits: KL divergence, or for one output the squared difference [N]."""
    found = _compared(replaced)
    return ((clean - found) ** 2 if clean.shape[-1] == 1 else clean.exp() * (clean - found)).sum(-1)


@torch.no_grad()
def _clean_runs(
    executor: Executor, batches: Sequence[tuple[Tensor, Tensor]], means: Tensor
) -> tuple[list[Tensor], Tensor]:
    """(what is compared of each batch's outputs, spread of every writer's output about its mean [writers, 1])."""
    outputs, squares, count = [], torch.zeros(len(means), dtype=torch.float64, device=means.device), 0
    for tokens, positions in batches:
        trace = executor.run(tokens, positions)
        outputs.append(_compared(trace.logits.to(means)))
        values = trace.values.to(means) - means[:, None, None]
        squares += values.square().double().sum((1, 2, 3))
        count += values[0].numel()
    return outputs, (squares / count).sqrt().to(means)[:, None]
