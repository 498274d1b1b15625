"""What a file of another tool holds, in this package's ids.

A file's edges are those of a graph of its own (its `terms`): most tools have one k and one v slot per query head, where
the model's heads share some, and one embedding. `acdc.artefacts.codecs.translate` goes between such graphs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from acdc.artefacts.circuit import Circuit
from acdc.errors import InputError, without_prefix
from acdc.graph import Anatomy, ComponentGraph
from acdc.graph.positional_graph import parts_of
from acdc.options import Level

HELD = (Level.edges, Level.nodes, Level.positions)  # what files hold scores and circuits of
MARK = "acdc"  # the key, where a format has a place for one


class Mark(BaseModel):
    """What acdc notes in a file beside what its format holds; in files of other tools, the defaults.

    `scored`: only the circuit's edges have scores, and 0 stands in the place of others; or none has, and 1 and 0 say
    what is in the circuit and what is not. `repeated`: what is one edge in the model and several in the file has its
    score in each of them. `spans`: the names of the spans, or positions, that edges are at. `lost`: what could not be
    said, in sentences.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    level: Level = Level.edges
    score_kind: Literal["effect", "importance"] | None = None
    scored: Literal["all", "circuit", "none"] = "all"
    repeated: bool = False
    split_embeddings: bool = False
    direct_edges: bool = False
    spans: tuple[str, ...] = Field(default=(), exclude_if=lambda names: not names)
    lost: tuple[str, ...] = ()

    def losing(self, *sentences: str) -> "Mark":
        return self.model_copy(update={"lost": (*self.lost, *sentences)})

    @classmethod
    def read(cls, record: object, place: str) -> "Mark":
        """Raises InputError for what is there and no mark of acdc's."""
        try:
            return cls() if record is None else cls.model_validate(record)
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(map(str, (MARK, *problem["loc"])))
            raise InputError(f"{place}: {where} was not written by acdc: {without_prefix(problem['msg'])}") from None


@dataclass(frozen=True)
class ForeignGraph:
    """What a file holds, by ids of edges and components.

    `scores`: of every candidate edge, None where it has none. `edges`: those of its circuit, with their scores where
    they have one; None where it names no circuit. `node_scores` and `nodes`: the same of components;
    `position_scores` and `positions`: of edges at spans. `rows`: where in the file each is, such as "line 3", where
    the format has such places.
    """

    scores: Mapping[str, float] | None = None
    edges: Mapping[str, float | None] | None = None
    node_scores: Mapping[str, float] | None = None
    nodes: Mapping[str, float | None] | None = None
    mark: Mark = Mark()
    position_scores: Mapping[str, float] | None = None
    positions: Mapping[str, float | None] | None = None
    rows: Mapping[str, str] = field(default_factory=dict)

    def every(self, level: Level) -> Mapping[str, float] | None:
        """Scores of all candidates at a level, where the file has them."""
        held = {Level.edges: self.scores, Level.nodes: self.node_scores, Level.positions: self.position_scores}
        return held[level]

    def own(self, level: Level) -> Mapping[str, float | None] | None:
        """The circuit of the file at a level, with scores where these are known."""
        return {Level.edges: self.edges, Level.nodes: self.nodes, Level.positions: self.positions}[level]

    @property
    def edge_level(self) -> Level:
        """Positions where its edges are at spans."""
        return Level.positions if self.mark.level is Level.positions else Level.edges

    def row(self, place: str, name: str) -> str:
        """Where in a file an edge or component is."""
        return f"{place}, {self.rows[name]}" if name in self.rows else place

    def told_apart(self, place: str) -> "ForeignGraph":
        """The same with edges as those at spans, if that is what their ids say. Raises InputError where only some are
        so."""
        names = [*(self.scores or self.edges or ())]
        plain = next((name for name in names if parts_of(name) is None), None)
        empty = not names and self.mark.level is Level.positions
        if not empty and not any(map(parts_of, names)):
            return self
        if plain is not None:
            raise InputError(f"{self.row(place, plain)}: {plain[:80]!r} says no span, as writer@span->slot@span does")
        mark = self.mark.model_copy(update={"level": Level.positions})
        return replace(self, scores=None, edges=None, position_scores=self.scores, positions=self.edges, mark=mark)

    def losing(self, *sentences: str) -> "ForeignGraph":
        """The same, with what of it was lost on import."""
        return replace(self, mark=self.mark.losing(*sentences))

    @classmethod
    def of_circuit(cls, circuit: Circuit, every: Mapping[str, float] | None = None) -> "ForeignGraph":
        """A circuit of ours, with scores of `every` edge, component or edge at spans where its run has them."""
        scores, node_scores, position_scores = (every if circuit.level is level else None for level in HELD)
        positions = {edge.id: edge.score for edge in circuit.positions} if circuit.spans else None
        nodes = {node.id: node.score for node in circuit.nodes} if Level.nodes in circuit.units.lists else None
        mark = Mark(
            level=circuit.level,
            score_kind=circuit.score_kind,
            scored="circuit" if scores is None and position_scores is None else "all",
            split_embeddings=circuit.model.split_embeddings,
            direct_edges=circuit.model.direct_edges,
            spans=tuple(circuit.spans.names) if circuit.spans else (),
        )
        edges = {edge.id: edge.score for edge in circuit.edges}
        return cls(scores, edges, node_scores, nodes, mark, position_scores, positions)


@dataclass(frozen=True)
class Codec:
    """One format: the graph whose ids its files use, for a model and a mark; and to and from a file's bytes.

    `encode` takes what `terms` can say. Each raises InputError for what the format, or the file, cannot hold.
    `scores`, `nodes`, `positions` and `outside`: whether it has room for scores, for components of their own, for edges
    at spans, and for what is not in the circuit. `partial`: a circuit that keeps parts of what edges carry can be
    written as its edges.
    """

    name: str
    terms: Callable[[Anatomy, Mark], ComponentGraph]
    encode: Callable[[ForeignGraph, ComponentGraph], bytes]
    decode: Callable[[Path, Anatomy], ForeignGraph]
    scores: bool = True
    nodes: bool = True
    positions: bool = False
    outside: bool = True
    partial: bool = False
