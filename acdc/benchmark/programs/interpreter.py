"""Run a program by its definition, position by position: what a compiled model is compared with."""

from collections.abc import Sequence
from itertools import product

from acdc.benchmark.programs.language import Head, Lookup, Match, Operation, Program, Steps, Variable
from acdc.errors import InputError

Held = tuple[float, ...] | None  # weights of a variable's values at a position; None where the program says nothing
_SHARP = 1e-9


def run(program: Program, prompt: Sequence[int]) -> tuple[float, ...]:
    """Weights of the output's values at the last position. Raises InputError where the program leaves them open."""
    output = hold(program, prompt)[program.output][-1]
    if output is None:
        raise InputError(f"program {program.name!r} leaves the output open for prompt {list(prompt)}")
    return output


def hold(program: Program, prompt: Sequence[int]) -> dict[Variable, list[Held]]:
    """What every variable has at each position."""
    held: dict[Variable, list[Held]] = {
        program.tokens: [_weights(token, program.tokens.size) for token in prompt],
        program.positions: [_weights(position, program.length) for position in range(len(prompt))],
    }
    for operation in program.operations:
        held[operation.writes] = [_write(operation, held, position) for position in range(len(prompt))]
    return held


def _write(operation: Operation, held: dict[Variable, list[Held]], position: int) -> Held:
    match operation:
        case Head():
            return _attend(operation, held, position)
        case Lookup():
            return _look_up(operation, [held[variable][position] for variable in operation.variables])
        case Steps():
            return _count(operation, held[operation.variable][position])


def selected(head: Head, held: dict[Variable, list[Held]], position: int) -> list[int] | None:
    """The positions that a head selects for one; None where the program leaves that open."""
    counts = [0] * (position + 1)
    for match in head.matches:
        for key in range(position + 1):
            count = _match(match, held, position, key)
            if count is None:
                return None
            counts[key] += count
    return [key for key, count in enumerate(counts) if count == max(counts)]


def _attend(head: Head, held: dict[Variable, list[Held]], position: int) -> Held:
    chosen = selected(head, held, position)
    if chosen is None:
        return None
    values = [held[head.value][key] for key in chosen]
    if any(weights is None for weights in values):
        return None
    return tuple(sum(weights) / len(values) for weights in zip(*values, strict=True))


def _match(match: Match, held: dict[Variable, list[Held]], position: int, key: int) -> int | None:
    query = 0 if match.query is None else _value(held[match.query][position])
    value = _value(held[match.key][key])
    return None if query is None or value is None else match.table[query][value]


def _look_up(lookup: Lookup, read: Sequence[Held]) -> Held:
    values = tuple(map(_value, read))
    every: list[tuple[int | None, ...]] = list(product(*(range(variable.size) for variable in lookup.variables)))
    found = None if None in values else lookup.table[every.index(values)]
    return None if found is None else _weights(found, lookup.writes.size)


def _count(steps: Steps, read: Held) -> Held:
    if read is None:
        return None
    total = sum(weight * share for weight, share in zip(steps.weights, read, strict=True))
    if any(abs(total - threshold) < steps.margin - _SHARP for threshold in steps.thresholds):
        return None
    return _weights(sum(total > threshold for threshold in steps.thresholds), steps.writes.size)


def _value(weights: Held) -> int | None:
    """The value that has all the weight."""
    if weights is None or max(weights) < 1 - _SHARP or sum(weights) > 1 + _SHARP:
        return None
    return weights.index(max(weights))


def _weights(value: int, size: int) -> tuple[float, ...]:
    return tuple(float(i == value) for i in range(size))
