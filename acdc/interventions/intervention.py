"""What is changed, how, and where, as typed values; and the syntax in which users write it.

    UNIT[DIRECTION]@PLACE=AMOUNT        a3.h2=0    m5.n123@4=2    resid_pre3[happy.npy]@-1=5    m4=FILE.safetensors

Units: `a3.h2` is what head 2 of layer 3 adds to the residual stream, `m5` what MLP 5 adds to it, `m5.n123` a hidden
neuron of MLP 5 (the input of its output projection), `m5.f41` feature 41 of a dictionary for MLP 5, `resid_pre3` and
`resid_post3` the residual stream before and after layer 3. All but neurons and features are vectors of the residual
width d. With a direction v, what is changed is the
coordinate c = x.v / v.v along it alone: of x = c v + rest, the rest stays.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from acdc.errors import InputError
from acdc.graph import Anatomy
from acdc.words import shortened

TOKENS = "unembed:"


class Action(StrEnum):
    """What becomes of a value x: the amount; x times the amount; or x plus the amount."""

    set = "set"
    scale = "scale"
    add = "add"


class UnitKind(StrEnum):
    head = "head"
    mlp = "mlp"
    neuron = "neuron"
    feature = "feature"
    resid_pre = "resid_pre"
    resid_post = "resid_post"


@dataclass(frozen=True)
class Unit:
    """A part of a layer; `index` is the head, the neuron or the feature, -1 where there is none."""

    kind: UnitKind
    layer: int
    index: int = -1

    @property
    def id(self) -> str:
        match self.kind:
            case UnitKind.head:
                return f"a{self.layer}.h{self.index}"
            case UnitKind.mlp:
                return f"m{self.layer}"
            case UnitKind.neuron:
                return f"m{self.layer}.n{self.index}"
            case UnitKind.feature:
                return f"m{self.layer}.f{self.index}"
            case _:
                return f"{self.kind}{self.layer}"

    @classmethod
    def parse(cls, text: str) -> "Unit":
        """The unit of an id; the residual stream also by TransformerLens' names, such as "blocks.3.hook_resid_post".
        Raises InputError for a string that is no id."""
        found = _UNIT.fullmatch(_HOOK.sub(r"resid_\2\1", text))
        if not found:
            raise InputError(
                f"{shortened(text)} is not a unit: expected a head 'a3.h2', an MLP 'm5', a hidden neuron 'm5.n123', a "
                "feature 'm5.f41', or the residual stream 'resid_pre3' or 'resid_post3'"
            )
        layer, head, mlp, kind, index, stream, at = found.groups()
        if layer is not None:
            return cls(UnitKind.head, int(layer), int(head))
        if stream is not None:
            return cls(UnitKind(stream), int(at))
        if kind is None:
            return cls(UnitKind.mlp, int(mlp))
        return cls(UnitKind.neuron if kind == "n" else UnitKind.feature, int(mlp), int(index))

    @property
    def is_number(self) -> bool:
        """Whether it is one number at a position."""
        return self.kind in (UnitKind.neuron, UnitKind.feature)

    def check(self, anatomy: Anatomy) -> None:
        """Raises InputError for a unit that no model of this shape has; it says nothing of how many neurons and
        features there are."""
        if self.layer >= anatomy.n_layers:
            raise InputError(f"{self.id}: the model has no layer {self.layer}, only 0 to {anatomy.n_layers - 1}")
        if self.kind is UnitKind.head and self.index >= anatomy.n_heads:
            raise InputError(f"{self.id}: the layers have no head {self.index}, only 0 to {anatomy.n_heads - 1}")
        if (self.kind is UnitKind.mlp or self.is_number) and anatomy.attn_only:
            raise InputError(f"{self.id}: the model has no MLPs")


@dataclass(frozen=True)
class Place:
    """One position; or those of a named span; or those from `start` up to but without `stop`, by default all. Without a
    stop, tokens that are generated after the prompt belong to them.

    A negative position counts back from the token whose next token is looked at, which is -1: the last of a prompt, or
    a row's answer position.
    """

    position: int | None = None
    span: str | None = None
    start: int | None = None
    stop: int | None = None

    @property
    def is_everywhere(self) -> bool:
        return self == Place()

    @property
    def goes_on(self) -> bool:
        """Whether generated tokens belong to it."""
        return self.position is None and self.span is None and self.stop is None

    def __str__(self) -> str:
        if self.span is not None:
            return self.span
        if self.position is not None:
            return str(self.position)
        return "all" if self.is_everywhere else ":".join("" if n is None else str(n) for n in (self.start, self.stop))

    @classmethod
    def parse(cls, text: str) -> "Place":
        """Of a position, a range `2:5`, or a span's name. Raises InputError for anything else."""
        if re.fullmatch(r"-?\d{1,9}", text):
            return cls(int(text))
        if ":" in text:
            ends = text.split(":")
            if len(ends) != 2 or not all(re.fullmatch(r"(-?\d{1,9})?", end) for end in ends):
                raise InputError(f"{shortened(text)} is not a range of positions such as '2:5', which means 2, 3 and 4")
            start, stop = (int(end) if end else None for end in ends)
            return cls(start=start, stop=stop)
        if text == "all":
            return cls()
        if not text:
            raise InputError("an @ must be followed by a position, a range of positions such as 2:5, or a span's name")
        return cls(span=text)


