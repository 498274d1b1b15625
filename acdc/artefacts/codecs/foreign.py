"""What a file of another tool holds, in this package's ids.

A file's edges are those of a graph of its own (its `terms`): most tools have one k and one v slot per query head, where
the model's heads share some, and one embedding. `acdc.artefacts.codecs.translate` goes between such graphs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from acdc.artefacts.circuit import Circuit
from acdc.errors import InputError, without_prefix
from acdc.graph import Anatomy, ComponentGraph
from acdc.options import Level

HELD = (Level.edges, Level.nodes)  # what files of other tools hold scores and circuits of
MARK = "acdc"  # the key, where a format has a place for one


class Mark(BaseModel):
    """What acdc notes in a file beside what its format holds; in files of other tools, the defaults.

    `scored`: only the circuit's edges have scores, and 0 stands in the place of others; or none has, and 1 and 0 say
    what is in the circuit and what is not. `repeated`: what is one edge in the model and several in the file has its
    score in each of them. `lost`: what could not be said, in sentences.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    level: Level = Level.edges
    score_kind: Literal["effect", "importance"] | None = None
    scored: Literal["all", "circuit", "none"] = "all"
    repeated: bool = False
    split_embeddings: bool = False
    direct_edges: bool = False
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
    they have one; None where it names no circuit. `node_scores` and `nodes`: the same of components.
    """

    scores: Mapping[str, float] | None = None
    edges: Mapping[str, float | None] | None = None
    node_scores: Mapping[str, float] | None = None
    nodes: Mapping[str, float | None] | None = None
    mark: Mark = Mark()

    def every(self, level: Level) -> Mapping[str, float] | None:
        """Scores of all candidates at a level, where the file has them."""
        return {Level.edges: self.scores, Level.nodes: self.node_scores}[level]

    def own(self, level: Level) -> Mapping[str, float | None] | None:
        """The circuit of the file at a level, with scores where these are known."""
        return {Level.edges: self.edges, Level.nodes: self.nodes}[level]

    def losing(self, *sentences: str) -> "ForeignGraph":
        """The same, with what of it was lost on import."""
        return replace(self, mark=self.mark.losing(*sentences))

    @classmethod
    def of_circuit(cls, circuit: Circuit, every: Mapping[str, float] | None = None) -> "ForeignGraph":
        """A circuit of ours, with scores of `every` edge or component where its run has them."""
        scores, node_scores = (every if circuit.level is level else None for level in HELD)
        nodes = {node.id: node.score for node in circuit.nodes} if Level.nodes in circuit.units.lists else None
        mark = Mark(
            level=circuit.level,
            score_kind=circuit.score_kind,
            scored="circuit" if scores is None else "all",
            split_embeddings=circuit.model.split_embeddings,
            direct_edges=circuit.model.direct_edges,
        )
        return cls(scores, {edge.id: edge.score for edge in circuit.edges}, node_scores, nodes, mark)


@dataclass(frozen=True)
class Codec:
    """One format: the graph whose ids its files use, for a model and a mark; and to and from a file's bytes.

    `encode` takes what `terms` can say. Each raises InputError for what the format, or the file, cannot hold.
    `scores`, `nodes` and `outside`: whether it has room for scores, for components of their own, and for what is not in
    the circuit.
    """

    name: str
    terms: Callable[[Anatomy, Mark], ComponentGraph]
    encode: Callable[[ForeignGraph, ComponentGraph], bytes]
    decode: Callable[[Path, Anatomy], ForeignGraph]
    scores: bool = True
    nodes: bool = True
    outside: bool = True
