"""The formats that an attribution graph is written as."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from acdc.artefacts.attribution.front_end import to_front_end
from acdc.artefacts.attribution.supernodes import read_supernodes, with_supernodes
from acdc.errors import InputError
from acdc.files import json_text, make_folder, write_bytes
from acdc.render.attribution.page import to_html
from acdc.render.attribution.picture import draw
from acdc.render.graphviz import write
from acdc.runs.run_directory import RUN_FILE, read_run
from acdc.runs.traced import FinishedTrace, open_trace

FRONT_END, METADATA = "attribution-graph", "graph-metadata.json"
PICTURES = ("svg", "dot", "png", "pdf")


def export_trace(
    path: Path, format: str, out: Path, supernodes: Path | None = None, every: bool = False
) -> tuple[Path, ...]:
    """Write the graph of a trace, or in a file, and return what was written: one file, or for front ends, where `out`
    does not end in .json, a folder with the graph and the list of graphs that they look for. `supernodes`: a file with
    groups of nodes, in the place of those that the graph has; `every`: pictures fold no nodes.

    Raises InputError for another format, and for supernodes that do not fit the graph or the format.
    """
    known = (*PLAIN, *PICTURES)
    if format not in known:
        raise InputError(f"an attribution graph is not written as {format!r}; use one of {', '.join(known)}")
    trace = open_trace(path)
    if supernodes is not None:
        groups = read_supernodes(supernodes)
        trace = replace(trace, graph=with_supernodes(trace.graph, trace.pruning, groups))
    files = PLAIN[format](trace, out) if format in PLAIN else _picture(trace, out, format, every)
    for target, content in files.items():
        make_folder(target.parent, "--out")
        write_bytes(target, content)
    return tuple(files)


def _front_end(trace: FinishedTrace, out: Path) -> Mapping[Path, bytes]:
    slug = re.sub(r"[^A-Za-z0-9_.-]+", "-", (out.stem if out.suffix == ".json" else out.name)) or "graph"
    graph = to_front_end(trace.graph, trace.pruning, slug)
    if out.suffix == ".json":
        return {out: json_text(graph).encode()}
    return {
        out / f"{slug}.json": json_text(graph).encode(),
        out / METADATA: json_text({"graphs": [graph["metadata"]]}).encode(),
    }


def _page(trace: FinishedTrace, out: Path) -> Mapping[Path, bytes]:
    recorded = trace.path.is_dir() and (trace.path / RUN_FILE).is_file()
    command = read_run(trace.path).command if recorded else ""
    return {out: to_html(trace.graph, trace.pruning, trace.verification, command).encode()}


def _picture(trace: FinishedTrace, out: Path, kind: str, every: bool) -> Mapping[Path, bytes]:
    return {out: write(draw(trace.graph, trace.pruning, every), kind)}


PLAIN: Mapping[str, Callable[[FinishedTrace, Path], Mapping[Path, bytes]]] = {FRONT_END: _front_end, "html": _page}
