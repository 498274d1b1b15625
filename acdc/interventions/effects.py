"""What interventions change: the probabilities of next tokens after a prompt, and a task's metric."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from acdc.artefacts.intervention import PromptEffects, TaskEffects, TokenEffect
from acdc.attribution.frozen import FrozenRun
from acdc.attribution.interventions import Freeze
from acdc.attribution.refusals import check_prompt
from acdc.attribution.trace import prompt_text, token_texts
from acdc.behaviour.behaviour import DEFAULT_BATCH, Behaviour, apply
from acdc.errors import InputError
from acdc.execution.components import Positions
from acdc.interventions.bound import Binder, Bound, Prompts
from acdc.interventions.held import held_logits
from acdc.interventions.hooks import logits_under
from acdc.model.load import Model
from acdc.task.metrics import Metric
from acdc.task.rows import Task
from acdc.verification.intervals import Bootstrap, mean
from acdc.verification.sampled_units import SampledUnits


def prompt_effects(
    model: Model, bound: Sequence[Bound], tokens: Tensor, top: int, freeze_attention: bool = False
) -> PromptEffects:
    """The next tokens of token ids [P], `top` of the likeliest without and with interventions. `kl`: the divergence
    KL(without || with) in nats. `freeze_attention`: with them, heads attend as they do without. Raises InputError for a
    prompt that the model does not take, or a model whose attention cannot be held."""
    check_prompt(model, tokens)
    if top < 1:
        raise InputError(f"--top {top} must be at least 1")
    before = logits_under(model, (), tokens[None])[0, -1].double()
    after = _after(model, bound, tokens, freeze_attention)
    change, no_direct = _direct_change(model, bound, tokens)
    direct = None if change is None else before + change
    order = [int(token) for logits in (before, after) for token in logits.sort(descending=True, stable=True)[1][:top]]
    effects = tuple(_effect(model, token, before, after, direct) for token in dict.fromkeys(order))
    log_before, log_after = before.log_softmax(-1), after.log_softmax(-1)
    kl = float((log_before.exp() * (log_before - log_after)).nansum())
    return PromptEffects(prompt_text(model, tokens.tolist()), effects, kl, no_direct)


def _after(model: Model, bound: Sequence[Bound], tokens: Tensor, freeze_attention: bool) -> Tensor:
    """Logits [V] with interventions."""
    if freeze_attention:
        return held_logits(FrozenRun(model, tokens), bound, Freeze.attention).double()
    return logits_under(model, bound, tokens[None])[0, -1].double()


def _direct_change(model: Model, bound: Sequence[Bound], tokens: Tensor) -> tuple[Tensor | None, str | None]:
    """(by how much logits [V] change directly, why that is not known)."""
    try:
        run = FrozenRun(model, tokens)
    except InputError as error:
        return None, str(error)
    return held_logits(run, bound).double() - held_logits(run, ()).double(), None


def _effect(model: Model, token: int, before: Tensor, after: Tensor, direct: Tensor | None) -> TokenEffect:
    def change(logits: Tensor) -> float:
        return float((logits[token] - logits.mean()) - (before[token] - before.mean()))

    return TokenEffect(
        token,
        token_texts(model, [token])[0],
        float(before.softmax(-1)[token]),
        float(after.softmax(-1)[token]),
        None if direct is None else float(direct.softmax(-1)[token]),
        change(after),
        None if direct is None else change(direct),
    )


@torch.no_grad()
def task_effects(
    binder: Binder, task: Task, metric: Metric, seed: int = 0, limit: int | None = None, batch_size: int = DEFAULT_BATCH
) -> TaskEffects:
    """The metric of a task's first `limit` rows. Raises InputError for places that a row does not have, and as
    `Behaviour` does."""
    if limit is not None and limit < 1:
        raise InputError(f"--limit {limit} must be at least 1")
    rows = range(len(task.rows))[:limit]
    binder.bind(Prompts.of(task.select(rows)))  # which refuses what does not fit before anything is run
    behaviour = Behaviour(binder.model, task, rows, metric, "zero", batch_size=batch_size)  # nothing is ablated
    values = np.empty((2, len(rows)))
    for batch in behaviour.batches:
        bound = binder.bind(Prompts.of(batch.rows))
        for number, some in enumerate(((), bound)):
            logits = logits_under(binder.model, some, batch.tokens)
            asked = Positions(logits.shape[1], batch.positions).take(logits).flatten(0, 1)
            values[number, list(batch.index)] = apply([metric], asked[None], batch.answers)[0, 0]
    units = SampledUnits.of(behaviour.rows)
    before, after, change = (
        Bootstrap(units, seed).of(mean, one) for one in (values[0], values[1], values[1] - values[0])
    )
    return TaskEffects(task.name, metric.name, len(rows), before, after, change)
