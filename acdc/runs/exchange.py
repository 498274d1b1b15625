"""The formats that circuits and scores can be written as and read from. Other packages may add their own."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from acdc.artefacts.attribution.store import is_trace
from acdc.artefacts.circuit import Circuit
from acdc.artefacts.codecs import (
    HELD,
    Codec,
    ForeignGraph,
    Mark,
    autocircuit,
    eap_ig,
    edge_pruning,
    mib,
    networkx_graphs,
    tables,
)
from acdc.artefacts.codecs.translate import from_file, to_file
from acdc.artefacts.digests import digest
from acdc.artefacts.feature_circuit import is_feature_circuit
from acdc.artefacts.names import load_names
from acdc.errors import AcdcWarning, InputError
from acdc.extensions import Registry
from acdc.files import is_there, make_folder, read_bytes, write_bytes
from acdc.graph import Anatomy, ComponentGraph
from acdc.options import Detail, Grouping
from acdc.render.graphviz import to_picture
from acdc.render.look import PLAIN, Look, choose_look
from acdc.render.scale import AS_DRAWN, SIZES, Size
from acdc.runs.feature_exchange import export_features
from acdc.runs.finished import load_report, warn_unverified
from acdc.runs.page import report_of_run
from acdc.runs.run_directory import RUN_FILE, read_run
from acdc.runs.score_files import ScoresRecord, read_score_run, read_scores, scores_path
from acdc.runs.trace_exchange import FRONT_END, export_trace


@dataclass(frozen=True)
class Exportable:
    """What a run has to export: its circuit, or None with scores alone; what it `found`, as edges of its `graph`.
    `look`, `size`: how a picture is to be drawn."""

    path: Path
    circuit: Circuit | None
    found: ForeignGraph
    graph: ComponentGraph
    task: str
    model: str
    look: Look = PLAIN
    size: Size = AS_DRAWN


@dataclass(frozen=True)
class Written:
    """Files by their paths in the folder that is written, or one file under the empty path; what they cannot say."""

    files: Mapping[str, bytes]
    lost: tuple[str, ...] = ()


@dataclass(frozen=True)
class Format:
    """A format; `write` and `read` raise InputError for what it, or a file, cannot hold.

    `read` takes a path, the model's shape, and whether token and position embedding are to be two components; what it
    returns is in the terms of that graph, as its mark says. `file`: which file a path names. `picture`: it heeds the
    look.
    """

    name: str
    summary: str
    write: Callable[[Exportable], Written] | None = None
    read: Callable[[Path, Anatomy, bool], ForeignGraph] | None = None
    file: Callable[[Path], Path] = field(default=lambda path: path)
    picture: bool = False


Encode = Callable[[ForeignGraph, ComponentGraph], Mapping[str, bytes]]


def _picture(name: str, summary: str) -> Format:
    def write(run: Exportable) -> Written:
        if run.circuit is None:
            raise InputError(f"run {run.path} holds only scores: a picture needs the circuit of a discovery")
        return Written({"": to_picture(run.circuit, name, run.look, run.size)})

    return Format(name, summary, write, picture=True)


def _report(run: Exportable) -> Written:
    if run.circuit is None:
        raise InputError(f"run {run.path} holds only scores: a report needs the circuit of a discovery")
    return Written({"": report_of_run(run.path).encode()})


def _no_trace(run: Exportable) -> Written:
    raise InputError(f"run {run.path} holds no attribution graph, which 'acdc trace' makes: use another format")


def _writes(codec: Codec, encode: Encode | None = None) -> Callable[[Exportable], Written]:
    def write(run: Exportable) -> Written:
        found = to_file(codec, run.found, run.graph)
        target = codec.terms(run.graph.anatomy, found.mark)
        return Written(encode(found, target) if encode else {"": codec.encode(found, target)}, found.mark.lost)

    return write


def _submits(encode: Encode) -> Callable[[Exportable], Written]:
    """Into a folder of the submission for this task and model."""

    def write(run: Exportable) -> Written:
        written = _writes(mib.CODEC, encode)(run)
        folder = mib.folder_name(run.task, run.model)
        return replace(written, files={f"{folder}/{name}": content for name, content in written.files.items()})

    return write


def _reads(codec: Codec) -> Callable[[Path, Anatomy, bool], ForeignGraph]:
    def read(path: Path, anatomy: Anatomy, split_embeddings: bool) -> ForeignGraph:
        found = codec.decode(path, anatomy)
        graph = ComponentGraph(anatomy, split_embeddings or found.mark.split_embeddings, found.mark.direct_edges)
        read = from_file(codec, found, graph, str(path))
        return replace(read, mark=read.mark.model_copy(update={"split_embeddings": graph.split_embeddings}))

    return read


def _parquet(found: ForeignGraph, graph: ComponentGraph) -> dict[str, bytes]:
    return {"": tables.parquet(found, graph)}


def _both(summary: str, codec: Codec) -> Format:
    return Format(codec.name, summary, _writes(codec), _reads(codec))


FORMATS = Registry(
    "format",
    "acdc.formats",
    Format,
    (
        _picture("svg", "picture; needs no Graphviz"),
        _picture("dot", "picture as text for Graphviz"),
        Format("html", "the report, for a browser", _report),
        _picture("png", "picture, drawn by Graphviz"),
        _picture("pdf", "picture, drawn by Graphviz"),
        _both("table of edges and scores; a circuit written by hand needs the column edge alone", tables.CODEC),
        Format(
            "parquet",
            "the same table as Parquet; needs pandas",
            _writes(tables.PARQUET, _parquet),
            _reads(tables.PARQUET),
        ),
        _both("graph for yEd and Gephi, with everything in the circuit", networkx_graphs.GRAPHML),
        _both("node-link JSON of networkx, with everything in the circuit", networkx_graphs.NODE_LINK),
        _both("graph of EAP-IG, as JSON", eap_ig.CODEC),
        Format(
            "mib",
            "submission to MIB: scores of all edges, in a folder named after task and model",
            _submits(mib.importances),
            _reads(mib.CODEC),
            mib.find_file,
        ),
        Format(
            "mib-circuits",
            "submission to MIB: nine circuits of different sizes, with 1 and 0 for scores",
            _submits(mib.circuits),
        ),
        _both("prune scores of AutoCircuit, as safetensors; imports JSON too", autocircuit.CODEC),
        _both("edges of Edge-Pruning, as JSON pairs, without scores", edge_pruning.CODEC),
        Format(FRONT_END, "a trace, as JSON for the front ends of circuit-tracer and Neuronpedia", _no_trace),
    ),
)


def usable_format(name: str, use: str) -> Format:
    """The format, which can `use` ("write" or "read"). Raises InputError for one that does not exist or cannot."""
    able = [format.name for format in FORMATS.values() if getattr(format, use) is not None]
    if name not in able:
        exists = f"cannot be {'exported' if use == 'write' else 'imported'}" if name in FORMATS else "does not exist"
        raise InputError(f"format {name!r} {exists}; use one of {', '.join(able)}")
    return FORMATS[name]


@dataclass(frozen=True)
class Exported:
    """The files that were written, and what of the run they cannot say."""

    files: tuple[Path, ...]
    lost: tuple[str, ...]


def export_run(
    path: Path,
    format: str,
    out: Path,
    fixed: bool = False,
    group: str = Grouping.layer,
    supernodes: Path | None = None,
    **more: Any,
) -> Exported:
    """Write a run's circuit or scores to a file, or into a folder; a warning for each thing that is lost.

    `path` may be a circuit file too, or a trace or a file with an attribution graph. `fixed`, `group`: see
    `acdc.render.look`; `supernodes`: see `export_trace`; `more`: fields of `Look` and of `acdc.render.scale.Size`.
    Raises InputError for what the format cannot hold; nothing is written then.
    """
    target_format = usable_format(format, "write")
    asked = [*(["fixed"] if fixed else []), *(["group"] if group != Grouping.layer else []), *more]
    options = ", ".join(map(_option, asked))
    if is_trace(path):
        every = more.pop("detail", None) == Detail.full
        if others := [name for name in asked if not (name == "detail" and every and target_format.picture)]:
            raise InputError(
                f"{', '.join(map(_option, others))}: pictures of circuits have these options, those of attribution "
                "graphs only --detail full, which folds nothing"
            )
        return Exported(export_trace(path, format, out, supernodes, every), ())
    if is_feature_circuit(path):
        if asked or supernodes is not None:
            raise InputError(f"{options or '--supernodes'}: a picture of features does not have this option")
        return Exported(export_features(path, format, out), ())
    if supernodes is not None:
        raise InputError("--supernodes groups the nodes of an attribution graph, not of a circuit")
    run = open_exportable(path)
    if asked and not target_format.picture:
        raise InputError(f"{options}: pictures have these options, format {format!r} does not")
    if "page" in more and format != "pdf":
        raise InputError(f"--page works only with format 'pdf', not with {format!r}")
    if target_format.picture:
        run = _looking(run, fixed, group, more)
    assert target_format.write is not None  # see `usable_format`
    written = target_format.write(run)
    if run.circuit is not None and path.is_dir():
        if not is_there(path / RUN_FILE):
            warnings.warn(
                f"{path} has no {RUN_FILE}: whether its files were changed is not known", AcdcWarning, stacklevel=2
            )
        warn_unverified(path)
    targets = {out / name if name else out: content for name, content in written.files.items()}
    for target, content in targets.items():
        make_folder(target.parent, "--out")
        write_bytes(target, content)
    for sentence in written.lost:
        warnings.warn(f"lost in format {format}: {sentence}", AcdcWarning, stacklevel=2)
    return Exported(tuple(targets), written.lost)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _looking(run: Exportable, fixed: bool, group: str, more: Mapping[str, Any]) -> Exportable:
    if run.circuit is None:
        return run
    report = load_report(run.path) if run.path.is_dir() else None
    around = {name: value for name, value in more.items() if name not in SIZES}
    if run.path.is_dir():
        given = load_names(run.path, run.circuit)
        around |= {"names": given.names, "roles": given.roles}
    look = choose_look(run.circuit, fixed, group, report, **around)
    return replace(run, look=look, size=Size(**{name: value for name, value in more.items() if name in SIZES}))


def open_exportable(path: Path) -> Exportable:
    """Read a run directory, or a circuit file. Raises InputError for what is neither or damaged."""
    if is_there(path / RUN_FILE) and read_run(path).kind == "score":
        return _of_scores(path, *read_score_run(path))
    circuit = Circuit.load(path)
    every = None
    if circuit.level in HELD and path.is_dir() and scores_path(path):
        every = read_scores(path, circuit.units)
    found = ForeignGraph.of_circuit(circuit, every)
    return Exportable(path, circuit, found, circuit.graph, circuit.task.name, circuit.model.name)


def _of_scores(path: Path, record: ScoresRecord, edges: Mapping[str, float]) -> Exportable:
    model = record.model
    mark = Mark(score_kind=record.score_kind, split_embeddings=model.split_embeddings, direct_edges=model.direct_edges)
    return Exportable(path, None, ForeignGraph(edges, mark=mark), record.graph, str(record.task["name"]), model.name)


def content_hash(path: Path) -> str:
    """SHA-256 of a file. Raises InputError where it cannot be read."""
    return digest(read_bytes(path))
