"""Circuits from the literature, as edges: which components are in them is data, which edges that means are rules.

IOI: Wang et al. 2022, arXiv 2211.00593. Greater-than: Hanna et al. 2023, arXiv 2305.00586. Docstring: Heimersheim and
Janiak 2023. Tracr's programs: Lindner et al. 2023, arXiv 2301.05062. The rules for the first two, and the edges of
Tracr's, are those of Conmy et al. 2023, arXiv 2304.14997. Circuits that people found are no ground truth in the sense
that compiled ones are.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from acdc.benchmark.case import PreparedCase, Unavailable, content
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
    return _listed(read_json(DATA)["docstring"])


def tracr(name: str, ablation: str) -> Callable[[ComponentGraph], frozenset[str]]:
    """The edges of a program that Tracr compiled, under an ablation."""
    return lambda graph: _listed(read_json(DATA)[name][ablation])


def _listed(edges: dict[str, list[str]]) -> frozenset[str]:
    """Edges by the slot that they lead into."""
    return frozenset(f"{writer}->{slot}" for slot, writers in edges.items() for writer in writers)


@dataclass(frozen=True)
class Published:
    """A circuit: the model on the hub or in the user's folder, the task that it is of, its edges, under which ablation,
    and whether token and position embedding are told apart."""

    model: str
    task: str
    edges: Callable[[ComponentGraph], frozenset[str]]
    ablation: str = "resample"
    split_embeddings: bool = False


PUBLISHED = {
    "ioi": Published("gpt2", "ioi", ioi),
    "greater-than": Published("gpt2", "greater_than", greater_than),
    "docstring": Published("attn-only-4l", "docstring", docstring),
} | {
    f"{name.replace('_', '-')}-{ablation}": Published(
        name.replace("_", "-"), name, tracr(name, ablation), ablation, split_embeddings=ablation == "zero"
    )
    for name in ("tracr_xproportion", "tracr_reverse")
    for ablation in ("zero", "resample")
}


@dataclass(frozen=True)
class PublishedCase:
    """A published circuit by name; `data` may hold `models/NAME` and `tasks/NAME.jsonl`, else the hub and acdc's own
    tasks are asked."""

    name: str
    data: str | None = None
    suite: str = "published"
    variant: str | None = None

    @property
    def ablations(self) -> tuple[str, ...]:
        return (PUBLISHED[self.name].ablation,)

    @property
    def identity(self) -> str:
        known = PUBLISHED[self.name]
        paths = (
            (Path(self.data, "models", known.model), Path(self.data, "tasks", f"{known.task}.jsonl"))
            if self.data
            else ()
        )
        return f"{replace(self, data=None)!r} {content(*paths)}"

    def prepare(self, folder: Path, device: str, dtype: str | None) -> PreparedCase:
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
            graph = model.executor(known.split_embeddings).graph
            edges = known.edges(graph)
            graph.mask(edges)
        except InputError as error:
            raise Unavailable(f"weights not available: {error}") from None
        truths = {known.ablation: Truth(edges, frozenset(), redundant=False, complete=False)}
        return PreparedCase(model, task, truths, known.split_embeddings)


def _local(data: str | None, kind: str, name: str, suffix: str = "") -> str:
    """A file or folder of the user's, where there is one, else the name itself."""
    path = Path(data or "", kind, name + suffix)
    return str(path) if data and path.exists() else name
