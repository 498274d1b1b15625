"""Ids of writers, readers and edges: the one place where they are formatted and parsed.

A writer puts a vector into the residual stream (`input`, `tok_embed`, `pos_embed`, `a1.h5`, `m3`); a reader is an input
slot (`a1.h5<q>`, `a1.kv2<k>`, `m3`, `logits`); an edge is `writer->reader`. A within-head edge leads from an attention
slot to a head that uses it (`a1.h5<q>->a1.h5`, `a1.kv0<k>->a1.h1`). A coordinate is a single one of the d_model numbers
that a component adds to the residual stream at a position (`a1.h5.n37`, `m3.n12`); at the level of neurons, `m3.n12` is
a hidden neuron, one of the numbers that an MLP's output projection reads."""

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from acdc.errors import InputError


class WriterKind(StrEnum):
    INPUT = "input"
    TOKENS = "tok_embed"
    POSITIONS = "pos_embed"
    HEAD = "head"
    MLP = "mlp"


class ReaderKind(StrEnum):
    Q = "q"
    K = "k"
    V = "v"
    MLP = "mlp"
    LOGITS = "logits"


@dataclass(frozen=True)
class Writer:
    """A component that adds to the residual stream; `layer` and `head` are -1 where they mean nothing."""

    kind: WriterKind
    layer: int = -1
    head: int = -1

    @cached_property
    def id(self) -> str:
        match self.kind:
            case WriterKind.HEAD:
                return f"a{self.layer}.h{self.head}"
            case WriterKind.MLP:
                return f"m{self.layer}"
            case _:
                return self.kind.value


@dataclass(frozen=True)
class Reader:
    """An input slot. `head` is the query head, or the KV head of a k or v slot when `shared` (grouped-query)."""

    kind: ReaderKind
    layer: int = -1
    head: int = -1
    shared: bool = False

    @cached_property
    def id(self) -> str:
        match self.kind:
            case ReaderKind.LOGITS:
                return "logits"
            case ReaderKind.MLP:
                return f"m{self.layer}"
            case _:
                return f"a{self.layer}.{'kv' if self.shared else 'h'}{self.head}<{self.kind.value}>"


_WRITER = re.compile(r"a(\d+)\.h(\d+)|m(\d+)|input|tok_embed|pos_embed")
_READER = re.compile(r"a(\d+)\.(?:h(\d+)<([qkv])>|kv(\d+)<([kv])>)|m(\d+)|logits")


@dataclass(frozen=True)
class Edge:
    """A candidate edge of the graph."""

    writer: Writer
    reader: Reader

    @cached_property
    def id(self) -> str:
        return f"{self.writer.id}->{self.reader.id}"

    @classmethod
    def parse(cls, text: str) -> "Edge":
        """The edge of an id. Raises InputError for a string that is no edge id."""
        left, arrow, right = text.partition("->")
        writer, reader = _WRITER.fullmatch(left), _READER.fullmatch(right)
        if not arrow or not writer or not reader:
            raise InputError(f"{text!r} is not an edge id: expected writer->slot, such as 'a1.h5->a2.h0<q>'")
        return cls(_parse_writer(left, writer), _parse_reader(right, reader))


@dataclass(frozen=True)
class WithinHeadEdge:
    """What connects an attention slot with one of the heads that it belongs to."""

    reader: Reader
    owner: Writer

    @cached_property
    def id(self) -> str:
        return f"{self.reader.id}->{self.owner.id}"


_COORDINATE = re.compile(r"(a[0-9]+\.h[0-9]+|m[0-9]+)\.n(0|[1-9][0-9]{0,8})")


@dataclass(frozen=True)
class Coordinate:
    """One coordinate of what a head or an MLP adds to the residual stream."""

    writer: Writer
    index: int

    @property
    def id(self) -> str:
        return f"{self.writer.id}.n{self.index}"

    @classmethod
    def parse(cls, text: str) -> "Coordinate":
        """The coordinate of an id. Raises InputError for a string that is no coordinate id."""
        found = _COORDINATE.fullmatch(text)
        if not found:
            raise InputError(f"{text[:50]!r} is not a coordinate id: expected component.nINDEX, such as 'a1.h5.n37'")
        text, index = found.groups()
        writer = _WRITER.fullmatch(text)
        assert writer is not None  # what names a coordinate's component names a writer
        return cls(_parse_writer(text, writer), int(index))


_NEURON = re.compile(r"m([0-9]{1,9})\.n(0|[1-9][0-9]{0,8})")


@dataclass(frozen=True)
class Neuron:
    """One hidden neuron of an MLP."""

    layer: int
    index: int

    @property
    def id(self) -> str:
        return f"m{self.layer}.n{self.index}"

    @classmethod
    def parse(cls, text: str) -> "Neuron":
        """The neuron of an id. Raises InputError for a string that is no neuron's id."""
        found = _NEURON.fullmatch(text)
        if not found:
            raise InputError(f"{text[:50]!r} is neither a head's id, such as 'a1.h5', nor a neuron's, such as 'm3.n12'")
        layer, index = found.groups()
        return cls(int(layer), int(index))


def is_within_head(name: str) -> bool:
    """Whether an id is that of a within-head edge."""
    return ">->a" in name


def _parse_writer(text: str, match: re.Match) -> Writer:
    layer, head, mlp = match.groups()
    if layer is not None:
        return Writer(WriterKind.HEAD, int(layer), int(head))
    return Writer(WriterKind.MLP, int(mlp)) if mlp is not None else Writer(WriterKind(text))


def _parse_reader(text: str, match: re.Match) -> Reader:
    layer, head, slot, kv_head, kv_slot, mlp = match.groups()
    if slot is not None:
        return Reader(ReaderKind(slot), int(layer), int(head))
    if kv_slot is not None:
        return Reader(ReaderKind(kv_slot), int(layer), int(kv_head), shared=True)
    return Reader(ReaderKind.MLP, int(mlp)) if mlp is not None else Reader(ReaderKind.LOGITS)
