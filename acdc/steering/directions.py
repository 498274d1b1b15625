"""Directions of the residual stream: of a feature or neuron, from means over prompts, of two tokens, or from a file.

All have norm 1, so that a strength is the norm of what is added. A difference of means is that of the residual stream
at the last tokens of two sets of prompts, or of a task's clean and corrupted prompts at their answer positions (Turner
et al. 2023, arXiv 2308.10248; Rimsky et al. 2023, arXiv 2312.06681).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from acdc.attribution.prompts import prompt_tokens
from acdc.dictionaries.dictionary import Dictionary
from acdc.dictionaries.hooks import Hook, Site
from acdc.dictionaries.quality import batches
from acdc.dictionaries.run import sites_of
from acdc.errors import InputError
from acdc.explanation.units import HeadUnit, parse_unit
from acdc.files import read_bytes
from acdc.interventions.bound import read_vector
from acdc.interventions.intervention import Unit, UnitKind
from acdc.model.load import Model
from acdc.task.prompt_tokenizer import PromptTokenizer
from acdc.task.rows import Task
from acdc.words import count_of

Prompts = Path | Sequence[str]


@dataclass(frozen=True, eq=False)
class SteeringDirection:
    """`name` in words; `vector` [d] of norm 1; `before`: its norm before that."""

    name: str
    vector: Tensor
    before: float

    @classmethod
    def of(cls, name: str, vector: Tensor, model: Model) -> "SteeringDirection":
        """Raises InputError for a vector of another width, or of zeros."""
        vector = vector.detach().to(model.device, model.dtype)
        if vector.dim() != 1 or len(vector) != model.anatomy.d_model:
            raise InputError(
                f"{name} has shape {list(vector.shape)}, and the residual stream of {model.name!r} "
                f"[{model.anatomy.d_model}]"
            )
        norm = float(vector.norm())
        if not 0 < norm < float("inf"):
            raise InputError(f"{name} is no direction: its norm is {norm:g}")
        return cls(name, vector / norm, norm)


def from_unit(model: Model, name: str, dictionary: Dictionary | None) -> SteeringDirection:
    """What a feature or a neuron writes. Raises InputError for a head, which writes many."""
    unit = parse_unit(name, model, dictionary)
    if isinstance(unit, HeadUnit):
        raise InputError(f"{name}: a head writes no single direction; give a feature or a neuron")
    return SteeringDirection.of(f"output of {unit.kind} {name}", unit.written, model)


def from_vector(model: Model, given: Path | Tensor | np.ndarray) -> SteeringDirection:
    """A vector in a file, or an array [d]."""
    if isinstance(given, Path):
        return SteeringDirection.of(given.name, read_vector(given), model)
    return SteeringDirection.of("the given vector", torch.as_tensor(given), model)


def from_prompts(model: Model, at: Unit, toward: Prompts, away: Prompts) -> SteeringDirection:
    """From the mean of one file's prompts, a line each, or of texts, less that of the other's."""
    hook = hook_of(at)
    means = [mean_at(model, hook, *_last_tokens(model, given)) for given in (toward, away)]
    names = [given.name if isinstance(given, Path) else count_of(len(given), "prompt") for given in (toward, away)]
    return SteeringDirection.of(f"mean over {names[0]} less {names[1]}", means[0] - means[1], model)


def from_task(model: Model, at: Unit, task: Task) -> SteeringDirection:
    """From the mean of a task's clean prompts less that of its corrupted ones, where their answers are read. Raises
    InputError for rows without."""
    hook, rows = hook_of(at), [single for row in task.rows for single in row.single]
    if any(row.corrupted is None for row in rows):
        raise InputError(f"task {task.name!r} has rows without corrupted prompts: it gives no difference of means")
    clean = mean_at(model, hook, [row.clean for row in rows], [row.answer_position for row in rows])
    corrupted = [row.corrupted for row in rows if row.corrupted is not None]
    other = mean_at(model, hook, corrupted, [row.corrupted_positions[0] for row in rows])
    return SteeringDirection.of(f"clean less corrupted prompts of {task.name}", clean - other, model)


@dataclass(frozen=True)
class Source:
    """Where a direction is from: one of these, `toward` with `away`. `unit`: a neuron or feature; `toward`, `away`:
    files of prompts, or prompts; `pairs`: a task; `vector`: a file, or an array [d]."""

    unit: str | None = None
    toward: Prompts | None = None
    away: Prompts | None = None
    pairs: Task | None = None
    vector: Path | Tensor | np.ndarray | None = None

    def direction(self, model: Model, at: Unit, dictionary: Dictionary | None = None) -> SteeringDirection:
        """Raises InputError for none or several, and for what gives no direction."""
        given = [one for one in (self.unit, self.toward, self.pairs, self.vector) if one is not None]
        if len(given) != 1 or (self.toward is None) != (self.away is None):
            raise InputError("give one direction: --unit, --toward with --away, --pairs or --vector")
        if self.unit is not None:
            return from_unit(model, self.unit, dictionary)
        if self.toward is not None and self.away is not None:
            return from_prompts(model, at, self.toward, self.away)
        if self.pairs is not None:
            return from_task(model, at, self.pairs)
        assert self.vector is not None  # the only one that is left
        return from_vector(model, self.vector)


def hook_of(at: Unit) -> Hook:
    """Raises InputError for a unit that is not the residual stream."""
    sites = {UnitKind.resid_pre: Site.resid_pre, UnitKind.resid_post: Site.resid_post}
    if at.kind not in sites:
        raise InputError(f"--at {at.id}: a model is steered in the residual stream, resid_pre3 or resid_post3")
    return Hook(at.layer, sites[at.kind])


@torch.no_grad()
def mean_at(model: Model, hook: Hook, prompts: Sequence[Sequence[int]], positions: Sequence[int]) -> Tensor:
    """Mean [d] of a hook over prompts, at one position of each."""
    total, start = torch.zeros(model.anatomy.d_model, dtype=torch.float64, device=model.device), 0
    for tokens, _ in batches(model, prompts):
        x = sites_of(model, tokens, [hook])[hook]
        at = torch.tensor(positions[start : start + len(tokens)], device=model.device)
        total += x[torch.arange(len(tokens), device=model.device), at].double().sum(0)
        start += len(tokens)
    return total / len(prompts)


@torch.no_grad()
def typical_norm(model: Model, hook: Hook, prompts: Sequence[Sequence[int]]) -> float:
    """Mean norm of a hook at all tokens of prompts but the first of each."""
    norms = []
    for tokens, there in batches(model, prompts):
        there = there.clone()
        there[:, 0] = tokens.shape[1] == 1
        norms.append(sites_of(model, tokens, [hook])[hook][there].norm(dim=-1))
    return float(torch.cat(norms).double().mean())


def read_prompts(model: Model, path: Path) -> list[tuple[int, ...]]:
    """Prompts of a UTF-8 file, one on each line. Raises InputError for a file without any, and naming the line for one
    that is too long."""
    if model.tokenizer is None:
        raise InputError(f"{path} is text, and model {model.name!r} has no tokenizer")
    try:
        lines = read_bytes(path, 2**26).decode("utf-8").splitlines()
    except UnicodeDecodeError:
        raise InputError(f"{path} is not valid UTF-8 text") from None
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not numbered:
        raise InputError(f"{path} holds no prompts: give one on each line")
    found = PromptTokenizer(model.tokenizer, None).encode([line for _, line in numbered])
    for (number, _), tokens in zip(numbered, found, strict=True):
        if len(tokens) > model.anatomy.n_ctx:
            raise InputError(
                f"{path}, line {number}: {count_of(len(tokens), 'token')}, and the model takes {model.anatomy.n_ctx:,}"
            )
    return [tuple(tokens) for tokens in found]


def _last_tokens(model: Model, given: Prompts) -> tuple[list[tuple[int, ...]], list[int]]:
    prompts = read_prompts(model, given) if isinstance(given, Path) else [prompt_tokens(model, one) for one in given]
    if not prompts:
        raise InputError("toward and away need prompts, and one of them has none")
    return prompts, [len(prompt) - 1 for prompt in prompts]
