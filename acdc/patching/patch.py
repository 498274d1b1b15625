"""Exact activation patching: every site of every layer at every place, and what becomes of the metric.

An effect is (metric with the patch - metric of the base run) / (metric of the run that the patch is from - metric of
the base run), of means over rows: 0 where the patch changes nothing, 1 where it changes as much as another prompt.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from acdc.artefacts.circuit import library_versions
from acdc.artefacts.patching import CONVENTION, Direction, NoiseRecord, PatchedTask, PatchRecord
from acdc.behaviour.batches import Batch, pairing_weights
from acdc.behaviour.behaviour import CANDIDATE_BYTES, CANDIDATE_TOKENS, Behaviour, apply
from acdc.execution.components import Positions, needed_length
from acdc.execution.products import KIND as PRODUCTS
from acdc.execution.threads import fixed_threads
from acdc.model.load import Model
from acdc.patching.cost import Cost
from acdc.patching.maps import Measured
from acdc.patching.noise import Noise
from acdc.patching.patched_runs import PatchedRuns, run
from acdc.patching.plan import Plan
from acdc.patching.settings import PatchSettings
from acdc.patching.sites import Site
from acdc.progress import Advance, Progress, Ticks, silent
from acdc.search.discover import describe_model
from acdc.task.metrics import as_metric
from acdc.task.rows import Task

Announce = Callable[[Cost], None]


def unheard(cost: Cost) -> None:
    """Told what will be done, where nobody listens."""


def patch(
    model: Model, task: Task, settings: PatchSettings, progress: Progress = silent, announce: Announce = unheard
) -> PatchRecord:
    """Patch, and measure; `announce` is told the cost before anything runs.

    Without a limit so many of the task's first rows are taken as a fixed number of operations allows. Raises InputError
    for settings that do not fit the model or the task, and NothingToFind where the metric does not tell the two runs
    apart.
    """
    plan = Plan.of(model, task, settings)
    announce(plan.cost)
    metric = as_metric(settings.metric or task.metric)
    with fixed_threads(settings.threads), torch.no_grad():
        # under zero ablation, as what removed edges would carry is not asked
        behaviour = Behaviour(model, task, range(len(plan.rows)), metric, "zero", batch_size=settings.batch_size)
        noise = None if plan.subject is None else Noise.of(behaviour, plan.subject, settings.noise, settings.seed)
        measured = Measured.empty(plan, settings)
        with progress("patching", plan.cost.runs, "runs") as advance:
            ticks = Ticks(advance)
            for batch in behaviour.batches:
                _Patching(plan, settings, behaviour, noise, batch).add_to(measured, ticks)
            ticks.catch_up(plan.cost.runs)  # with the places that no row of a batch has
    return _record(plan, settings, behaviour, noise, measured)


@dataclass(frozen=True)
class _Side:
    """The clean or the corrupted prompts of a batch: embedded [N, P, d], where their answers are, as in a `Batch`, and
    by site which positions are in each place."""

    embedded: Tensor
    positions: Tensor
    masks: dict[Site, list[Tensor]]


class _Patching:
    """All maps of one batch."""

    def __init__(self, plan: Plan, settings: PatchSettings, behaviour: Behaviour, noise: Noise | None, batch: Batch):
        self.plan, self.settings, self.behaviour, self.noise, self.batch = plan, settings, behaviour, noise, batch
        self._components, self._rows = plan.model.components, list(batch.index)
        self._answers = batch.answers.for_metrics([behaviour.metric])

    def add_to(self, measured: Measured, advance: Advance) -> None:
        """Add the batch's metrics to what is measured, of each sample as its share."""
        clean = self._side(self.batch.tokens, self.batch.positions, corrupted=False)
        share, window = (
            1 / (self.settings.samples if self.noise else 1),
            self.settings.layers_together(self.plan.model.anatomy.n_layers),
        )
        for other in self._others(clean):
            for end, side in enumerate((clean, other)):
                measured.ends[end, self._rows] += share * self._score(run(self._components, side.embedded), side)[0]
            for direction in self.settings.directions:
                base, source = (other, clean) if direction == "denoise" else (clean, other)
                paired = self._paired(direction, base, source)
                runs = PatchedRuns(self._components, base.embedded, source.embedded, window, paired)
                for site, found in runs.each(base.masks):
                    values = measured.maps[site, direction]
                    for cell, metric in zip(found.cells, self._score(found.final, base), strict=True):
                        values[found.layer, cell.unit, cell.place, self._rows] += share * metric
                    advance(len(found.cells) * len(self._rows))
                self._mark_missing(measured, direction, base)

    def _side(self, tokens: Tensor, positions: Tensor, corrupted: bool) -> _Side:
        length = needed_length(self._components, positions, tokens.shape[1])
        masks = {
            site: self.plan.places_of(site).masks(self._rows, length, tokens.device, corrupted)
            for site in self.plan.sites
        }
        return _Side(self.behaviour.executor.embed(tokens[:, :length]).sum(0), positions, masks)

    def _others(self, clean: _Side) -> Iterator[_Side]:
        """What the clean prompts are compared with: the corrupted ones, or samples of noisy ones."""
        if self.noise is None:
            tokens, pairing = self.batch.corrupted, self.batch.pairing
            assert tokens is not None  # see `Plan`
            yield self._side(tokens, self.batch.positions if pairing is None else pairing.positions, corrupted=True)
        else:
            for sample in range(self.settings.samples):
                yield replace(clean, embedded=self.noise.added(self.batch, clean.embedded, sample))

    def _paired(self, direction: Direction, base: _Side, source: _Side) -> Tensor | None:
        """By which weights positions of the source stand for those of the base, where not one by one."""
        if self.batch.pairing is None or self.noise is not None:
            return None
        rows, back = self.batch.rows, direction == "denoise"
        clean, corrupted = (max(row.lengths[side] for row in rows) for side in (0, 1))
        lengths = (corrupted, clean) if back else (clean, corrupted)
        paired = [row.pairing_back if back else row.pairing for row in rows]
        weights = pairing_weights(rows, paired, lengths, base.embedded.device)
        return weights[:, : base.embedded.shape[1], : source.embedded.shape[1]]

    def _score(self, final: Tensor, side: _Side) -> np.ndarray:
        """The metric, float64 [runs, rows], of final residual streams [runs * rows, P, d]."""
        copies, columns = len(final) // len(self._rows), self._answers.columns
        answers = Positions(final.shape[1], side.positions).repeat(copies).take(final).flatten(0, 1)
        logits = self._components.unembed(answers, None if columns is None else columns.repeat(copies, 1))
        return apply([self.behaviour.metric], logits.unflatten(0, (copies, -1)), self._answers)[0]

    def _mark_missing(self, measured: Measured, direction: Direction, base: _Side) -> None:
        for site, masks in base.masks.items():
            for place, mask in enumerate(masks):
                lacking = np.array(self._rows)[~mask.any(1).cpu().numpy()]
                measured.maps[site, direction][:, :, place, lacking] = np.nan


