"""All that is asked of some interventions at once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from acdc.artefacts.intervention import Intervened
from acdc.attribution.dictionary import Dictionary
from acdc.attribution.prompts import prompt_tokens
from acdc.attribution.refusals import check_prompt
from acdc.behaviour.behaviour import DEFAULT_BATCH
from acdc.errors import InputError
from acdc.execution.threads import fixed_threads
from acdc.interventions.bound import Binder, Prompts, Vectors
from acdc.interventions.effects import prompt_effects, task_effects
from acdc.interventions.generate import Sampling, check_generates, generate_both
from acdc.interventions.intervention import Intervention
from acdc.model.load import Model
from acdc.options import DEFAULT_THREADS, MOST_THREADS, check_count
from acdc.task.metrics import Metric, MetricFunction, as_metric
from acdc.task.rows import Task


@dataclass(frozen=True)
class Wanted:
    """What is asked: about a prompt, a task, or both; `generate` needs a prompt. `top`: tokens of each run that are
    shown. `freeze_attention`: with interventions, heads attend as without them."""

    prompt: str | tuple[int, ...] | None = None
    task: Task | None = None
    metric: str | Metric | MetricFunction | None = None
    generate: Sampling | None = None
    prepend_bos: bool = False
    top: int = 5
    limit: int | None = None
    batch_size: int = DEFAULT_BATCH
    seed: int = 0
    threads: int = DEFAULT_THREADS
    freeze_attention: bool = False

    def about(self, task: Task | None) -> "Wanted":
        """The same of a task."""
        return replace(self, task=task)

    def check(self, with_task: bool = False) -> None:
        """Raises InputError where nothing is asked, or what cannot be; `with_task`: one is still to be read."""
        if self.prompt is None and self.task is None and not with_task:
            raise InputError("give --prompt, --task or both: interventions are made while a model runs")
        if self.prompt is None and self.generate is not None:
            raise InputError("--generate continues a prompt: give --prompt")
        if self.freeze_attention and (with_task or self.task is not None or self.generate is not None):
            raise InputError(
                "--freeze-attention holds what heads attend to on one prompt: leave out --task and --generate"
            )
        if self.generate is not None:
            self.generate.check()
        check_count("--threads", self.threads, MOST_THREADS)


def intervene(
    model: Model,
    interventions: Sequence[Intervention],
    wanted: Wanted,
    vectors: Vectors | None = None,
    dictionary: Dictionary | None = None,
) -> Intervened:
    """Run a model with and without interventions. Raises InputError for what does not fit the model or its prompts."""
    wanted.check()
    binder = Binder(model, interventions, vectors, dictionary)
    effects = generated = of_task = None
    with fixed_threads(wanted.threads):
        if wanted.prompt is not None:
            tokens = torch.tensor(prompt_tokens(model, wanted.prompt, wanted.prepend_bos), device=model.device)
            check_prompt(model, tokens)
            bound = binder.bind(Prompts.single(len(tokens)))
            if wanted.generate is not None:
                check_generates(model, len(tokens), wanted.generate)
            effects = prompt_effects(model, bound, tokens, wanted.top, wanted.freeze_attention)
            if wanted.generate is not None:
                generated = generate_both(model, bound, tokens, wanted.generate)
        if wanted.task is not None:
            metric = as_metric(wanted.metric or wanted.task.metric)
            of_task = task_effects(binder, wanted.task, metric, wanted.seed, wanted.limit, wanted.batch_size)
    return Intervened(model.name, tuple(map(str, binder.interventions)), effects, generated, of_task)
