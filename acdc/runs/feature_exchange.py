"""The formats that a feature circuit is written as."""

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path

from acdc.errors import InputError
from acdc.files import make_folder, write_bytes
from acdc.render.features.page import to_html
from acdc.render.features.picture import draw
from acdc.render.graphviz import FORMATS as PICTURES
from acdc.render.graphviz import write
from acdc.runs.finished_features import FinishedFeatures, open_features
from acdc.runs.run_directory import read_run


def export_features(path: Path, format: str, out: Path) -> tuple[Path, ...]:
    """Write the circuit of a run, and return what was written. Raises InputError for another format."""
    if format not in WRITERS:
        raise InputError(f"a feature circuit is not written as {format!r}; use one of {', '.join(WRITERS)}")
    content = WRITERS[format](open_features(path))
    make_folder(out.parent, "--out")
    write_bytes(out, content)
    return (out,)


def _table(run: FinishedFeatures) -> bytes:
    """Nodes, then edges: `source` and `target` are the same for a node."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("kind", "source", "target", "effect"))
    writer.writerows(("feature", node.id, node.id, node.effect) for node in run.circuit.nodes)
    writer.writerows(("edge", edge.source, edge.target, edge.effect) for edge in run.circuit.edges)
    return text.getvalue().encode()


def _page(run: FinishedFeatures) -> bytes:
    return to_html(run.circuit, run.report, read_run(run.path).command, {}).encode()


def _picture(kind: str) -> Callable[[FinishedFeatures], bytes]:
    return lambda run: write(draw(run.circuit), kind)


WRITERS: Mapping[str, Callable[[FinishedFeatures], bytes]] = {
    **{kind: _picture(kind) for kind in PICTURES},
    "html": _page,
    "csv": _table,
}
