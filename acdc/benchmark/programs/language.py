"""A small language for programs that a transformer can compute exactly, in the spirit of RASP and Tracr (Weiss et al.
2021, arXiv 2106.06981; Lindner et al. 2023, arXiv 2301.05062).

A program computes variables, each with one of finitely many values at every position of a prompt. A head selects
positions by what they and the present one hold, and writes the mean of what the selected ones hold. A lookup writes
what a table says of the values of a few variables; steps turn a mean back into a value. Each variable has one author,
a head or a part of an MLP, or is given: the tokens and the positions.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

from acdc.graph import ATTENTION_SLOTS, ComponentGraph, Edge, Reader, ReaderKind, Writer, WriterKind


@dataclass(frozen=True)
class Variable:
    """Something that has one of `size` values at every position, or after a head a mean of such: weights [size]."""

    name: str
    size: int


@dataclass(frozen=True)
class Match:
    """What a position's key counts for a position's query: `table` [query values][key values], whole numbers.

    Without `query`, all positions ask for the same, and the table has one row.
    """

    query: Variable | None
    key: Variable
    table: tuple[tuple[int, ...], ...]

    @classmethod
    def where(cls, query: Variable, key: Variable, counts: Callable[[int, int], int | bool]) -> "Match":
        """A table from a function of a query's and a key's value."""
        rows = (tuple(int(counts(q, k)) for k in range(key.size)) for q in range(query.size))
        return cls(query, key, tuple(rows))

    @classmethod
    def prefer(cls, key: Variable, counts: Callable[[int], int | bool]) -> "Match":
        """What keys count for every query."""
        return cls(None, key, (tuple(int(counts(k)) for k in range(key.size)),))


@dataclass(frozen=True)
class Head:
    """The mean of `value` over the positions, up to the present one, whose matches add up to the most."""

    writes: Variable
    value: Variable
    matches: tuple[Match, ...] = ()

    @property
    def reads(self) -> Iterator[tuple[ReaderKind, Variable]]:
        """(slot, variable) of all that it reads."""
        for match in self.matches:
            if match.query is not None:
                yield ReaderKind.Q, match.query
            yield ReaderKind.K, match.key
        yield ReaderKind.V, self.value


@dataclass(frozen=True)
class Lookup:
    """`table` of the values of `variables`, the last one running fastest; None where the values never occur."""

    writes: Variable
    variables: tuple[Variable, ...]
    table: tuple[int | None, ...]

    @classmethod
    def of(cls, writes: Variable, variables: Sequence[Variable], value: Callable[..., int | bool | None]) -> "Lookup":
        """A table from a function of the variables' values."""
        every = product(*(range(variable.size) for variable in variables))
        found = (value(*values) for values in every)
        return cls(writes, tuple(variables), tuple(None if entry is None else int(entry) for entry in found))

    @property
    def reads(self) -> Iterator[tuple[ReaderKind, Variable]]:
        yield from ((ReaderKind.MLP, variable) for variable in self.variables)


@dataclass(frozen=True)
class Steps:
    """How many of rising `thresholds` a weighted sum of a variable's weights is above; it never comes nearer to one
    than `margin`."""

    writes: Variable
    variable: Variable
    weights: tuple[float, ...]
    thresholds: tuple[float, ...]
    margin: float

    @property
    def reads(self) -> Iterator[tuple[ReaderKind, Variable]]:
        yield ReaderKind.MLP, self.variable


Operation = Head | Lookup | Steps


@dataclass(frozen=True)
class Program:
    """Operations in an order in which each reads only what is there; `output` is what the logits say at the last
    position, `length` the longest prompt. `tokens` and `positions` are the given variables."""

    name: str
    tokens: Variable
    positions: Variable
    operations: tuple[Operation, ...]
    output: Variable

    @property
    def length(self) -> int:
        return self.positions.size

    @cached_property
    def places(self) -> dict[Operation, Writer]:
        """The component that does each operation: the first that comes after all that it reads. What MLPs do in one
        layer, one MLP does."""
        depths, heads = {self.tokens: -1, self.positions: -1}, Counter[int]()
        found: dict[Operation, Writer] = {}
        for operation in self.operations:
            deepest = max(depths[variable] for _, variable in operation.reads)  # 2L for heads, 2L + 1 for MLPs
            if isinstance(operation, Head):
                layer = deepest // 2 + 1
                found[operation] = Writer(WriterKind.HEAD, layer, heads[layer])
                heads[layer] += 1
                depths[operation.writes] = 2 * layer
            else:
                layer = (deepest + 1) // 2
                found[operation] = Writer(WriterKind.MLP, layer)
                depths[operation.writes] = 2 * layer + 1
        return found

    @property
    def n_layers(self) -> int:
        return 1 + max(place.layer for place in self.places.values())

    @property
    def n_heads(self) -> int:
        """The most heads that a layer needs."""
        return 1 + max((p.head for p in self.places.values() if p.kind is WriterKind.HEAD), default=0)

    @property
    def needs_mlps(self) -> bool:
        return any(place.kind is WriterKind.MLP for place in self.places.values())

    def author(self, variable: Variable, graph: ComponentGraph) -> Writer:
        """The component that writes a variable."""
        if variable in (self.tokens, self.positions):
            kind = WriterKind.TOKENS if variable == self.tokens else WriterKind.POSITIONS
            return Writer(kind if graph.split_embeddings else WriterKind.INPUT)
        return next(place for operation, place in self.places.items() if operation.writes == variable)

    @cached_property
    def needed(self) -> frozenset[Variable]:
        """What the output depends on, and the output itself."""
        found = {self.output}
        for operation in reversed(self.operations):
            if operation.writes in found:
                found |= {variable for _, variable in operation.reads}
        return frozenset(found)

    def edges(self, graph: ComponentGraph) -> frozenset[str]:
        """Ids of the edges along which it computes: a component reads what another writes, on the way to the output.

        Some need not matter: a table may ignore what it is asked, and another part may stand in for one that fails.
        """
        found = {Edge(self.author(self.output, graph), Reader(ReaderKind.LOGITS)).id}
        for operation, place in self.places.items():
            for slot, variable in operation.reads if operation.writes in self.needed else ():
                head = (place.layer, place.head) if slot in ATTENTION_SLOTS else (place.layer,)
                found.add(Edge(self.author(variable, graph), Reader(slot, *head)).id)
        return frozenset(found)
