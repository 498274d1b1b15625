"""Runs of a task with features ablated, and with gradients at what they write.

What a dictionary reconstructs is x = reconstruction + error. Ablating features adds what they would write at their
ablated activations less what they write at those of this run; features that stay follow from the run as it is, and so
do errors that stay. So a run with nothing ablated is the model's own, whatever the dictionary leaves unexplained
(Marks et al. 2024, arXiv 2403.19647). First tokens are never ablated.

Shapes: B rows, P positions, S places, F features of a set, d the width of a target.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial

import numpy as np
import torch
from torch import Tensor

from acdc.behaviour.batches import Batch
from acdc.behaviour.behaviour import DEFAULT_BATCH, Behaviour, apply
from acdc.dictionaries.dictionary import Dictionary, Features, Normalisation
from acdc.dictionaries.hooks import Hook
from acdc.dictionaries.open import check_fits
from acdc.dictionaries.run import Edit, SiteRun
from acdc.errors import InputError
from acdc.feature_circuits.nodes import EVERYWHERE, FeatureNode, Removed
from acdc.model.load import Model
from acdc.progress import Advance, nobody
from acdc.task.metrics import Metric
from acdc.task.rows import Task


class FeatureAblation(StrEnum):
    """What ablated features and errors become: those of the corrupted prompt, their means over the clean prompts of
    these rows, or zero."""

    resample = "resample"
    mean = "mean"
    zero = "zero"


@dataclass(frozen=True, eq=False)
class Values:
    """Activations [B, P, F] by set and errors [B, P, d] by target; of means [F] and [d], of zeros too."""

    features: Mapping[Hook, Tensor]
    errors: Mapping[Hook, Tensor]


@dataclass
class _Seen:
    """What one run has read and encoded so far."""

    dictionary: Dictionary
    inputs: dict[Hook, Tensor] = field(default_factory=dict)
    activations: dict[Hook, Tensor] = field(default_factory=dict)

    def read(self, features: Features, x: Tensor) -> Tensor:
        self.inputs[features.reads], self.activations[features.reads] = x, features.encode(x)
        return x

    def reconstruction(self, target: Hook) -> Tensor:
        parts = []
        for one in self.dictionary.sets:
            if target in one.writes:
                to, activations = one.writes.index(target), self.activations[one.reads]
                own = one.decode(activations, self.inputs[one.reads])
                parts.append(one.contributed(activations, to) if to else own)
        return torch.stack(parts).sum(0)


class FeatureRuns:
    """A model, rows, a metric and an ablation with a dictionary. `means`: those of other rows, for mean ablation.
    `by_position`: nodes are at single `places`, spans of the task or positions, else at all tokens together.

    Raises InputError for a dictionary that does not fit the model or normalises what it reads, and for rows whose
    corrupted prompts do not correspond position by position.
    """

    def __init__(
        self,
        model: Model,
        dictionary: Dictionary,
        task: Task,
        rows: Sequence[int],
        metric: Metric,
        ablation: FeatureAblation = FeatureAblation.resample,
        batch_size: int = DEFAULT_BATCH,
        means: Values | None = None,
        by_position: bool = False,
    ):
        check_fits(dictionary, model)
        if any(one.normalisation is not Normalisation.none for one in dictionary.sets):
            raise InputError(f"dictionary {dictionary.name} normalises what it reads: its features do not add up")
        self.model, self.dictionary, self.ablation = model, dictionary, ablation
        how = "resample" if ablation is FeatureAblation.resample else "zero"
        self.behaviour = Behaviour(model, task, rows, metric, how, batch_size=batch_size)
        if ablation is FeatureAblation.resample and any(b.pairing is not None for b in self.behaviour.batches):
            raise InputError(
                f"task {task.name!r} has corrupted prompts that correspond to the clean ones by spans alone: use "
                "--ablation mean or zero"
            )
        self.places: tuple[str, ...] = self.behaviour.spans.names if by_position else EVERYWHERE
        self._kept: dict[int, Values] = {}
        self._where: dict[tuple[int, ...], Tensor] = {}
        self.means = means if means is not None or ablation is not FeatureAblation.mean else self._means()

    @property
    def batches(self) -> list[Batch]:
        return self.behaviour.batches

    @property
    def metric(self) -> Metric:
        return self.behaviour.metric

    def there(self, batch: Batch) -> Tensor:
        """Boolean [B, P]: the tokens of the prompts but the first of each."""
        lengths = torch.tensor([len(row.clean) for row in batch.answers.rows], device=batch.tokens.device)
        places = torch.arange(batch.tokens.shape[1], device=batch.tokens.device)
        return (places[None] < lengths[:, None]) & (places > 0)

    def where(self, batch: Batch) -> Tensor:
        """The place of every token of a batch, int [B, P]."""
        if batch.index not in self._where:
            everywhere = self.places == EVERYWHERE
            found = torch.zeros_like(batch.tokens) if everywhere else torch.from_numpy(self.behaviour.where(batch))
            self._where[batch.index] = found.to(batch.tokens.device)
        return self._where[batch.index]

    def at(self, node: FeatureNode, batch: Batch) -> Tensor:
        """The tokens of a node's place, boolean [B, P]."""
        return self.there(batch) & (self.where(batch) == self.places.index(node.place))

    def without(self, nodes: Sequence[FeatureNode]) -> Removed:
        """Some nodes alone are ablated."""
        return Removed.these(nodes, self.dictionary, self.places)

    def only(self, nodes: Sequence[FeatureNode], errors: bool) -> Removed:
        """All features but some are ablated; `errors`: all errors that are not among these too."""
        return Removed.all_but(nodes, self.dictionary, errors, self.places)

    @torch.no_grad()
    def clean(self, batch: Batch) -> Values:
        """Of the clean prompts."""
        return self._values(batch.tokens)

    def ablated(self, place: int) -> Values:
        """What ablated nodes become in a batch, given by its place."""
        if place not in self._kept:
            batch = self.batches[place]
            if self.ablation is FeatureAblation.resample:
                assert batch.corrupted is not None  # which resample ablation asks for
                self._kept[place] = self._values(batch.corrupted)
            elif self.means is not None:
                self._kept[place] = self.means
            else:
                zero = torch.zeros((), dtype=self.model.dtype, device=self.model.device)
                features = {one.reads: zero for one in self.dictionary.sets}
                self._kept[place] = Values(features, dict.fromkeys(self.dictionary.targets, zero))
        return self._kept[place]

    @torch.no_grad()
    def _values(self, tokens: Tensor) -> Values:
        run, seen = SiteRun(self.model, wanted=self.dictionary.hooks), _Seen(self.dictionary)
        run.residual(tokens)
        for one in self.dictionary.sets:
            seen.read(one, run.found[one.reads])
        errors = {hook: run.found[hook] - seen.reconstruction(hook) for hook in self.dictionary.targets}
        return Values(seen.activations, errors)

    def _means(self) -> Values:
        features: dict[Hook, Tensor] = {}
        errors: dict[Hook, Tensor] = {}
        count = 0
        for batch in self.batches:
            there, values = self.there(batch), self.clean(batch)
            count += int(there.sum())
            for found, some in ((features, values.features), (errors, values.errors)):
                for hook, x in some.items():
                    found[hook] = found.get(hook, 0.0) + x[there].sum(0)
        return Values(*({hook: x / count for hook, x in found.items()} for found in (features, errors)))

    def edits(self, place: int, removed: Removed) -> dict[Hook, Edit]:
        """Those of a run of a batch with some nodes ablated."""
        seen, ablated, where = _Seen(self.dictionary), self.ablated(place), self.where(self.batches[place])
        found: dict[Hook, Edit] = {one.reads: partial(seen.read, one) for one in self.dictionary.sets}
        for target in self.dictionary.targets:
            found[target] = partial(self._write, seen, ablated, removed, where, target, found.get(target))
        return found

    def _write(
        self, seen: _Seen, ablated: Values, removed: Removed, where: Tensor, target: Hook, read: Edit | None, x: Tensor
    ) -> Tensor:
        if read is not None:
            read(x)
        later = (torch.arange(x.shape[1], device=x.device) > 0)[:, None]
        change = torch.zeros_like(x)
        for one in self.dictionary.sets:
            mask = removed.features[one.reads]
            if target in one.writes and mask.any():
                activations = seen.activations[one.reads]
                by = torch.where(_tokens(mask, where) & later, ablated.features[one.reads] - activations, 0.0)
                change = change + one.contributed(by, one.writes.index(target))
        if removed.errors[target].any():
            error, gone = x - seen.reconstruction(target), _tokens(removed.errors[target][:, None], where)
            change = change + torch.where(gone & later, ablated.errors[target] - error, 0.0)
        return x + change

    @torch.no_grad()
    def measure(
        self, candidates: Sequence[Removed], advance: Advance = nobody, metrics: Sequence[Metric] = ()
    ) -> np.ndarray:
        """Metrics with nodes ablated, float64 [metrics, candidates, rows]; by default the own metric alone. `advance`
        is told of finished candidates."""
        wanted = tuple(metrics) or (self.metric,)
        values = np.empty((len(wanted), len(candidates), len(self.behaviour.rows)))
        for number, removed in enumerate(candidates):
            for place, batch in enumerate(self.batches):
                logits = SiteRun(self.model, self.edits(place, removed)).logits(batch.tokens, batch.positions)
                values[:, number, list(batch.index)] = apply(wanted, logits[None], batch.answers)[:, 0]
            advance(1)
        return values

    def full(self) -> float:
        """The model's own metric, the mean over rows."""
        return float(self.behaviour.full().mean())


def _tokens(mask: Tensor, where: Tensor) -> Tensor:
    """What is meant at every token [B, P, F] of a mask [S, F] by places; of one place, which all tokens are, [1, F]."""
    return mask if len(mask) == 1 else mask[where]
