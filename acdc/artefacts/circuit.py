"""The circuit artefact: edges with scores, and everything that says how they came to be (`circuit.json`)."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from acdc.artefacts.circuit_views import CircuitViews
from acdc.artefacts.digests import ATTRIBUTION, CIRCUITS, FEATURE_CIRCUIT, read_artefact
from acdc.artefacts.levels import with_present_names
from acdc.artefacts.quantisation import Quantisation
from acdc.display import show
from acdc.errors import InputError
from acdc.files import json_text, write_text
from acdc.graph import Anatomy, ComponentGraph, is_within_head
from acdc.graph.masks import Mask
from acdc.graph.task_spans import TaskSpans
from acdc.graph.units import PositionUnits, Units, kind_of, units_of
from acdc.options import MOST_THREADS, Level

FILE_NAME = "circuit.json"
BY_HAND = "by hand"  # the format of a circuit that is from no file
SIGN_CONVENTION = {
    "effect": "score = metric(edge ablated) - metric(not ablated), mean over rows, in the metric's own sign",
    "objective": "score = rise of the objective when the edge is ablated in the circuit as it was at its test, mean "
    "over rows, with the sign of a loss of the metric",
    "importance": "score ranks by magnitude; it is not a change of the metric",
    "imported": "score is that of the file, as the tool that wrote it defines it; it is taken to rank by magnitude",
    "by hand": "score is as it was given by hand; it is taken to rank by magnitude",
    "unscored": "the file has no scores, so all are 0",
}


def effect_convention(kind: type[Units], embeddings_scored: bool) -> str:
    """The sign convention of scores that are effects on units of a kind."""
    found = SIGN_CONVENTION["effect"].replace("edge", kind.singular)
    if kind.derived:
        found += f"; {kind.derived}" + ("" if embeddings_scored else ", 0 for embeddings, which are not tested")
    return found


_LIBRARIES = ("acdc", "torch", "transformer-lens", "transformers", "numpy", "networkx")


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ModelRecord(_Record):
    """Which model: `content_hash` is of its config and weight files, `anatomy` the shape that decides its graph.

    `components` says how it was run: from its weights, or by its own modules. `direct_edges`: the within-head edges
    from attention slots to their heads are edges of the graph. `quantisation`: how the GGUF file of the weights stores
    them; absent for weights of another file."""

    name: str
    family: str
    revision: str | None
    content_hash: str
    split_embeddings: bool
    direct_edges: bool = False
    components: str = "functional"
    quantisation: Quantisation | None = None
    anatomy: dict[str, Any]

    @model_serializer(mode="wrap")
    def _without_absent(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out `quantisation` where there is none, as artefacts did before there was any."""
        written = write(self)
        if self.quantisation is None:
            written.pop("quantisation", None)
        return written


class TaskRecord(_Record):
    """Which rows: ids of discovery and verification rows and the rule of the split."""

    name: str
    content_hash: str
    rows_total: int
    split: str
    discovery: list[str]
    verification: list[str]
    duplicates: int = Field(0, validation_alias=AliasChoices("duplicates", "twins"))


class ImportRecord(_Record):
    """The file of another tool that a circuit was read from: its format, SHA-256 of its content, and what of it, or of
    what it was made from, was lost on import."""

    format: str
    content_hash: str
    lost: list[str]

    @property
    def origin(self) -> str:
        """In few words; what was written by hand has no file."""
        return self.format if self.format == BY_HAND else f"imported from {self.format}"


_BESIDE = ("sender_order", "steps", "updates")


