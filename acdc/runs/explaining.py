"""Explain the strongest units of a run, or one unit, and keep pages of them where its report leads to."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from acdc.artefacts.attribution.store import is_trace
from acdc.artefacts.circuit import Circuit
from acdc.artefacts.feature_circuit import FeatureCircuitRecord, is_feature_circuit
from acdc.dictionaries.corpus import Corpus
from acdc.dictionaries.dictionary import Dictionary
from acdc.errors import InputError
from acdc.explanation.explain import TOKENS, Explained, explain_unit, feature_json
from acdc.files import json_text, make_folder, write_json, write_text
from acdc.graph import Edge, WriterKind
from acdc.model.load import Model
from acdc.options import Level
from acdc.progress import Progress
from acdc.render.attribution.sentences import strongest
from acdc.render.explained.page import to_html
from acdc.runs.finished import PAGE, open_run
from acdc.runs.neighbours import neighbours_in
from acdc.runs.page import renew_page
from acdc.runs.run_directory import RunDirectory, read_run
from acdc.runs.traced import PAGE as TRACE_PAGE
from acdc.runs.traced import open_trace
from acdc.runs.unit_pages import FOLDER


@dataclass(frozen=True)
class Explaining:
    """What units are explained with: on the first so many tokens of a corpus."""

    model: Model
    corpus: Corpus
    dictionary: Dictionary | None = None
    tokens: int = TOKENS
    seed: int = 0

    def explain(self, unit: str, run: Path | None, progress: Progress) -> Explained:
        """One unit, with its neighbours in a run. Raises InputError for a unit that is not there."""
        found = explain_unit(self.model, unit, self.corpus, self.dictionary, self.tokens, self.seed, progress)
        return found if run is None else replace(found, neighbours=neighbours_in(run, unit, found.kind))


@dataclass(frozen=True)
class Usual:
    """Model, revision, task and dictionary of a run, for what a user does not name."""

    model: str
    revision: str | None
    task: str | None
    dictionary: Path | None

    @classmethod
    def of(cls, run: Path) -> "Usual":
        source = read_run(run).source
        given = FeatureCircuitRecord.load(run).dictionary.given if is_feature_circuit(run) else None
        return cls(source.model, source.revision, source.task or None, None if given is None else Path(given))


def strongest_units(run: Path, most: int) -> list[str]:
    """The units of a run that can be explained: features of a feature circuit or a trace, heads and hidden neurons of a
    circuit; by |effect|, influence or |score|, of heads in a circuit of edges by that of all edges that leave them.
    Raises InputError where there are none."""
    if is_feature_circuit(run):
        names = [node.id.partition("@")[0] for node in FeatureCircuitRecord.load(run).nodes]
        found = [name for name in names if not name.endswith(".error")]
    elif is_trace(run):
        trace = open_trace(run)
        units = strongest(trace.graph, trace.pruning, len(trace.graph.nodes))
        found = [node.id.partition("@")[0] for node in units]
    else:
        found = _of_circuit(open_run(run).circuit)
    if not found:
        raise InputError(f"--run {run} has no heads, neurons or features: there is no unit to explain")
    return list(dict.fromkeys(found))[:most]


def _of_circuit(circuit: Circuit) -> list[str]:
    if circuit.level in (Level.nodes, Level.neurons):
        listed = {unit.id: abs(unit.score) for unit in circuit.members}
        sizes = {name: size for name, size in listed.items() if name.startswith("a") or ".n" in name}
    else:
        sizes = defaultdict(float)
        for edge in circuit.links:
            writer = Edge.parse(edge.id).writer
            if writer.kind is WriterKind.HEAD:
                sizes[writer.id] += abs(edge.score)
    return sorted(sizes, key=lambda name: (-sizes[name], name))


def explain_run(
    run: Path, units: Sequence[str], how: Explaining, command: str, progress: Progress
) -> Iterator[Explained]:
    """Units one after another, each with a page in the run's folder, to which its report leads in the end."""
    directory = RunDirectory.reopen(run)
    make_folder(run / FOLDER, "--run")
    for unit in units:
        found = how.explain(unit, run, progress)
        directory.write(f"{FOLDER}/{unit}.json", json_text(feature_json(found, unit)))
        back = f"../{TRACE_PAGE if is_trace(run) else PAGE}"
        directory.write(f"{FOLDER}/{unit}.html", to_html(found, command, back))
        yield found
    directory.settle()
    renew_page(run)


def write_pages(found: Explained, folder: Path, command: str) -> Path:
    """The page and the JSON of a unit in a folder; the page's path."""
    make_folder(folder, "--out")
    write_json(folder / f"{found.unit}.json", feature_json(found, found.unit))
    write_text(folder / f"{found.unit}.html", to_html(found, command))
    return folder / f"{found.unit}.html"