def _record(
    plan: Plan, settings: PatchSettings, behaviour: Behaviour, noise: Noise | None, measured: Measured
) -> PatchRecord:
    task, metric = behaviour.task, behaviour.metric
    other = "the corrupted prompts" if noise is None else "those with noise"
    clean, corrupted = measured.means(metric.name, other)
    return PatchRecord(
        model=describe_model(behaviour),
        task=_describe_task(plan, task),
        metric=metric.name,
        larger_is_better=metric.larger_is_better,
        metric_clean=clean,
        metric_corrupted=corrupted,
        convention={direction: CONVENTION[direction] for direction in settings.directions},
        noise=None if noise is None else _describe_noise(plan, settings, task, noise),
        seed=settings.seed,
        dtype=plan.model.dtype_name,
        batch={
            "size": settings.batch_size,
            "threads": settings.threads,
            "candidate_tokens": CANDIDATE_TOKENS,
            "candidate_bytes": CANDIDATE_BYTES,
            "products": PRODUCTS,
        },
        versions=library_versions(),
        maps=measured.drawn(plan),
    )


def _describe_task(plan: Plan, task: Task) -> PatchedTask:
    spans = plan.places.kind == "span" or plan.subject is not None
    return PatchedTask(
        name=task.name,
        content_hash=task.content_hash(),
        rows=[row.id for row in plan.rows],
        spans_hash=Task(task.name, plan.rows, task.metric).spans_hash() if spans else None,
    )


def _describe_noise(plan: Plan, settings: PatchSettings, task: Task, noise: Noise) -> NoiseRecord:
    return NoiseRecord(
        subject=task.span_names[noise.subject],
        level=noise.level,
        sigma=noise.sigma,
        samples=settings.samples,
        window=settings.layers_together(plan.model.anatomy.n_layers),
    )
