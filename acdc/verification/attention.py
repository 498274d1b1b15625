"""Where the heads of a model attend in its clean runs, by kinds of target, beside what even attention would give.

A target is a set of positions that a position may attend to, such as earlier occurrences of its token (duplicate), what
came after these (induction; Olsson et al. 2022, arXiv 2209.11895), or the tokens that differ in the corrupted prompt.
Shares are means over the positions that have such a target and see something else too, then over the rows that have
such a position: elsewhere attention says nothing about the target. Where a head has nothing to do, it often attends to
the first token or to the present one, so there are also shares of the rest of its attention. In causal models only
positions up to the last answer are read, as no later one can affect it; in bidirectional models all are.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from acdc.artefacts.verification.mechanism import (
    ANSWER,
    CORRUPTED,
    DUPLICATE,
    EVENLY,
    FIRST,
    INDUCTION,
    ITSELF,
    NEXT,
    PREVIOUS,
    At,
)
from acdc.behaviour.behaviour import Batch, Behaviour
from acdc.execution.components import Positions
from acdc.graph import ReaderKind
from acdc.model.placed import patterned
from acdc.task.rows import Row

TARGETS = (PREVIOUS, NEXT, DUPLICATE, INDUCTION, CORRUPTED, ANSWER, FIRST, ITSELF)
COLUMNS = (*TARGETS, EVENLY)
NONE = -1  # no token: of a position that has no counterpart in the corrupted prompt
SCOPES: tuple[At, ...] = ("everywhere", "answer")


@dataclass(frozen=True)
class Shares:
    """Shares of attention of all heads, float64 [layers, heads, scopes, columns]: `whole` of all attention; `active` of
    that which does not rest on the first token or on the present one, unless these are the target, over positions that
    see more than these and the target. `even`: the active shares of a head that attends to all that it sees alike
    [scopes, columns]. nan where there is no such position.

    Scopes: the mean over positions, and from the answer position, or over those of several answers. The last column is
    no target: it is the overlap with even attention, at positions that see more than two.
    """

    whole: np.ndarray
    active: np.ndarray
    even: np.ndarray


@torch.no_grad()
def attention_shares(behaviour: Behaviour) -> Shares:
    """Of all heads, over all rows. The model's components can be asked for patterns."""
    shape = behaviour.model.anatomy
    layers, heads, kinds = shape.n_layers, shape.n_heads, (2, len(SCOPES), len(COLUMNS))  # whole and active
    total, even, rows = np.zeros((layers, heads, *kinds)), np.zeros(kinds), np.zeros(kinds)
    for batch in behaviour.batches:
        targets = [_Targets.of(row, shape.bidirectional) for row in batch.rows]
        for there in targets:
            found = there.shares(there.even[None])[0]
            rows += np.isfinite(found)
            even += np.nan_to_num(found)
        for layer in range(layers):
            patterns = clean_patterns(behaviour, batch, layer)
            for row, there in enumerate(targets):
                end = len(there.even)
                total[layer] += np.nan_to_num(there.shares(patterns[:, row, :end, :end].cpu().double()))
    with np.errstate(invalid="ignore"):  # 0 / 0 where no row has the target
        (whole, active), (_, even) = np.moveaxis(total / rows, 2, 0), even / rows
    return Shares(whole, active, even)


def clean_patterns(behaviour: Behaviour, batch: Batch, layer: int) -> Tensor:
    """What the heads of a layer attend to in the clean run, [heads, rows, positions, positions]."""
    components, residual = behaviour.model.components, batch.clean.residuals[layer][None]
    q, k = (components.project(layer, kind, residual) for kind in (ReaderKind.Q, ReaderKind.K))
    return patterned(components).patterns(layer, q, k, Positions(residual.shape[2]))


@dataclass(frozen=True)
class _Targets:
    """Of one row: `masks` [targets, positions, positions] of what is a target of a position; `resting`, of the same
    shape, of the first token and the present one where these are none; `even` attention [positions, positions]; and
    which positions are `counted` for shares of all attention and of what does not rest [2, columns, positions]."""

    masks: Tensor
    resting: Tensor
    even: Tensor
    counted: Tensor
    answers: list[int]

    @classmethod
    def of(cls, row: Row, bidirectional: bool) -> "_Targets":
        end = len(row.clean) if bidirectional else row.last_answer + 1
        here, there = torch.meshgrid(torch.arange(end), torch.arange(end), indexing="ij")
        visible = (there <= here) | bidirectional
        masks = _masks(row, here, there, visible)
        resting = ((there == 0) | (there == here)) & visible & ~masks
        exists, several = masks.any(-1), (visible.sum(-1) > 2)[None]
        told_apart = [(exists & (others & ~masks).any(-1)) for others in (visible, visible & ~resting)]
        return cls(
            masks=masks.double(),
            resting=resting.double(),
            even=visible.double() / visible.sum(-1, keepdim=True),
            counted=torch.stack([torch.cat([positions, several]) for positions in told_apart]),
            answers=[answers.position for answers in row.answers],
        )

    def shares(self, patterns: Tensor) -> np.ndarray:
        """Of patterns [heads, positions, positions]: [heads, 2, scopes, columns], of all attention and of what does
        not rest; nan where no position counts."""
        whole, rest = (torch.einsum("hqk,tqk->htq", patterns, masks) for masks in (self.masks, self.resting))
        active = torch.where(whole > 0, whole / (1 - rest).clamp_min(whole), 0.0)
        overlap = torch.minimum(patterns, self.even).sum(-1)[:, None]
        found = torch.stack([torch.cat([share, overlap], 1) for share in (whole, active)], 1)
        found = found.masked_fill(~self.counted, torch.nan)
        return torch.stack([found.nanmean(-1), found[..., self.answers].nanmean(-1)], 2).numpy()


def _masks(row: Row, here: Tensor, there: Tensor, visible: Tensor) -> Tensor:
    """What is a target of a position, boolean [targets, positions, positions]."""
    end = len(here)
    tokens = torch.tensor(row.clean[:end])
    theirs = row.counterparts or row.clean  # without any, no token differs
    corrupted = torch.tensor([NONE if token is None else token for token in theirs[:end]])
    others = (tokens[:, None] == tokens[None]) & (there != here) & visible
    by_name = {
        PREVIOUS: there == here - 1,
        NEXT: there == here + 1,
        DUPLICATE: others,
        INDUCTION: others.roll(1, 1) & (there > 0),
        CORRUPTED: (tokens != corrupted).expand(end, end),
        ANSWER: _is_answer(row, tokens),
        FIRST: there == 0,
        ITSELF: there == here,
    }
    return torch.stack([by_name[name] for name in TARGETS]) & visible


def _is_answer(row: Row, tokens: Tensor) -> Tensor:
    """Whether a token is a correct answer, seen from each position, boolean [positions, positions]: where there is an
    answer it is that one, elsewhere any."""

    def among(answers: Sequence[int]) -> Tensor:
        return torch.isin(tokens, torch.tensor(answers, dtype=tokens.dtype))

    found = among([token for answers in row.answers for token in answers.correct]).repeat(len(tokens), 1)
    for answers in row.answers:
        found[answers.position] = among(answers.correct)
    return found
