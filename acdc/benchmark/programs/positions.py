"""Along which edges at positions a program computes: which position reads which.

A head compares what its query has at one position with the keys at all positions up to that, and copies the values at
those that it selects. So which edges these are depends on the prompt.
"""

from collections.abc import Iterable, Sequence

from acdc.benchmark.programs.interpreter import Held, hold, selected
from acdc.benchmark.programs.language import Head, Operation, Program, Variable
from acdc.graph import ATTENTION_SLOTS, ComponentGraph, Reader, ReaderKind


def edges_at(program: Program, graph: ComponentGraph, prompt: Sequence[int]) -> frozenset[str]:
    """Ids of the edges at positions along which it computes what it says of a prompt, at the last position."""
    held, last = hold(program, prompt), len(prompt) - 1
    authors = {operation.writes: operation for operation in program.operations}
    found = {f"{program.author(program.output, graph).id}@{last}->{Reader(ReaderKind.LOGITS).id}@{last}"}
    seen: set[tuple[Variable, int]] = set()
    waiting = [(program.output, last)]
    while waiting:
        variable, at = waiting.pop()
        if (variable, at) in seen or variable not in authors:  # the given variables are read from nothing
            continue
        seen.add((variable, at))
        operation = authors[variable]
        place = program.places[operation]
        for slot, read in operation.reads:
            head = (place.layer, place.head) if slot in ATTENTION_SLOTS else (place.layer,)
            for source in _sources(operation, slot, held, at):
                found.add(f"{program.author(read, graph).id}@{source}->{Reader(slot, *head).id}@{at}")
                waiting.append((read, source))
    return frozenset(found)


def _sources(operation: Operation, slot: ReaderKind, held: dict[Variable, list[Held]], at: int) -> Iterable[int]:
    """The positions of which an operation reads what a slot gives it; all where the program leaves that open."""
    if not isinstance(operation, Head) or slot is ReaderKind.Q:
        return [at]
    chosen = selected(operation, held, at) if slot is ReaderKind.V else None
    return range(at + 1) if chosen is None else chosen
