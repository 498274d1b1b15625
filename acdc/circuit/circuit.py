"""The circuit artefact: edges with scores, and everything that says how they came to be (`circuit.json`)."""

from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import networkx as nx
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from acdc.errors import InputError
from acdc.files import read_model, write_json
from acdc.graph import Anatomy, ComponentGraph, Edge, Writer
from acdc.model.threads import MOST_THREADS

FILE_NAME = "circuit.json"
SIGN_CONVENTION = {
    "effect": "score = metric(edge ablated) - metric(not ablated), mean over rows, in the metric's own sign",
    "importance": "score ranks edges by magnitude; it is no change of the metric",
}
_LIBRARIES = ("acdc", "torch", "transformer-lens", "transformers", "numpy", "networkx")


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ModelRecord(_Record):
    """Which model: `content_hash` is of its config and weight files, `anatomy` the shape that decides its graph."""

    name: str
    family: str
    revision: str | None
    content_hash: str
    split_embeddings: bool
    anatomy: dict[str, Any]


class TaskRecord(_Record):
    """Which rows: ids of discovery and verification rows and the rule of the split."""

    name: str
    content_hash: str
    rows_total: int
    split: str
    discovery: list[str]
    verification: list[str]
    twins: int = 0


class MethodRecord(_Record):
    """Which method and how it chose the circuit's size; `objective` is what ACDC minimises, if it was ACDC."""

    name: str
    objective: str | None
    selection: dict[str, int | float]


class BatchRecord(_Record):
    """What the last bits of a result may depend on: rows per pass, threads, and how candidates share a pass."""

    size: int = Field(ge=1)
    threads: int = Field(ge=1, le=MOST_THREADS)
    candidate_tokens: int
    candidate_bytes: int


class ScoredEdge(_Record):
    id: str
    score: float = Field(allow_inf_nan=False)


class Circuit(_Record):
    """A circuit with its provenance; frozen, and free of times, paths and machine facts.

    `edges` are ACDC's raw decisions, or for methods that choose from scores what is left after pruning;
    `edges_effective` counts them after pruning dangling parts.
    """

    format: Literal["acdc-circuit"] = "acdc-circuit"
    version: Literal[1] = 1
    model: ModelRecord
    task: TaskRecord
    method: MethodRecord
    metric: str
    larger_is_better: bool
    ablation: str
    score_kind: Literal["effect", "importance"]
    sign_convention: str
    edges_total: int
    edges_effective: int
    edges: list[ScoredEdge]
    seed: int = Field(ge=0)
    dtype: str
    batch: BatchRecord
    versions: dict[str, str]

    @cached_property
    def graph(self) -> ComponentGraph:
        """The graph of all candidate edges that this circuit is a part of."""
        return ComponentGraph(Anatomy(**self.model.anatomy), self.model.split_embeddings)

    @cached_property
    def mask(self) -> np.ndarray:
        """Its edges as a boolean vector [edges] of the graph."""
        return self.graph.mask(edge.id for edge in self.edges)

    @cached_property
    def effective(self) -> list[ScoredEdge]:
        """Its edges without dangling parts: what the picture shows."""
        left = set(self.graph.ids(self.graph.prune(self.mask)))
        return [edge for edge in self.edges if edge.id in left]

    def to_networkx(self) -> nx.DiGraph:
        """The effective circuit: components and slots as nodes, edges with `score`, wiring edges slot -> component."""
        graph = nx.DiGraph(name=f"{self.task.name} in {self.model.name}")
        writing = {Edge.parse(scored.id).writer for scored in self.effective}
        for scored in self.effective:
            edge = Edge.parse(scored.id)
            _add_writer(graph, edge.writer)
            reader = edge.reader
            graph.add_node(reader.id, kind=reader.kind.value, layer=reader.layer, head=reader.head)
            graph.add_edge(edge.writer.id, reader.id, score=scored.score, wiring=False)
            for owner in (owner for owner in self.graph.owners(reader) if owner in writing):
                _add_writer(graph, owner)
                if owner.id != reader.id:
                    graph.add_edge(reader.id, owner.id, wiring=True)
        return graph

    def save(self, path: str | Path) -> None:
        """Write `circuit.json` (a folder) or the given file, atomically."""
        target = Path(path)
        write_json(target / FILE_NAME if target.is_dir() else target, self.model_dump(mode="json"))

    @classmethod
    def load(cls, path: str | Path) -> "Circuit":
        """Read a run directory or a circuit file. Raises InputError when it is damaged or no circuit."""
        target = Path(path)
        target = target / FILE_NAME if target.is_dir() else target
        circuit = read_model(cls, target, "a circuit of acdc")
        try:
            circuit.check()
        except InputError as error:
            raise InputError(f"{target} is damaged: {error}") from None
        return circuit

    def check(self) -> None:
        """Raises InputError where anatomy, edges and counts do not fit each other."""
        try:
            total = self.graph.n_edges
        except (TypeError, IndexError) as error:
            raise InputError(f"model.anatomy is no anatomy: {error}") from None
        kept = self.mask
        if kept.sum() != len(self.edges):
            raise InputError("an edge is listed twice")
        for name, said, found in (
            ("edges_total", self.edges_total, total),
            ("edges_effective", self.edges_effective, int(self.graph.prune(kept).sum())),
        ):
            if said != found:
                raise InputError(f"{name} says {said}, but it is {found}")
        if set(self.task.discovery) & set(self.task.verification):
            raise InputError("a row is on both sides of the split")

    def to_dot(self) -> str:
        """The picture as DOT text."""
        from acdc.render.dot import to_dot  # drawing stands above the artefact in the pipeline

        return to_dot(self)

    def to_svg(self, path: str | Path) -> None:
        """Write the picture as SVG; needs no Graphviz."""
        from acdc.files import write_text
        from acdc.render.svg import to_svg

        write_text(Path(path), to_svg(self))


def _add_writer(graph: nx.DiGraph, writer: Writer) -> None:
    graph.add_node(writer.id, kind=writer.kind.value, layer=writer.layer, head=writer.head)


def library_versions() -> dict[str, str]:
    """Versions of the libraries that a result depends on."""
    return {name: metadata.version(name) for name in _LIBRARIES}
