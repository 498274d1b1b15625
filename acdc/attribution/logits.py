"""Which logits a graph explains, and the vectors that read them.

A logit counts less the mean of all logits, as only differences change what the model says; any soft-capping is left
out.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from acdc.attribution.frozen import FrozenRun
from acdc.attribution.rows import Targets
from acdc.errors import InputError
from acdc.words import count_of

SHARE, MOST = 0.95, 10


@dataclass(frozen=True)
class LogitChoice:
    """The logits to explain: of given `tokens`; of the first of these less the second (`difference`); or, for None, of
    the likeliest tokens, up to a `share` of the probability and at most so many."""

    tokens: tuple[int, ...] | None = None
    difference: bool = False
    share: float = SHARE
    most: int = MOST

    def check(self, outputs: int) -> None:
        """Raises InputError where no logits are meant, or such as a model with so many outputs has not."""
        if not 0 < self.share <= 1:
            raise InputError(f"the share {self.share:g} of the probability must be above 0 and at most 1")
        if self.most < 1:
            raise InputError(f"the number of logits {self.most} must be at least 1")
        if self.tokens is None:
            return
        if not self.tokens:
            raise InputError("no token is given whose logit is to be explained")
        if wrong := [token for token in self.tokens if not 0 <= token < outputs]:
            raise InputError(f"token id {wrong[0]} is not one of the model's outputs: 0 to {outputs - 1:,}")
        if len(set(self.tokens)) < len(self.tokens):
            raise InputError("a token is given twice whose logit is to be explained")
        if self.difference and len(self.tokens) != 2:
            raise InputError(f"a difference is that of two logits, and {count_of(len(self.tokens), 'token')} are given")


@dataclass(frozen=True)
class Logits:
    """Chosen logits: token ids, ids of what is taken off (-1: the mean of all), values, and weights of influence."""

    tokens: tuple[int, ...]
    minus: tuple[int, ...]
    values: Tensor
    weights: Tensor
    targets: Targets

    def __len__(self) -> int:
        return len(self.tokens)


def choose_logits(run: FrozenRun, choice: LogitChoice) -> Logits:
    """The logits of the last position that a graph is to explain; weights are their probabilities, 1 for a difference.
    Raises InputError as `LogitChoice.check` does."""
    choice.check(len(run.raw))
    probabilities = run.logits.softmax(-1)
    if choice.tokens is not None:
        tokens = torch.tensor(choice.tokens, device=run.raw.device)
    else:
        ordered = probabilities.sort(descending=True, stable=True)
        needed = int(torch.searchsorted(ordered.values.cumsum(0), choice.share)) + 1
        tokens = ordered.indices[: min(needed, choice.most)]
    columns, biases = _read(run, tokens)
    values = run.raw[tokens] - run.raw.mean()
    weights, minus = probabilities[tokens], [-1] * len(tokens)
    if choice.difference:
        columns, biases, values = (x[:1] - x[1:] for x in (columns, biases, values))
        tokens, minus, weights = tokens[:1], [int(tokens[1])], torch.ones_like(weights[:1])
    return Logits(tuple(tokens.tolist()), tuple(minus), values, weights, _targets(run, columns, biases))


def _read(run: FrozenRun, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """(vectors [k, d] that read the logits of tokens less the mean, their biases [k])."""
    unembed, bias = run.weights.unembed, run.weights.unembed_bias
    columns = unembed[:, tokens].T - unembed.mean(1)
    return columns, columns.new_zeros(len(tokens)) if bias is None else bias[tokens] - bias.mean()


def _targets(run: FrozenRun, columns: Tensor, biases: Tensor) -> Targets:
    norm = run.final_norm
    if norm.bias is not None:
        biases = biases + columns @ norm.bias
    last = torch.full((len(columns),), run.length - 1, device=columns.device)
    return Targets(torch.full_like(last, run.anatomy.n_layers), last, norm.back(columns, last), biases)
