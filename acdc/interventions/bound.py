"""Interventions as they are for one model and some prompts: tensors and positions instead of names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from acdc.attribution.dictionary import Dictionary
from acdc.errors import InputError, first_line
from acdc.files import check_ordinary
from acdc.interventions.intervention import (
    TOKENS,
    Action,
    Direction,
    FileDirection,
    Intervention,
    Place,
    TokenDirection,
    Unit,
    UnitKind,
)
from acdc.model.feed_forward import FeedForward, read_mlp
from acdc.model.load import Model
from acdc.task.prompt_tokenizer import PromptTokenizer
from acdc.task.rows import Row
from acdc.task.spans import REST
from acdc.words import count_of, shortened


@dataclass(frozen=True, eq=False)
class Bound:
    """`mask`: boolean [B, P], the positions in each prompt that are meant; `beyond`: whether those generated after it
    are too. `dictionary`: of a feature."""

    unit: Unit
    action: Action
    amount: float | Tensor
    along: Tensor | None
    mask: Tensor
    beyond: bool
    dictionary: Dictionary | None = None

    def __call__(self, x: Tensor, offset: int = 0) -> Tensor:
        """Values [B, n, d], or [B, n] of a neuron or feature, of n positions from `offset` on, as they become."""
        mask = self.mask.to(x.device)[:, offset : offset + x.shape[1]]
        later = x.shape[1] - mask.shape[1]
        mask = torch.cat((mask, mask.new_full((len(mask), later), self.beyond)), 1)
        return torch.where(mask if x.dim() == 2 else mask[..., None], self._changed(x), x)

    def _changed(self, x: Tensor) -> Tensor:
        amount = self.amount.to(x) if isinstance(self.amount, Tensor) else self.amount
        if self.along is None:
            return _done(self.action, x, amount)
        along = self.along.to(x)
        present = (x @ along / (along @ along))[..., None]
        return x + (_done(self.action, present, amount) - present) * along


def _done(action: Action, x: Tensor, amount: float | Tensor) -> Tensor:
    match action:
        case Action.set:
            return torch.zeros_like(x) + amount
        case Action.scale:
            return x * amount
        case Action.add:
            return x + amount


@dataclass(frozen=True)
class Prompts:
    """Where the places of some prompts are: `lengths`, the last positions `looked_at` for the next token, and rows for
    their spans, None for a prompt without a task."""

    lengths: tuple[int, ...]
    looked_at: tuple[int, ...]
    rows: tuple[Row, ...] | None = None

    @classmethod
    def single(cls, length: int) -> "Prompts":
        return cls((length,), (length - 1,))

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "Prompts":
        return cls(tuple(len(row.clean) for row in rows), tuple(row.last_answer for row in rows), tuple(rows))

    def mask(self, place: Place) -> Tensor:
        """Boolean [B, longest]. Raises InputError for positions or spans that a prompt does not have."""
        mask = torch.zeros(len(self.lengths), max(self.lengths), dtype=torch.bool)
        for number, length in enumerate(self.lengths):
            mask[number, self._positions(place, number, length)] = True
        return mask

    def _positions(self, place: Place, number: int, length: int) -> list[int]:
        if place.span is not None:
            return self._of_span(place.span, number, length)
        last = self.looked_at[number]

        def counted(end: int) -> int:
            return end if end >= 0 else last + 1 + end

        if place.position is not None:
            found = [counted(place.position)]
        else:
            start = 0 if place.start is None else counted(place.start)
            found = list(range(start, length if place.stop is None else counted(place.stop)))
        if not found or found[0] < 0 or found[-1] >= length:
            raise InputError(f"position {place} is not in {self._where(number)}, which has {count_of(length, 'token')}")
        return found

    def _of_span(self, name: str, number: int, length: int) -> list[int]:
        if self.rows is None:
            raise InputError(f"@{name}: a prompt has no spans, only a task has: give positions such as 2, 2:5 or -1")
        spans = self.rows[number].spans
        names = () if spans is None else spans.names
        if spans is None or name not in (*names, REST):
            has = f"spans {', '.join((*names, REST))}" if names else "no spans"
            raise InputError(f"there is no span {name!r}: {self._where(number)} has {has}")
        wanted = len(names) if name == REST else names.index(name)
        return [place for place, found in enumerate(spans.numbers(length)) if found == wanted]

    def _where(self, number: int) -> str:
        return "the prompt" if self.rows is None else f"row {self.rows[number].id!r}"


Vectors = Mapping[str, Tensor | np.ndarray]


class Binder:
    """Reads vectors once, and binds interventions to prompts. Raises InputError for what the model does not have."""

    def __init__(
        self,
        model: Model,
        interventions: Sequence[Intervention],
        vectors: Vectors | None = None,
        dictionary: Dictionary | None = None,
    ):
        """`dictionary`: that of the features."""
        self.model, self.interventions, self._given = model, tuple(interventions), vectors or {}
        self._dictionary = dictionary
        for one in self.interventions:
            _check_unit(model, one.unit)
            if one.unit.kind is UnitKind.feature:
                _check_feature(one.unit, dictionary)
        self._vectors = {
            direction: self._read(direction)
            for one in self.interventions
            for direction in (one.amount, one.along)
            if isinstance(direction, FileDirection | TokenDirection)
        }

    def bind(self, prompts: Prompts) -> tuple[Bound, ...]:
        """For these prompts. Raises InputError for places that they do not have."""
        return tuple(
            Bound(
                one.unit,
                one.action,
                one.amount if isinstance(one.amount, float) else self._vectors[one.amount],
                None if one.along is None else self._vectors[one.along],
                prompts.mask(one.place).to(self.model.device),
                one.place.goes_on,
                self._dictionary if one.unit.kind is UnitKind.feature else None,
            )
            for one in self.interventions
        )

    def _read(self, direction: Direction) -> Tensor:
        if isinstance(direction, TokenDirection):
            token, less = (_token(self.model, text) for text in (direction.token, direction.less))
            unembed = self.model.bridge.unembed.original_component.weight
            return (unembed[token] - unembed[less]).to(self.model.device)
        given = self._given.get(direction.path)
        vector = read_vector(Path(direction.path)) if given is None else torch.as_tensor(given)
        if vector.dim() != 1 or len(vector) != self.model.anatomy.d_model:
            raise InputError(
                f"{direction.path} holds shape {list(vector.shape)}, and a vector of the residual stream of "
                f"{self.model.name!r} has shape [{self.model.anatomy.d_model}]"
            )
        if not vector.is_floating_point() or not vector.isfinite().all():
            raise InputError(f"{direction.path} does not hold finite floating-point numbers")
        if not vector.any():
            raise InputError(f"{direction.path} holds zeros alone, which are no direction")
        return vector.to(self.model.device, self.model.dtype)


def read_vector(path: Path) -> Tensor:
    """The tensor of a .npy file, or the only one of a .safetensors file. Raises InputError for any other file."""
    if path.suffix not in (".npy", ".safetensors"):
        raise InputError(f"{path} is no vector: give a .npy or .safetensors file")
    check_ordinary(path)
    try:
        if path.suffix == ".npy":
            return torch.from_numpy(np.load(path, allow_pickle=False))
        found = load_file(path)
    except (SafetensorError, OSError, ValueError, TypeError, EOFError) as error:
        raise InputError(f"{path} cannot be read: {first_line(error)}") from None
    if len(found) != 1:
        raise InputError(f"{path} holds {count_of(len(found), 'tensor')}, and one vector is needed")
    return next(iter(found.values()))


def _token(model: Model, text: str) -> int:
    if model.tokenizer is None and text.strip().isdecimal() and len(text) < 10:
        token: int | None = int(text)
    else:
        token = None if model.tokenizer is None else PromptTokenizer(model.tokenizer).single(text)
    if token is None:
        wanted = "a token id: it has no tokenizer" if model.tokenizer is None else "one token of it"
        raise InputError(f"{TOKENS}{shortened(text)} is not in model {model.name!r}: give {wanted}")
    if token >= model.anatomy.d_vocab_out:
        raise InputError(f"token id {token} is not one of the model's outputs: 0 to {model.anatomy.d_vocab_out - 1:,}")
    return token


def _check_unit(model: Model, unit: Unit) -> None:
    unit.check(model.anatomy)
    if unit.kind is not UnitKind.neuron:
        return
    mlp = read_mlp(model.bridge.blocks[unit.layer].mlp.original_component)
    if not isinstance(mlp, FeedForward):
        raise InputError(f"{unit.id}: MLP {unit.layer} is computed by the model's own modules and has no neurons here")
    if unit.index >= len(mlp.out.weight):
        last = len(mlp.out.weight) - 1
        raise InputError(f"{unit.id}: MLP {unit.layer} has no neuron {unit.index}, only 0 to {last:,}")


def _check_feature(unit: Unit, dictionary: Dictionary | None) -> None:
    if dictionary is None:
        raise InputError(f"{unit.id} is a feature of a dictionary: give --dictionary")
    units = dictionary.layers[unit.layer] if unit.layer < len(dictionary.layers) else None
    if units is None:
        raise InputError(f"{unit.id}: the dictionary has no features of MLP {unit.layer}")
    if not unit.index < units.size:
        raise InputError(f"{unit.id}: MLP {unit.layer} has no feature {unit.index}, only 0 to {units.size - 1:,}")
    if len(units.targets) > 1:
        raise InputError(f"{unit.id}: features that write to several layers are not changed, only those of transcoders")
