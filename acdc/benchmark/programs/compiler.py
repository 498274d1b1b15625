"""Compile a program to the weights of a transformer that computes it.

Every value of every variable has a dimension of the residual stream of its own; what a component writes and reads is
known from these. A head's score is `SHARPNESS` times what its matches count, so that all but the most counting
positions get next to nothing. A lookup has a unit for each entry of its table, which is 1 where all values are there,
else 0; a step has two units, which differ by 1 above its threshold and by 0 below.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

import numpy as np

from acdc.benchmark.programs.language import Head, Lookup, Program, Steps, Variable
from acdc.benchmark.programs.weights import Layer, Weights

SHARPNESS = 50.0  # logits between counting one more and one less: e^-50 of the weight goes astray
LOGITS = 5.0  # of an output value that has all the weight


@dataclass(frozen=True)
class Layout:
    """Which dimensions of the residual stream hold which variable."""

    starts: dict[Variable, int]
    width: int

    @classmethod
    def of(cls, variables: Iterable[Variable]) -> "Layout":
        starts, width = {}, 0
        for variable in variables:
            starts[variable], width = width, width + variable.size
        return cls(starts, width)

    def dims(self, variable: Variable) -> slice:
        return slice(self.starts[variable], self.starts[variable] + variable.size)

    def write(self, variable: Variable) -> np.ndarray:
        """[values, d]: the vector that stands for each value."""
        return np.eye(self.width)[self.dims(variable)]


@dataclass(frozen=True)
class _Unit:
    """A unit of an MLP: relu of `reads` [d] plus `bias`, times `writes` [d]."""

    reads: np.ndarray
    bias: float
    writes: np.ndarray


def compile_program(program: Program) -> Weights:
    """Weights of a transformer whose logits at the last position are `LOGITS` times the output's weights."""
    written = (operation.writes for operation in program.operations)
    layout = Layout.of([program.tokens, program.positions, *written])
    return Weights(
        tokens=layout.write(program.tokens),
        positions=layout.write(program.positions),
        layers=_layers(program, layout),
        unembed=LOGITS * layout.write(program.output).T,
    )


def _layers(program: Program, layout: Layout) -> tuple[Layer, ...]:
    heads = [operation for operation in program.operations if isinstance(operation, Head)]
    d_head = max((max(_keys(head), head.value.size) for head in heads), default=1)
    units = [
        [unit for operation in _in_mlp(program, layer) for unit in _units(operation, layout)]
        for layer in range(program.n_layers)
    ]
    most = max(map(len, units))
    return tuple(_layer(program, layout, number, d_head, units[number], most) for number in range(program.n_layers))


def _in_mlp(program: Program, layer: int) -> list[Lookup | Steps]:
    placed = program.places.items()
    return [operation for operation, place in placed if place.layer == layer and not isinstance(operation, Head)]


def _keys(head: Head) -> int:
    return sum(match.key.size for match in head.matches)


def _layer(program: Program, layout: Layout, number: int, d_head: int, units: list[_Unit], most: int) -> Layer:
    n_heads, width = program.n_heads, layout.width
    query, key, value = (np.zeros((n_heads, width, d_head)) for _ in range(3))
    bias, output = np.zeros((n_heads, d_head)), np.zeros((n_heads, d_head, width))
    for head, place in program.places.items():
        if isinstance(head, Head) and place.layer == number:
            _set_scores(head, layout, query[place.head], key[place.head], bias[place.head])
            value[place.head, layout.dims(head.value), : head.value.size] = np.eye(head.value.size)
            output[place.head, : head.value.size] = layout.write(head.writes)
    reads, biases, writes = np.zeros((width, most)), np.zeros(most), np.zeros((most, width))
    for index, unit in enumerate(units):
        reads[:, index], biases[index], writes[index] = unit.reads, unit.bias, unit.writes
    return Layer(query, key, value, bias, output, reads, biases, writes, _constant(program, layout, number))


def _set_scores(head: Head, layout: Layout, query: np.ndarray, key: np.ndarray, bias: np.ndarray) -> None:
    """Fill [d, h] of queries and keys and [h] of their bias: each match has a part of the head for its key's values."""
    scale, start = SHARPNESS * np.sqrt(query.shape[1]), 0
    for match in head.matches:
        part = slice(start, start + match.key.size)
        key[layout.dims(match.key), part] += np.eye(match.key.size)
        table = scale * np.array(match.table, dtype=float)
        if match.query is None:
            bias[part] = table[0]
        else:
            query[layout.dims(match.query), part] = table
        start = part.stop


def _units(operation: Lookup | Steps, layout: Layout) -> list[_Unit]:
    return _lookup_units(operation, layout) if isinstance(operation, Lookup) else _step_units(operation, layout)


def _lookup_units(lookup: Lookup, layout: Layout) -> list[_Unit]:
    """relu(2 (sum of what the values have) - (2 n - 1)): 1 where each of n variables has its value, else 0."""
    units, every = [], product(*(range(variable.size) for variable in lookup.variables))
    for values, found in zip(every, lookup.table, strict=True):
        if found is not None:
            reads = np.zeros(layout.width)
            for variable, value in zip(lookup.variables, values, strict=True):
                reads[layout.starts[variable] + value] += 2.0
            units.append(_Unit(reads, 1.0 - 2.0 * len(values), layout.write(lookup.writes)[found]))
    return units


def _step_units(steps: Steps, layout: Layout) -> list[_Unit]:
    """Above a threshold the weight moves on by one value; two units make a ramp as wide as the margins."""
    units, slope, writes = [], 0.5 / steps.margin, layout.write(steps.writes)
    for number, threshold in enumerate(steps.thresholds):
        reads = np.zeros(layout.width)
        reads[layout.dims(steps.variable)] = slope * np.array(steps.weights)
        moves = writes[number + 1] - writes[number]
        units.append(_Unit(reads, 0.5 - slope * threshold, moves))
        units.append(_Unit(reads, -0.5 - slope * threshold, -moves))
    return units


def _constant(program: Program, layout: Layout, layer: int) -> np.ndarray:
    """What an MLP always writes: steps start from their first value."""
    constant = np.zeros(layout.width)
    for operation in _in_mlp(program, layer):
        if isinstance(operation, Steps):
            constant += layout.write(operation.writes)[0]
    return constant