@dataclass(frozen=True)
class FileDirection:
    """A vector in a .npy file, or the one tensor of a .safetensors file; or one that a caller gives by this name."""

    path: str

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True)
class TokenDirection:
    """The column of the unembedding that reads the logit of a token, less that of another."""

    token: str
    less: str

    def __str__(self) -> str:
        return f"{TOKENS}{self.token}|{self.less}"


Direction = FileDirection | TokenDirection


@dataclass(frozen=True)
class Intervention:
    """One change. `amount`: a number, or a vector to set or add; `along`: the direction whose coordinate is meant."""

    action: Action
    unit: Unit
    amount: float | Direction
    along: Direction | None = None
    place: Place = Place()

    def __str__(self) -> str:
        along = "" if self.along is None else f"[{self.along}]"
        place = "" if self.place.is_everywhere else f"@{self.place}"
        amount = f"{self.amount:g}" if isinstance(self.amount, float) else str(self.amount)
        return f"{self.action} {self.unit.id}{along}{place}={amount}"

    @classmethod
    def parse(cls, action: Action, text: str) -> "Intervention":
        """What a user wrote after --set, --scale or --add. Raises InputError for what means nothing."""
        found = _WHOLE.fullmatch(text)
        if not found:
            raise InputError(f"--{action} {shortened(text)} is not of the form UNIT[DIRECTION]@PLACE=AMOUNT")
        unit, along, place, amount = found.groups()
        try:
            made = cls(
                action,
                Unit.parse(unit),
                _amount(amount),
                None if along is None else _direction(along),
                Place() if place is None else Place.parse(place),
            )
            made._check()
        except InputError as error:
            raise InputError(f"--{action} {shortened(text, 80)}: {error}") from None
        return made

    def _check(self) -> None:
        """Raises InputError for a number where a vector is meant, or the other way round."""
        a_number = isinstance(self.amount, float)
        scalar, name = self.unit.is_number or self.along is not None, f"a {self.unit.kind}"
        if self.unit.is_number and self.along is not None:
            raise InputError(f"{name} is one number and has no directions")
        if scalar and not a_number:
            raise InputError(f"{name if self.along is None else 'a coordinate'} takes a number, not a vector")
        if self.action is Action.scale and not a_number:
            raise InputError("a scale is a number")
        if (
            not scalar
            and (self.action is Action.add or (self.action is Action.set and self.amount != 0.0))
            and a_number
        ):
            raise InputError(
                f"{self.unit.id} is a vector: {self.action} {'0 or ' if self.action is Action.set else ''}a vector "
                "from a file, or a number along a direction in brackets"
            )


_UNIT = re.compile(r"a(\d{1,6})\.h(\d{1,6})|m(\d{1,6})(?:\.([nf])(\d{1,9}))?|(resid_pre|resid_post)(\d{1,6})")
_HOOK = re.compile(r"^blocks\.(\d{1,6})\.hook_resid_(pre|post)$")  # what TransformerLens calls them
_WHOLE = re.compile(r"([^\[\]@=]+)(?:\[([^\[\]]+)\])?(?:@([^=@\[\]]*))?=(.+)", re.DOTALL)


def _amount(text: str) -> float | Direction:
    try:
        number = float(text)
    except ValueError:
        return _direction(text)
    if not math.isfinite(number):
        raise InputError(f"{text} is not a finite number")
    return number


def _direction(text: str) -> Direction:
    if not text.startswith(TOKENS):
        return FileDirection(text)
    token, between, less = text.removeprefix(TOKENS).partition("|")
    if not (between and token and less):
        raise InputError(f"{shortened(text)} does not name two tokens: write {TOKENS}TOKEN|OTHER")
    return TokenDirection(token, less)


def parse_all(
    set: Sequence[str] | str = (), scale: Sequence[str] | str = (), add: Sequence[str] | str = ()
) -> tuple[Intervention, ...]:
    """All that is to be done: to one unit, first what is set, then scaled, then added. Raises InputError where nothing
    is."""
    given = {Action.set: set, Action.scale: scale, Action.add: add}
    found = tuple(
        Intervention.parse(action, text)
        for action, texts in given.items()
        for text in ([texts] if isinstance(texts, str) else texts)
    )
    if not found:
        raise InputError("nothing to do: give at least one of --set, --scale and --add")
    return found