def record_options(options: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Options of a method as version 1 of circuits and scores has them: those that it began with stand by themselves,
    all others are under `options`, which is left out where there is none."""
    others = {name: value for name, value in options.items() if name not in _BESIDE}
    beside = {name: value for name, value in options.items() if name in _BESIDE}
    return beside | ({"options": others} if others else {})


class MethodRecord(_Record):
    """Which method with which `options` of its own, and how the circuit's size was chosen; of ACDC also what it
    minimises. `imported`: found by another tool."""

    name: str
    objective: str | None
    choose: str | None = None
    options: dict[str, JsonValue] = {}
    selection: dict[str, int | float]
    imported: ImportRecord | None = None

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        beside = {name: data[name] for name in _BESIDE if data.get(name) is not None}
        return data | {"options": beside | data.get("options", {})}

    @model_serializer(mode="wrap")
    def _spread(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written = write(self)
        beside = dict.fromkeys(_BESIDE) | record_options(written.pop("options"))
        order = ("name", "objective", "sender_order", "choose", "steps", "updates", "selection", "imported")
        written |= beside
        return {name: written[name] for name in (*order, *(beside.keys() - {*_BESIDE}))}


class BatchRecord(_Record):
    """What the last bits of a result may depend on: rows per pass and how unlike in length they may be, threads, how
    candidates share a pass over the whole graph or a trial of ACDC, how large products are cut to fit caches, and by
    which library float32 products are computed on a CPU."""

    size: int = Field(ge=1)
    padding: float = Field(ge=1)
    threads: int = Field(ge=1, le=MOST_THREADS)
    candidate_tokens: int
    candidate_bytes: int
    trial_width: int
    trial_bytes: int
    cache_bytes: int
    products: str = "default"


class SpansRecord(_Record):
    """The spans of a task's prompts, or their positions, as `acdc.graph.task_spans.TaskSpans` has them; `content_hash`
    says where they are in each row, None for positions."""

    names: list[str]
    sources: list[list[int]]
    answers: list[int]
    named: bool
    content_hash: str | None = None

    @classmethod
    def of(cls, spans: TaskSpans, content_hash: str | None) -> "SpansRecord":
        return cls(
            names=list(spans.names),
            sources=[list(some) for some in spans.sources],
            answers=list(spans.answers),
            named=spans.named,
            content_hash=content_hash,
        )

    def spans(self) -> TaskSpans:
        """Raises InputError where they are none."""
        return TaskSpans(tuple(self.names), tuple(map(tuple, self.sources)), tuple(self.answers), self.named)


class ScoredEdge(_Record):
    id: str
    score: float = Field(allow_inf_nan=False)


class ScoredNode(_Record):
    id: str
    score: float = Field(allow_inf_nan=False)


class Circuit(CircuitViews, _Record):
    """A circuit with its provenance; frozen, and free of times, paths and machine facts.

    `edges` are the edges that the method kept. The circuit that is verified and drawn has those of them that are on a
    path from the input to the logits: `effective` lists these and `edges_effective` counts them. ACDC may keep others,
    methods that choose from scores never do. A circuit of nodes has every edge among its `nodes` and the
    embeddings. A circuit of `coordinates` keeps these coordinates of what its nodes write, and ablates the others. A
    circuit of `positions` keeps these edges at single `spans` of the prompts, or positions, none of which dangles; its
    `edges` are those that they are parts of. A circuit of `neurons` keeps these heads and these hidden neurons of the
    `mlp_width` that each MLP has.
    """

    format: Literal["acdc-circuit"] = "acdc-circuit"
    version: Literal[1] = 1
    model: ModelRecord
    task: TaskRecord
    method: MethodRecord
    metric: str
    larger_is_better: bool
    ablation: str
    level: Level = Level.edges
    score_kind: Literal["effect", "importance"]
    sign_convention: str
    edges_total: int
    edges_effective: int
    edges: list[ScoredEdge]
    nodes: list[ScoredNode] = []
    coordinates: list[ScoredNode] = []
    positions: list[ScoredEdge] = Field([], exclude_if=lambda listed: not listed)
    spans: SpansRecord | None = Field(None, exclude_if=lambda spans: spans is None)
    neurons: list[ScoredNode] = Field([], exclude_if=lambda listed: not listed)
    mlp_width: int | None = Field(None, ge=1, le=2**24, exclude_if=lambda width: width is None)
    seed: int = Field(ge=0)
    dtype: str
    batch: BatchRecord
    versions: dict[str, str]

    @model_validator(mode="before")
    @classmethod
    def _with_present_names(cls, data: Any) -> Any:
        return with_present_names(data) if isinstance(data, dict) else data

    @cached_property
    def graph(self) -> ComponentGraph:
        """The graph of all candidate edges that this circuit is a part of."""
        return ComponentGraph(Anatomy(**self.model.anatomy), self.model.split_embeddings, self.model.direct_edges)

    @cached_property
    def units(self) -> Units:
        """What it consists of. Raises InputError for spans that are none."""
        return units_of(self.graph, self.level, self.spans.spans() if self.spans else None, self.mlp_width)

    @property
    def members(self) -> Sequence[ScoredEdge | ScoredNode]:
        """The units that it lists."""
        return self.at(self.level)

    def at(self, level: Level) -> Sequence[ScoredEdge | ScoredNode]:
        """What it lists at a level."""
        return getattr(self, level.value)

    @property
    def size(self) -> int:
        """Number of its units; of edges, of those that do not dangle."""
        return int(self.kept.sum()) - self.units.always

    @cached_property
    def listed(self) -> np.ndarray:
        """The units that it lists as a mask, with those that always stay, [units.shape]."""
        return self.units.mask(unit.id for unit in self.members)

    @cached_property
    def kept(self) -> np.ndarray:
        """The same without edges that are on no path from the input to the logits."""
        return self.units.pruned(self.listed)

    @cached_property
    def mask(self) -> np.ndarray:
        """The edges that the method kept, as a boolean vector [edges] of the graph."""
        return self.graph.mask(edge.id for edge in self.edges)

    @property
    def parts(self) -> Sequence[ScoredEdge | ScoredNode]:
        """What is removed from it one by one: its edges, or its nodes; at the level of coordinates, each node with all
        of its coordinates."""
        return self.effective if self.units.are_edges else self.at(self.units.parts)

    @property
    def part_name(self) -> str:
        """What its parts are called, in the plural."""
        return kind_of(self.units.parts).plural

    @property
    def size_in_edges(self) -> int:
        """Number of its edges; at spans, of edges there."""
        return self.size if self.units.count_as_edges else self.edges_effective

    @property
    def ablated(self) -> Mask:
        """All that is not in it."""
        return self.units.ablated(self.kept)

    @property
    def own(self) -> Mask:
        """What is in it and can be ablated."""
        return self.units.own(self.kept)

    def ablated_without(self, part: str) -> Mask:
        """All that is not in it, and one of its parts."""
        return self.units.ablated(self.kept & ~self.units.in_part(part))

    @cached_property
    def effective(self) -> list[ScoredEdge]:
        """Its edges on a path from the input to the logits, with their scores."""
        left = set(self.graph.ids(self.graph.prune(self.mask)))
        return [edge for edge in self.edges if edge.id in left]

    @cached_property
    def links(self) -> list[ScoredEdge]:
        """Its effective edges between components, without the within-head edges inside them."""
        return [edge for edge in self.effective if not is_within_head(edge.id)]

    def __len__(self) -> int:
        return self.size

    def __bool__(self) -> bool:
        """An empty circuit is a circuit too."""
        return True

    def __dir__(self) -> list[str]:
        """Its own names, without those of pydantic."""
        return sorted(set(super().__dir__()) - set(dir(BaseModel)))

    def score(self, id: str) -> float:
        """That of one of its units. Raises InputError for what it does not list."""
        found = next((unit.score for level in self.units.lists for unit in self.at(level) if unit.id == id), None)
        if found is None:
            raise InputError(f"{id!r} is not in the circuit")
        return found

    @classmethod
    def of(
        cls,
        model: Any,
        task: Any,
        edges: Mapping[str, float] | Iterable[str | tuple[str, str] | ScoredEdge],
        **settings: Any,
    ) -> "Circuit":
        """A circuit written by hand: these edges of a loaded model, for a loaded task.

        `edges`: ids such as "a3.h2->logits", pairs ("a3.h2", "logits"), edges of another circuit, which keep their
        scores, or scores by id; edges that are given none have 0. Edges that dangle stay, and do not count.
        `settings`: `metric`, `ablation`, `limit`, `seed` and others of `acdc.discover`. The rows are split as a
        discovery splits them, so that `acdc.verify` measures it on rows that it would not have seen. Raises InputError
        for ids that are no edges of the model. Warns where nothing is left of it.
        """
        made = show("circuit of edges", model, task, edges, settings)
        assert isinstance(made, cls)
        return made

    def part(self, kept: np.ndarray, selection: dict[str, int | float]) -> "Circuit":
        """The same with some of its edges, boolean [edges], or with some of those at positions; `selection`: how these
        were chosen, for its method."""
        method = self.method.model_copy(update={"selection": self.method.selection | selection})
        changed: dict[str, Any] = {"method": method} | self._listing_part(kept)
        return Circuit(**{name: getattr(self, name) for name in type(self).model_fields} | changed)

    def _listing_part(self, kept: np.ndarray) -> dict[str, Any]:
        """What it lists with some of its edges, and how many of them are effective."""
        if not isinstance(self.units, PositionUnits):
            ids, edges = set(self.graph.ids(kept)), kept
            return {
                "edges": [edge for edge in self.edges if edge.id in ids],
                "edges_effective": int(self.graph.prune(edges).sum()),
            }
        scores = np.zeros(self.units.shape)
        for edge in self.positions:
            scores[self.units.positional.position(edge.id)] = edge.score
        listed = self.units.list_kept(self.units.pruned(kept), scores)
        of_level = {level.value: [ScoredEdge(id=x, score=y) for x, y in own.items()] for level, own in listed.items()}
        edges = self.graph.mask(edge.id for edge in of_level["edges"])
        return of_level | {"edges_effective": int(self.graph.prune(edges).sum())}

    def save(self, path: str | Path) -> None:
        """Write `circuit.json` (a folder) or the given file, atomically."""
        target = Path(path)
        write_text(target / FILE_NAME if target.is_dir() else target, self.to_json())

    def to_json(self) -> str:
        """What `circuit.json` holds."""
        return json_text(self.model_dump(mode="json"))

    @classmethod
    def load(cls, path: str | Path) -> "Circuit":
        """Read a run directory or a circuit file. Raises InputError when it is damaged or no circuit."""
        target = Path(path)
        if (target / CIRCUITS).is_dir() and not (target / FILE_NAME).exists():
            raise InputError(f"{target} holds a sweep: name one of its circuits in {target / CIRCUITS}")
        if (target / ATTRIBUTION).exists() and not (target / FILE_NAME).exists():
            raise InputError(
                f"{target} holds the attribution graph of one prompt, which 'acdc show' prints, no circuit"
            )
        if (target / FEATURE_CIRCUIT).exists():
            raise InputError(
                f"{target} holds a circuit of features, which 'acdc show', 'verify', 'export' and 'ablate' take, no "
                "circuit of components"
            )
        target = target / FILE_NAME if target.is_dir() else target
        circuit = read_artefact(cls, target, "a circuit of acdc")
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
            raise InputError(f"model.anatomy is not valid: {error}") from None
        if kind_of(self.level).have_spans != (self.spans is not None):
            raise InputError(f"a circuit of {self.level} has {'no ' if self.spans is None else ''}spans")
        if kind_of(self.level).have_neurons != (self.mlp_width is not None):
            raise InputError(f"a circuit of {self.level} has {'no ' if self.mlp_width is None else 'an '}mlp_width")
        if self.mlp_width is not None and self.graph.anatomy.attn_only:
            raise InputError("a circuit of neurons is of a model with MLPs")
        kept = self.mask
        if kept.sum() != len(self.edges):
            raise InputError("an edge is listed twice")
        for name, said, found in (
            ("edges_total", self.edges_total, total),
            ("edges_effective", self.edges_effective, int(self.graph.prune(kept).sum())),
        ):
            if said != found:
                raise InputError(f"{name} says {said}, but it is {found}")
        if (self.units.edges(self.listed) != kept).any():
            raise InputError("its edges are not those among its nodes")
        if self.listed.sum() - self.units.always != len(self.members):
            raise InputError(f"its {self.units.plural} are not all different")
        self.units.check_listing({level: {unit.id: unit.score for unit in self.at(level)} for level in Level})
        if set(self.task.discovery) & set(self.task.verification):
            raise InputError("a row is on both sides of the split")

    def __repr__(self) -> str:
        size = f"{self.size:,} of {self.units.total:,} {self.units.plural}"
        return f"<Circuit: {self.task.name} in {self.model.name}, {self._found_by}, {size}>"

    __str__ = __repr__

    @property
    def _found_by(self) -> str:
        """The method, or for what was imported, from where."""
        return self.method.name if self.method.imported is None else self.method.imported.origin


def library_versions() -> dict[str, str]:
    """Versions of the libraries that a result depends on."""
    return {name: metadata.version(name) for name in _LIBRARIES}
