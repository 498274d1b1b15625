"""Circuits from the literature, as edges: which components are in them is data, which edges that means are rules.

IOI: Wang et al. 2022, arXiv 2211.00593. Greater-than: Hanna et al. 2023, arXiv 2305.00586. Docstring: Heimersheim and
Janiak 2023. The rules for the first two are those of Conmy et al. 2023, arXiv 2304.14997, appendix. They were found
under resample ablation, by people, and are no ground truth in the sense that compiled circuits are.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from acdc.benchmark.case import Posed, Unavailable, content
from acdc.benchmark.truth import Truth
from acdc.errors import InputError
from acdc.files import read_json
from acdc.graph import ComponentGraph, Edge, Reader, ReaderKind
from acdc.model.load import load_model
from acdc.task.load import load_task

DATA = Path(__file__).parent / "published.json"
INPUT, LOGITS, QKV = "input", "logits", "qkv"
DTYPE = "float32"
MLPS = tuple(f"m{layer}" for layer in range(12))


class _Edges:
    """A set of edges of a graph that grows by rules."""

    def __init__(self, graph: ComponentGraph):
        self.found: set[str] = set()
        self._into: dict[str, list[Edge]] = {}
        for edge in graph.edges:
            self._into.setdefault(_owner(edge.reader), []).append(edge)

    def add(self, writers: Iterable[str], readers: Iterable[str], slots: str = QKV) -> None:
        """All edges that there are between two groups of components; of heads, into some of their slots."""
        writers = set(writers)
        for reader in readers:
            if reader not in self._into:
                raise InputError(f"the model has no {reader}: it is another than the circuit was found in")
            for edge in self._into[reader]:
                kind = edge.reader.kind
                if edge.writer.id in writers and (kind in (ReaderKind.MLP, ReaderKind.LOGITS) or kind.value in slots):
                    self.found.add(edge.id)


def _owner(reader: Reader) -> str:
    head = reader.kind not in (ReaderKind.MLP, ReaderKind.LOGITS)
    return f"a{reader.layer}.h{reader.head}" if head else reader.id


def ioi(graph: ComponentGraph) -> frozenset[str]:
    """963 edges of GPT-2 small."""
    heads = read_json(DATA)["ioi"]
    edges, everything, streams = _Edges(graph), [INPUT, *MLPS], [*MLPS, LOGITS]
    movers = heads["name_mover"] + heads["backup_name_mover"] + heads["negative_name_mover"]
    inside = [head for group in heads.values() for head in group]
    edges.add(everything, streams)
    edges.add(MLPS, inside)
    edges.add(inside, MLPS)
    edges.add(everything, heads["previous_token"] + heads["duplicate_token"])
    edges.add(everything, heads["s2_inhibition"], "q")
    edges.add(everything, movers, "kv")
    edges.add(heads["previous_token"], heads["induction"], "kv")
    edges.add(heads["induction"] + heads["duplicate_token"], heads["s2_inhibition"], "kv")
    edges.add(heads["s2_inhibition"], movers, "q")
    edges.add(movers, streams)
    return frozenset(edges.found)


def greater_than(graph: ComponentGraph) -> frozenset[str]:
    """235 edges of GPT-2 small."""
    groups = read_json(DATA)["greater_than"]
    edges, late, early = _Edges(graph), groups["ML"], groups["ME"]
    edges.add([INPUT], groups["A"] + groups["B"] + early)
    edges.add(groups["B"], early + groups["AM"])
    edges.add(groups["A"] + early, groups["AM"])
    edges.add(groups["AM"], [*late, LOGITS])
    edges.add(late, [*late, LOGITS])
    edges.add(early, early)
    edges.add(MLPS[:9], MLPS[:9])
    edges.add(MLPS, groups["AM"], "q")
    return frozenset(edges.found)


def docstring(graph: ComponentGraph) -> frozenset[str]:
    """24 edges of an attention-only model of four layers."""
    listed = read_json(DATA)["docstring"]
    return frozenset(f"{writer}->{slot}" for slot, writers in listed.items() for writer in writers)


@dataclass(frozen=True)
class Published:
    """A circuit: the model on the hub, the task that it is of, and its edges."""

    model: str
    task: str
    edges: Callable[[ComponentGraph], frozenset[str]]


PUBLISHED = {
    "ioi": Published("gpt2", "ioi", ioi),
    "greater-than": Published("gpt2", "greater_than", greater_than),
    "docstring": Published("attn-only-4l", "docstring", docstring),
}


@dataclass(frozen=True)
class PublishedCase:
    """A published circuit by name; `data` may hold `models/NAME` and `tasks/NAME.jsonl`, else the hub and acdc's own
    tasks are asked."""

    name: str
    data: str | None = None
    suite: str = "published"
    ablations: tuple[str, ...] = ("resample",)
    variant: str | None = None

    @property
    def identity(self) -> str:
        known = PUBLISHED[self.name]
        paths = (
            (Path(self.data, "models", known.model), Path(self.data, "tasks", f"{known.task}.jsonl"))
            if self.data
            else ()
        )
        return f"{replace(self, data=None)!r} {content(*paths)}"

    def pose(self, folder: Path, device: str, dtype: str | None) -> Posed:
        known = PUBLISHED[self.name]
        try:
            model = load_model(_local(self.data, "models", known.model), device=device, dtype=dtype or DTYPE)
        except InputError as error:
            raise Unavailable(f"weights not available: {error}") from None
        try:
            task = load_task(_local(self.data, "tasks", known.task, ".jsonl"), model)
        except InputError as error:
            raise Unavailable(f"task not available: {error}") from None
        try:
            edges = known.edges(model.graph)
            model.graph.mask(edges)
        except InputError as error:
            raise Unavailable(f"weights not available: {error}") from None
        return Posed(model, task, {"resample": Truth(edges, frozenset(), redundant=False, complete=False)})


def _local(data: str | None, kind: str, name: str, suffix: str = "") -> str:
    """A file or folder of the user's, where there is one, else the name itself."""
    path = Path(data or "", kind, name + suffix)
    return str(path) if data and path.exists() else name
